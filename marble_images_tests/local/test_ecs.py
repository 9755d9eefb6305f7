"""The ECS stand-in does with tasks what Fargate does."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from marble_images.local.ecs import EcsStandIn
from marble_images.local.ecs_agent import Container

SECONDS = 30.0
OUTPUT = "output-of-a-task"


@pytest.fixture
def ecs(tmp_path: Path) -> Iterator[EcsStandIn]:
    with EcsStandIn(tmp_path, {"EVERYWHERE": "yes"}, f"cluster-{tmp_path.name}") as stand_in:
        yield stand_in


def define(ecs: EcsStandIn, script: str, **fields: Any) -> str:
    """Register a task definition whose one container runs a script in Python; its ARN."""
    container = {
        "name": "run",
        "image": "image",
        "memory": 512,
        "command": [sys.executable, "-c", script],
        **fields,
    }
    answer = ecs.client("ecs").register_task_definition(
        family="run",
        networkMode="awsvpc",
        taskRoleArn="arn:aws:iam::123456789012:role/the-role",
        containerDefinitions=[container],
        volumes=[{"name": "work"}],
    )
    return str(answer["taskDefinition"]["taskDefinitionArn"])


def described(ecs: EcsStandIn, arn: str) -> dict[str, Any]:
    (task,) = ecs.client("ecs").describe_tasks(cluster=ecs.cluster, tasks=[arn])["tasks"]
    return dict(task)


def until(look: Callable[[], Any]) -> Any:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("nothing came")


def running(ecs: EcsStandIn, arn: str, said: str = "") -> Container:
    """Wait until a task's container runs, and has said something."""

    def look() -> Container | None:
        found = ecs.agent.containers.get(arn.rpartition("/")[2])
        return found if found is not None and (not said or said in found.output) else None

    found: Container = until(look)
    return found


def stopped(ecs: EcsStandIn, arn: str) -> dict[str, Any]:
    """Wait until a task has stopped; its description."""
    until(lambda: described(ecs, arn)["containers"][0]["lastStatus"] == "STOPPED")
    return described(ecs, arn)


@pytest.mark.parametrize("status", [0, 1, 42])
def test_a_tasks_end_is_reported_with_its_status(ecs: EcsStandIn, status: int) -> None:
    arn = ecs.run_service(define(ecs, f"raise SystemExit({status})"))
    task = stopped(ecs, arn)
    assert task["containers"][0]["exitCode"] == status
    assert (task["lastStatus"], task["stoppedReason"]) == ("STOPPED", "Essential container in task exited")


def test_a_container_that_cannot_start_is_reported(ecs: EcsStandIn) -> None:
    arn = ecs.run_service(define(ecs, "", command=["no-such-command"]))
    assert stopped(ecs, arn)["containers"][0]["reason"].startswith("CannotStartContainerError")


def test_a_task_killed_for_its_memory_ends_with_137(ecs: EcsStandIn) -> None:
    arn = ecs.run_service(define(ecs, "import time; print('up', flush=True); time.sleep(600)"))
    running(ecs, arn, "up").kill()
    reported = stopped(ecs, arn)["containers"][0]
    assert reported["exitCode"] == 137
    assert "OutOfMemory" in reported["reason"]


def test_stopping_asks_first_and_kills_when_the_time_is_over(ecs: EcsStandIn) -> None:
    polite = (
        "import signal, time; signal.signal(15, lambda *_: exit(7)); print('up', flush=True); time.sleep(600)"
    )
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    ends = []
    for script in (polite, deaf):
        arn = ecs.run_service(define(ecs, script, stopTimeout=2))
        running(ecs, arn, "up")
        ecs.client("ecs").stop_task(cluster=ecs.cluster, task=arn, reason="asked to")
        until(lambda arn=arn: running(ecs, arn).process.poll() is not None)  # type: ignore[misc]
        task = stopped(ecs, arn)
        ends.append(task["containers"][0]["exitCode"])
        assert task["stoppedReason"] == "asked to"
    assert ends == [7, 137]


def test_a_container_gets_its_environment_secrets_overrides_and_volume(ecs: EcsStandIn) -> None:
    secret = ecs.client("secretsmanager").create_secret(
        Name="secret-of-a-task", SecretString=json.dumps({"password": "a secret"})
    )["ARN"]
    definition = define(
        ecs,
        "",
        environment=[
            {"name": "PLAIN", "value": "plain"},
            {"name": "EVERYWHERE", "value": "no"},
            {"name": "WORK", "value": "/var/lib/work"},
        ],
        secrets=[{"name": "SECRET", "valueFrom": f"{secret}:password::"}],
        mountPoints=[{"containerPath": "/var/lib/work", "sourceVolume": "work"}],
    )
    script = "import json, os; print(json.dumps(dict(os.environ)))"
    answer = ecs.client("ecs").run_task(
        cluster=ecs.cluster,
        taskDefinition=definition,
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": ecs.network},
        overrides={"containerOverrides": [{"name": "run", "command": [sys.executable, "-c", script]}]},
    )
    arn = answer["tasks"][0]["taskArn"]
    stopped(ecs, arn)
    seen = json.loads(until(lambda: running(ecs, arn).output)[0])
    assert (seen["PLAIN"], seen["EVERYWHERE"], seen["SECRET"]) == ("plain", "yes", "a secret")
    assert Path(seen["WORK"]).is_dir()
    metadata = seen["ECS_CONTAINER_METADATA_URI_V4"]
    assert requests.get(f"{metadata}/task", timeout=10).json()["TaskARN"] == arn
    assert requests.get(metadata, timeout=10).json()["Name"] == "run"
    role = requests.get(seen["AWS_CONTAINER_CREDENTIALS_FULL_URI"], timeout=10).json()
    assert role["AccessKeyId"] == "the-role"


def test_output_goes_to_the_log_stream_that_the_launcher_reads(ecs: EcsStandIn) -> None:
    ecs.client("logs").create_log_group(logGroupName=OUTPUT)
    options = {
        "awslogs-group": OUTPUT,
        "awslogs-stream-prefix": "run",
        "awslogs-region": "us-east-1",
    }
    definition = define(
        ecs, "print('first'); print('second')", logConfiguration={"logDriver": "awslogs", "options": options}
    )
    arn = ecs.run_service(definition)
    stopped(ecs, arn)
    stream = f"run/run/{arn.rpartition('/')[2]}"

    def look() -> list[str]:
        events = ecs.client("logs").get_log_events(logGroupName=OUTPUT, logStreamName=stream)["events"]
        return [event["message"] for event in events if len(events) == 2]

    assert until(look) == ["first", "second"]
