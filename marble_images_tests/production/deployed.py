"""The deployed stack on one machine: its templates' containers as processes, on stand-ins for AWS.

The definitions of the tasks, their environment, secrets, commands and roles are those of the synthesized
template. What differs is where things are: addresses, ports and paths.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import requests

from marble_images.local.ecs import EcsStandIn
from marble_images.local.ecs_agent import Container
from marble_images.local.layout import IMAGE_BUCKET, LOOPBACK, REGION, SOURCE_BUCKET, STATE_BUCKET
from marble_images.local.stack import LocalStack
from marble_images_tests.deploy.physical import Physical
from marble_images_tests.deploy.policies import Call, Policy, calls_of
from marble_images_tests.deploy.synthesis import PROJECT, Synthesis
from marble_images_tests.production.postgres import HERE, Postgres

ACCOUNT = "123456789012"
CLUSTER = "marble-images-test"
LOG_BUCKET = "logs"

DEPLOYMENT = {
    "stack_name": CLUSTER,
    "account": ACCOUNT,
    "region": REGION,
    "network": {"stack": "marble-network"},
    "image": {"repository": "marble-images", "tag": "1.0.0"},
    "image_bucket": IMAGE_BUCKET,
    "source_buckets": [SOURCE_BUCKET],
    "graphql_api_url_key_path": "/local/graphql/url",
    "graphql_api_key_key_path": "/local/graphql/key",
    "curate_api_token_key_path": "/local/curate/token",
}

# What the local stack says about places; all other settings come from the template.
_PLACES = ("AWS_ENDPOINT_URL", "AWS_EC2_METADATA_DISABLED", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
_HOSTS = ("ALLOWED_SOURCE_HOSTS", "ALLOWED_SOURCE_PORTS", "CURATE_HOST", "GOOGLE_DRIVE_API_URL")

T = TypeVar("T")


def until(what: str, look: Callable[[], T | None], seconds: float = 240.0) -> T:
    """Look again and again until there is something.

    Raises
    ------
    AssertionError
        There was nothing in all that time.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


