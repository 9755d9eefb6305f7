"""The ECS stand-in: moto's ECS, a task metadata endpoint, and an agent that runs what tasks ask for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from marble_images.local import aws, fault_shapes, layout
from marble_images.local.ecs_agent import Container, EcsAgent
from marble_images.local.fault_layer import FaultLayer
from marble_images.local.faults import FaultBook
from marble_images.local.server import LoopbackServer, WSGIApp


class EcsStandIn:
    """Fargate on one machine: a task that ECS accepts is a process of this machine.

    Serves ECS, EC2, Secrets Manager and CloudWatch Logs in this process, for as long as the ``with`` block
    lasts; what runs in tasks finds all other services where ``environment`` says.

    Parameters
    ----------
    folder
        Where the tasks' volumes and output lie.
    environment
        Variables that every container gets, over those of its task definition.
    cluster
        Name of the cluster.

    Attributes
    ----------
    agent
        What runs the tasks.
    faults
        Commands to misbehave, for service ``ecs``.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], cluster: str) -> None:
        self.faults = FaultBook()
        moto = DomainDispatcherApplication(create_backend_app)
        self._aws = LoopbackServer(
            FaultLayer(
                moto,
                "ecs",
                self.faults,
                describe=lambda environ, _body: ([aws.operation(environ)], None),
                failure=fault_shapes.aws_failure,
            ),
            handler=aws.AwsHandler,
        )
        self.cluster = cluster
        self.client("ecs").create_cluster(clusterName=cluster)
        self.network = self._make_network()
        self._metadata = LoopbackServer(self._metadata_app())
        self.agent = EcsAgent(
            folder,
            cluster=cluster,
            environment={**self.endpoints, **environment},
            metadata_url=self._metadata.url,
            secrets=self.client("secretsmanager"),
            logs=self.client("logs"),
        )

    def __enter__(self) -> EcsStandIn:
        self.agent.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.agent.close()
        self._metadata.close()
        self._aws.close()

    @property
    def endpoints(self) -> dict[str, str]:
        """The variables that lead boto3's calls of these services here."""
        services = ("CLOUDWATCH_LOGS", "EC2", "ECS", "SECRETS_MANAGER")
        return {f"AWS_ENDPOINT_URL_{service}": self._aws.url for service in services}

    def client(self, service: str) -> Any:
        """A boto3 client of one of these services."""
        return layout.aws_client(service, self._aws.url)

    def run_service(self, definition: str) -> str:
        """Start a task as an ECS service would; its ARN."""
        answer = self.client("ecs").run_task(
            cluster=self.cluster,
            taskDefinition=definition,
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": self.network},
        )
        return str(answer["tasks"][0]["taskArn"])

    def _make_network(self) -> dict[str, Any]:
        ec2 = self.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
        group = ec2.create_security_group(GroupName="daemon", Description="daemon", VpcId=vpc)["GroupId"]
        return {"subnets": [subnet], "securityGroups": [group], "assignPublicIp": "DISABLED"}

    def _metadata_app(self) -> WSGIApp:
        def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            answer = self._metadata_of(environ["PATH_INFO"].strip("/").split("/"))
            status = "200 OK" if answer is not None else "404 Not Found"
            body = json.dumps(answer or {}).encode()
            headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
            start_response(status, headers)
            return [body]

        return app

    def _metadata_of(self, path: list[str]) -> dict[str, Any] | None:
        if path[0] == "credentials" and len(path) == 2:
            return _credentials(path[1])
        container: Container | None = self.agent.containers.get(path[1]) if len(path) > 1 else None
        if path[0] != "v4" or container is None:
            return None
        if path[2:] == ["task"]:
            return {"Cluster": container.cluster_arn, "TaskARN": container.task_arn}
        return {"Name": container.name, "DockerName": container.name}


def _credentials(role: str) -> dict[str, str]:
    # The role's name is the key, so that a request's signature says who made it.
    return {
        "RoleArn": role,
        "AccessKeyId": role,
        "SecretAccessKey": "local",
        "Token": "local",
        "Expiration": "2999-01-01T00:00:00Z",
    }
