"""The judge of the roles says no where AWS would."""

from __future__ import annotations

from typing import Any

import pytest

from marble_images_tests.deploy.policies import Call, Policy, calls_of

WHERE = {"account": "123456789012", "region": "us-east-1"}
TASKS = "arn:aws:ecs:us-east-1:123456789012:task/mine/*"
MINE = "arn:aws:ecs:us-east-1:123456789012:cluster/mine"
OURS = Policy(
    [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::state/marble-images/*"},
        {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::state"]},
        {
            "Effect": "Allow",
            "Action": ["ecs:StopTask"],
            "Resource": TASKS,
            "Condition": {"ArnEquals": {"ecs:cluster": MINE}},
        },
        {
            "Effect": "Allow",
            "Action": "logs:GetLogEvents",
            "Resource": "arn:aws:logs:us-east-1:123456789012:log-group:runs:*",
        },
    ]
)


def recorded(service: str, operation: str, **parameters: Any) -> dict[str, Any]:
    return {"service": service, "operation": operation, "parameters": parameters}


@pytest.mark.parametrize(
    "record",
    [
        recorded("s3", "GetObject", Bucket="state", Key="marble-images/days/2024-01-01.jsonl"),
        recorded("s3", "HeadObject", Bucket="state", Key="marble-images/x\ny"),
        recorded("s3", "ListObjectsV2", Bucket="state"),
        recorded("ecs", "StopTask", cluster=MINE, task=TASKS.replace("*", "1")),
        recorded("logs", "GetLogEvents", logGroupName="runs", logStreamName="run/run/1"),
    ],
    ids=lambda record: record["operation"],
)
def test_what_a_statement_names_is_allowed(record: dict[str, Any]) -> None:
    assert [call for call in calls_of(record, **WHERE) if not OURS.allows(call)] == []


@pytest.mark.parametrize(
    "record",
    [
        recorded("s3", "GetObject", Bucket="state", Key="elsewhere/x"),
        recorded("s3", "GetObject", Bucket="other", Key="marble-images/x"),
        recorded("s3", "PutObject", Bucket="state", Key="marble-images/x"),
        recorded("s3", "DeleteObjects", Bucket="state", Delete={"Objects": [{"Key": "marble-images/x"}]}),
        recorded("s3", "ListObjectsV2", Bucket="other"),
        recorded("ecs", "StopTask", cluster=MINE.replace("mine", "theirs"), task=TASKS.replace("*", "1")),
        recorded("ecs", "StopTask", task=TASKS.replace("*", "1")),
        recorded("ecs", "RunTask", cluster=MINE, taskDefinition="run:1", tags=[{"key": "a", "value": "b"}]),
        recorded("logs", "GetLogEvents", logGroupName="others", logStreamName="run/run/1"),
        recorded("secretsmanager", "ListSecrets"),
    ],
    ids=lambda record: record["operation"],
)
def test_everything_else_is_refused(record: dict[str, Any]) -> None:
    calls = list(calls_of(record, **WHERE))
    assert calls
    assert not any(OURS.allows(call) for call in calls)


def test_one_call_may_need_several_rights() -> None:
    copy = recorded("s3", "CopyObject", Bucket="b", Key="k", CopySource={"Bucket": "a", "Key": "j"})
    assert set(calls_of(copy, **WHERE)) == {
        Call("s3:GetObject", "arn:aws:s3:::a/j"),
        Call("s3:PutObject", "arn:aws:s3:::b/k"),
    }