class Deployed:
    """The stack, running.

    Attributes
    ----------
    tick
        The moment at which the daily schedule ticks, New York time.
    ecs
        ECS and its agent.
    """

    def __init__(self, folder: Path, synthesis: Synthesis, postgres: Postgres, local: LocalStack) -> None:
        self.folder = folder
        self.local = local
        self.synthesis = synthesis
        self._postgres = postgres
        self._calls = folder / "calls.jsonl"
        self._calls.touch()
        self._ports = {"3000": _free_port(), "4000": _free_port()}
        self.home = folder / "home"
        self.home.mkdir()
        shutil.copy(PROJECT / "dagster.yaml", self.home)
        self.tick = _next_minute(seconds=75)
        self.ecs = EcsStandIn(folder / "tasks", self._environment(), CLUSTER)
        local.s3.create_bucket(Bucket=LOG_BUCKET)
        self._physical = self._name_everything()
        self._definitions = self._register()

    def __enter__(self) -> Deployed:
        self.ecs.__enter__()
        try:
            for together in self.synthesis.start_order("AWS::ECS::Service"):
                names = [self._container_of(service) for service in together]
                for name in names:
                    self.ecs.run_service(self._definitions[name])
                for name in names:
                    until(f"{name} is healthy", lambda name=name: self.healthy(name))  # type: ignore[misc]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.ecs.__exit__()

    # --- how it is set up --------------------------------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        given = self.local.environment
        return {
            **{name: given[name] for name in (*_PLACES, *_HOSTS)},
            "NO_PROXY": LOOPBACK,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DAGSTER_CODE_SERVER_HOST": LOOPBACK,
            "DAGSTER_CODE_SERVER_PORT": str(self._ports["4000"]),
            "DAGSTER_HOME": str(self.home),
            "HEALTHCHECK_CODE_SERVER": f"{LOOPBACK}:{self._ports['4000']}",
            "HEALTHCHECK_WEBSERVER": f"{LOOPBACK}:{self._ports['3000']}",
            "PYTHONPATH": f"{Path(__file__).parent / 'recorder'}:{PROJECT}",
            "PYTHONUNBUFFERED": "1",
            "RECORDED_CALLS": str(self._calls),
            "SCHEDULE_HOUR": str(self.tick.hour),
            "SCHEDULE_MINUTE": str(self.tick.minute),
        }

    def _name_everything(self) -> Physical:
        made = self.synthesis
        database, _ = made.only("AWS::RDS::DBInstance")
        secret, _ = made.only("AWS::SecretsManager::Secret")
        topic, _ = made.only("AWS::SNS::Topic")
        answer = self.ecs.client("secretsmanager").create_secret(
            Name="database",
            SecretString=json.dumps({"username": self._postgres.user, "password": self._postgres.password}),
        )
        for group in made.resources("AWS::Logs::LogGroup"):
            self.ecs.client("logs").create_log_group(logGroupName=group)
        return Physical(
            made.template,
            account=ACCOUNT,
            region=REGION,
            names={
                made.only("AWS::S3::Bucket", "BucketsState")[0]: STATE_BUCKET,
                made.only("AWS::S3::Bucket", "BucketsLogs")[0]: LOG_BUCKET,
                secret: answer["ARN"],
                topic: self.local.alert_topic_arn,
            },
            attributes={
                f"{database}.Endpoint.Address": HERE,
                f"{database}.Endpoint.Port": str(self._postgres.port),
                f"{made.only('AWS::ElasticLoadBalancingV2::LoadBalancer')[0]}.DNSName": "ui.internal",
            },
        )

    def _register(self) -> dict[str, str]:
        """Register the template's task definitions; their ARNs, by the name of their container."""
        ecs = self.ecs.client("ecs")
        resources = self.synthesis.resources("AWS::ECS::TaskDefinition")
        arns = {}
        for logical in sorted(resources, key=lambda name: not name.startswith("TasksRun")):
            definition = _camel(self._physical(resources[logical]))
            (container,) = definition["containerDefinitions"]
            container["command"] = [self._place(word) for word in container["command"]]
            arn = ecs.register_task_definition(**definition)["taskDefinition"]["taskDefinitionArn"]
            arns[container["name"]] = arn
            self._physical.name(logical, arn)
        return arns

    def _container_of(self, service: str) -> str:
        """The name of the one container of a service of the template."""
        resources = self.synthesis.template["Resources"]
        definition = resources[resources[service]["Properties"]["TaskDefinition"]["Ref"]]
        (container,) = definition["Properties"]["ContainerDefinitions"]
        return str(container["Name"])

    def _place(self, word: str) -> str:
        if word == "/opt/dagster/workspace.yaml":
            return str(PROJECT / "workspace.yaml")
        return str({"0.0.0.0": LOOPBACK, **self._ports}.get(word, word))

    # --- what it does ------------------------------------------------------------------------------------

    def containers(self, name: str) -> list[Container]:
        """The containers of one name, in the order in which they were started."""
        return [found for found in list(self.ecs.agent.containers.values()) if found.name == name]

    def container_of(self, run_id: str) -> Container | None:
        """The container that was started last for a run."""
        found = [c for c in self.containers("run") if run_id in " ".join(map(str, c.process.args))]  # type: ignore[arg-type]
        return found[-1] if found else None

    def healthy(self, name: str) -> bool:
        """Whether the image's health check says that a service works."""
        found = self.containers(name)
        if not found:
            return False
        (container,) = found
        assert container.process.poll() is None, f"{name} ended: {container.output[-20:]}"
        check = [sys.executable, str(PROJECT / "docker/healthcheck.py"), name]
        return subprocess.run(check, env=container.environment, check=False).returncode == 0

    def graphql(self, query: str, **variables: Any) -> Any:
        """Ask the web server."""
        answer = requests.post(
            f"http://{LOOPBACK}:{self._ports['3000']}/graphql",
            json={"query": query, "variables": variables},
            timeout=60,
        ).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def run_tasks(self) -> list[Mapping[str, Any]]:
        """The parameters of each RunTask that the daemon asked for."""
        return [call["parameters"] for call in self.calls() if call["operation"] == "RunTask"]

    def calls(self) -> list[dict[str, Any]]:
        """Every call that boto3 made in the tasks, with the role that made it."""
        return [json.loads(line) for line in self._calls.read_text().splitlines()]

    def refused(self) -> Iterator[tuple[str, Call]]:
        """The calls that the template's policies would not have allowed, with the role that made them."""
        policies = self._policies()
        seen = set()
        for record in self.calls():
            role = record["role"]
            for call in [*calls_of(record, account=ACCOUNT, region=REGION), *self._handed_on(record)]:
                if (role, call) not in seen and not policies[role].allows(call):
                    yield role, call
                seen.add((role, call))

    def _policies(self) -> dict[str, Policy]:
        statements: dict[str, list[Any]] = defaultdict(list)
        for policy in self.synthesis.resources("AWS::IAM::Policy").values():
            for role in policy["Roles"]:
                found = self._physical(policy["PolicyDocument"]["Statement"])
                statements[self._physical(role)].extend(found)
        return {role: Policy(found) for role, found in statements.items()}

    def _handed_on(self, record: Mapping[str, Any]) -> Iterator[Call]:
        if record["operation"] != "RunTask":
            return
        wanted = record["parameters"]["taskDefinition"]
        described = self.ecs.client("ecs").describe_task_definition(taskDefinition=wanted)["taskDefinition"]
        for role in ("taskRoleArn", "executionRoleArn"):
            passed = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
            yield Call("iam:PassRole", described[role], passed)


def _camel(value: Any) -> Any:
    """CloudFormation's names as the API has them."""
    if isinstance(value, dict):
        return {f"{name[0].lower()}{name[1:]}": _camel(item) for name, item in value.items()}
    return [_camel(item) for item in value] if isinstance(value, list) else value


def _next_minute(*, seconds: float) -> datetime:
    """The first whole minute, New York time, that is at least so far away."""
    soon = datetime.now(ZoneInfo("America/New_York")) + timedelta(seconds=seconds)
    return soon.replace(second=0, microsecond=0) + timedelta(minutes=1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
