"""One role for each kind of task, each with what that task calls and no more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from marble_stack.checks import accept
from marble_stack.deployment import Deployment
from marble_stack.messages import Alerts
from marble_stack.storage import Buckets

STATE_PREFIX = "marble-images/"
COMPUTE_LOGS = "compute-logs/"

_OBJECTS = "The objects of this one bucket, or of one prefix in it."
_TASKS = "The tasks of this one cluster: their ids are made when they start."
_NO_RESOURCES = "AWS checks this action against no resource: it has no ARN to name."


class Roles(Construct):
    """The roles of run, code server, daemon and web server, and the one by which ECS starts them."""

    def __init__(self, scope: Construct, deployment: Deployment, buckets: Buckets, alerts: Alerts) -> None:
        super().__init__(scope, "Roles")
        self._deployment = deployment
        self._stack = cdk.Stack.of(self)
        self._buckets = buckets
        self.execution = self._role("Execution", "Starts the tasks: pulls the image, reads the password")
        self.run = self._role("Run", "Lists the changed files and makes their pyramids")
        self.code_server = self._role("CodeServer", "Evaluates the schedule and the sensors")
        self.daemon = self._role("Daemon", "Launches and watches the runs")
        self.webserver = self._role("Webserver", "Shows the UI, and stops runs")

        self._allow_state(self.run, write=True)
        self._allow_state(self.code_server, write=False)
        # That the day's message was sent is kept by the sensor that sends it.
        sent = f"{buckets.state.bucket_arn}/{STATE_PREFIX}alerts/*"
        allow(self.code_server, ["s3:PutObject"], [sent], because=_OBJECTS)
        self._allow_images(self.run)
        self._allow_parameters(self.run)
        for role in (self.run, self.code_server, self.daemon):
            self._allow_compute_logs(role, "s3:PutObject", "s3:AbortMultipartUpload")
        for role in (self.daemon, self.webserver):
            self._allow_compute_logs(role, "s3:GetObject")
        for role in (self.run, self.code_server):
            allow(role, ["sns:Publish"], [alerts.topic.topic_arn])
            allow(role, ["kms:Decrypt", "kms:GenerateDataKey"], [alerts.key.key_arn])
        self._allow_keys((self.run, self.code_server))
        # CDK adds the rest to it: the image's repository, the log groups, the secret, each by its ARN.
        accept(self.execution, {"AwsSolutions-IAM5[Resource::*]": _NO_RESOURCES})

    def _role(self, name: str, description: str) -> iam.Role:
        principal = iam.ServicePrincipal(
            "ecs-tasks.amazonaws.com",
            conditions={"StringEquals": {"aws:SourceAccount": self._deployment.account}},
        )
        return iam.Role(self, name, assumed_by=principal, description=description)

    def _arn(self, service: str, resource: str) -> str:
        return f"arn:{self._stack.partition}:{service}:{self._stack.region}:{self._stack.account}:{resource}"

    def _bucket_arn(self, name: str) -> str:
        return f"arn:{self._stack.partition}:s3:::{name}"

    def _allow_state(self, role: iam.Role, *, write: bool) -> None:
        bucket = self._buckets.state.bucket_arn
        actions = ["s3:GetObject"]
        if write:
            actions += ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
        allow(role, actions, [f"{bucket}/{STATE_PREFIX}*"], because=_OBJECTS)
        # Without ListBucket a missing object answers 403, not 404.
        allow(role, ["s3:ListBucket"], [bucket])

    def _allow_images(self, role: iam.Role) -> None:
        deployment = self._deployment
        images = self._bucket_arn(deployment.image_bucket)
        actions = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"]
        if deployment.remove_retired_pyramids:
            actions.append("s3:DeleteObject")
        allow(role, actions, [f"{images}/*"], because=_OBJECTS)
        sources = [self._bucket_arn(name) for name in deployment.source_buckets]
        if sources:
            allow(role, ["s3:GetObject"], [f"{source}/*" for source in sources], because=_OBJECTS)
        # A source that is gone must answer 404: only that takes its file off the queue.
        allow(role, ["s3:ListBucket"], [images, *sources])

    def _allow_parameters(self, role: iam.Role) -> None:
        deployment = self._deployment
        paths = (
            deployment.graphql_api_url_key_path,
            deployment.graphql_api_key_key_path,
            deployment.google_credentials_key_path,
            deployment.curate_api_token_key_path,
        )
        allow(role, ["ssm:GetParameter"], [self._arn("ssm", f"parameter{path}") for path in paths if path])

    def _allow_compute_logs(self, role: iam.Role, *actions: str) -> None:
        allow(role, actions, [self._buckets.logs.arn_for_objects(f"{COMPUTE_LOGS}*")], because=_OBJECTS)

    def _allow_keys(self, roles: Iterable[iam.Role]) -> None:
        if self._deployment.kms_key_arns:
            for role in roles:
                allow(role, ["kms:Decrypt", "kms:GenerateDataKey"], self._deployment.kms_key_arns)

    def allow_launching(self, cluster: ecs.ICluster, run_family: str, run_logs: logs.LogGroup) -> None:
        """Let the daemon start runs, and the daemon and the web server watch and stop them."""
        tasks = [self._arn("ecs", f"task/{cluster.cluster_name}/*")]
        in_cluster = {"ArnEquals": {"ecs:cluster": cluster.cluster_arn}}
        allow(
            self.daemon,
            ["ecs:RunTask"],
            [self._arn("ecs", f"task-definition/{run_family}:*")],
            in_cluster,
            because="Every revision of this one definition: runs of the version before may still be queued.",
        )
        allow(
            self.daemon,
            # RunTask names the run's tags, which is a right of its own.
            ["ecs:TagResource"],
            tasks,
            {"StringEquals": {"ecs:CreateAction": "RunTask"}},
            because=_TASKS,
        )
        to_tasks = {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
        allow(self.daemon, ["iam:PassRole"], [self.run.role_arn, self.execution.role_arn], to_tasks)
        # A log group's ARN ends in `:*`, which stands for its streams.
        allow(self.daemon, ["logs:GetLogEvents"], [run_logs.log_group_arn])
        for role in (self.daemon, self.webserver):
            allow(role, ["ecs:DescribeTasks", "ecs:StopTask"], tasks, in_cluster, because=_TASKS)
            allow(role, ["ecs:DescribeTaskDefinition"], ["*"], because=_NO_RESOURCES)
        allow(self.daemon, ["ec2:DescribeNetworkInterfaces"], ["*"], because=_NO_RESOURCES)


def allow(
    role: iam.Role,
    actions: Iterable[str],
    resources: Iterable[str],
    conditions: Mapping[str, object] | None = None,
    *,
    because: str | None = None,
) -> None:
    """Add one statement to ``role``; ``because`` says why a resource of it ends in ``*``."""
    resources = list(resources)
    role.add_to_policy(iam.PolicyStatement(actions=list(actions), resources=resources, conditions=conditions))
    if because:
        named = (_as_reported(cdk.Stack.of(role).resolve(resource)) for resource in resources)
        accept(role, {f"AwsSolutions-IAM5[Resource::{name}]": because for name in named})


def _as_reported(resolved: object) -> str:
    """A resource as cdk-nag names it in a finding: tokens as ``<LogicalId.Attribute>``."""
    if isinstance(resolved, dict):
        ((function, argument),) = resolved.items()
        if function == "Fn::Join":
            return str(argument[0]).join(map(_as_reported, argument[1]))
        return f"<{'.'.join(argument)}>" if isinstance(argument, list) else f"<{argument}>"
    return str(resolved)
