"""Would AWS allow this call?  A role's policy, against what boto3 was asked to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_READS = ("GetObject", "HeadObject")
_PARTS = ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")
_LISTS = ("ListObjects", "ListObjectsV2", "HeadBucket", "ListBuckets")

# Actions that AWS checks against no resource.
NO_RESOURCE = ("ec2:DescribeNetworkInterfaces", "ecr:GetAuthorizationToken", "ecs:DescribeTaskDefinition")


@dataclass(frozen=True)
class Call:
    """One check that AWS makes: an action on a resource, in a context."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict, hash=False)


class Policy:
    """The statements of a role, with all functions resolved."""

    def __init__(self, statements: Iterable[Mapping[str, Any]]) -> None:
        self.statements = list(statements)

    def allows(self, call: Call) -> bool:
        """Whether a statement allows the call; these policies deny nothing."""
        return any(self._matches(statement, call) for statement in self.statements)

    @staticmethod
    def _matches(statement: Mapping[str, Any], call: Call) -> bool:
        return (
            statement["Effect"] == "Allow"
            and any(_like(action, call.action) for action in listed(statement["Action"]))
            and any(_like(resource, call.resource) for resource in listed(statement["Resource"]))
            and all(
                any(_like(value, call.context.get(key, "")) for value in listed(values))
                for conditions in statement.get("Condition", {}).values()
                for key, values in conditions.items()
            )
        )


def listed(value: Any) -> list[Any]:
    """A value that IAM lets stand for a list of one."""
    return list(value) if isinstance(value, list) else [value]


def _like(pattern: str, text: str) -> bool:
    escaped = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(escaped, text, re.DOTALL) is not None


def calls_of(record: Mapping[str, Any], *, account: str, region: str) -> Iterator[Call]:
    """What AWS checks for one recorded call of boto3: its service, operation and parameters."""
    service, operation, given = record["service"], record["operation"], record["parameters"]

    def arn(resource: str) -> str:
        return f"arn:aws:{service}:{region}:{account}:{resource}"

    if service == "s3":
        yield from _s3_calls(operation, given)
    elif service == "ecs":
        yield from _ecs_calls(operation, given)
    elif service == "logs":
        stream = f"log-group:{given['logGroupName']}:log-stream:{given['logStreamName']}"
        yield Call(f"logs:{operation}", arn(stream))
    elif service == "ssm":
        yield Call(f"ssm:{operation}", arn(f"parameter{given['Name']}"))
    elif service == "sns":
        yield Call(f"sns:{operation}", given["TopicArn"])
    else:
        yield Call(f"{service}:{operation}", "*")


def _s3_calls(operation: str, given: Mapping[str, Any]) -> Iterator[Call]:
    bucket = f"arn:aws:s3:::{given.get('Bucket', '')}"
    one = f"{bucket}/{given.get('Key', '')}"
    if operation in _READS:
        yield Call("s3:GetObject", one)
    elif operation in _PARTS:
        yield Call("s3:PutObject", one)
    elif operation in _LISTS:
        yield Call("s3:ListBucket", bucket)
    elif operation == "CopyObject":
        source = given["CopySource"]
        yield Call("s3:GetObject", f"arn:aws:s3:::{source['Bucket']}/{source['Key']}")
        yield Call("s3:PutObject", one)
    elif operation == "DeleteObjects":
        for deleted in given["Delete"]["Objects"]:
            yield Call("s3:DeleteObject", f"{bucket}/{deleted['Key']}")
    else:
        yield Call(f"s3:{operation}", one)


def _ecs_calls(operation: str, given: Mapping[str, Any]) -> Iterator[Call]:
    cluster = {"ecs:cluster": _cluster_arn(given)}
    if operation == "RunTask":
        yield Call("ecs:RunTask", given["taskDefinition"], cluster)
        if given.get("tags"):
            yield Call("ecs:TagResource", _task_arn(given), {"ecs:CreateAction": "RunTask"})
    elif operation == "DescribeTasks":
        for task in given["tasks"]:
            yield Call("ecs:DescribeTasks", task, cluster)
    elif operation == "StopTask":
        yield Call("ecs:StopTask", given["task"], cluster)
    else:
        yield Call(f"ecs:{operation}", "*")


def _cluster_arn(given: Mapping[str, Any]) -> str:
    return str(given.get("cluster", ""))


def _task_arn(given: Mapping[str, Any]) -> str:
    return f"{_cluster_arn(given).replace(':cluster/', ':task/')}/0123456789abcdef"


def wide_resources(statements: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """The actions that are allowed on every resource: each with the resource that says so."""
    for statement in statements:
        for resource in listed(statement["Resource"]):
            if resource == "*":
                for action in listed(statement["Action"]):
                    yield action, resource
