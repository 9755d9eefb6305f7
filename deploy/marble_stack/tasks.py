"""The task definitions: one image, four commands, and the environment that each of them gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from marble_stack.checks import accept
from marble_stack.deployment import Deployment
from marble_stack.messages import Alerts
from marble_stack.network import CODE_SERVER_PORT
from marble_stack.roles import Roles
from marble_stack.storage import DATABASE_NAME, Buckets, Database

PROJECT = Path(__file__).resolve().parents[2]

# Paths in the image: see the Dockerfile.
WORK_FOLDER = "/var/lib/marble-images"
WORKSPACE = "/opt/dagster/workspace.yaml"
HOME = "/opt/dagster/home"
SPOT_HOME = "/opt/dagster/home-spot"
HEALTHCHECK = "/opt/dagster/healthcheck"

RUN_CONTAINER = "run"

RETENTION = {
    7: logs.RetentionDays.ONE_WEEK,
    30: logs.RetentionDays.ONE_MONTH,
    60: logs.RetentionDays.TWO_MONTHS,
    90: logs.RetentionDays.THREE_MONTHS,
    180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
}


class Tasks(Construct):
    """Makes the task definitions; every container of them is alike but for command, role and size."""

    def __init__(
        self,
        scope: Construct,
        deployment: Deployment,
        *,
        roles: Roles,
        database: Database,
        buckets: Buckets,
        alerts: Alerts,
    ) -> None:
        super().__init__(scope, "Tasks")
        self._deployment = deployment
        self._roles = roles
        self._database = database
        self._buckets = buckets
        self._alerts = alerts
        self.image, self.image_name = self._find_image()

    def _find_image(self) -> tuple[ecs.ContainerImage, str]:
        wanted = self._deployment.image
        if wanted is None:
            built = ecr_assets.DockerImageAsset(
                self, "Image", directory=str(PROJECT), platform=ecr_assets.Platform.LINUX_AMD64
            )
            return ecs.ContainerImage.from_docker_image_asset(built), built.image_uri
        repository = ecr.Repository.from_repository_name(self, "Repository", wanted.repository)
        return (
            ecs.ContainerImage.from_ecr_repository(repository, wanted.tag),
            repository.repository_uri_for_tag(wanted.tag),
        )

    def log_group(self, name: str) -> logs.LogGroup:
        """A log group with an end."""
        return logs.LogGroup(
            self,
            f"{name}Logs",
            retention=RETENTION[self._deployment.log_days],
            removal_policy=cdk.RemovalPolicy.DESTROY,
        )

    def instance_environment(self) -> dict[str, str]:
        """What dagster.yaml asks for, in every task."""
        endpoint = self._database.instance.instance_endpoint
        return {
            "AWS_DEFAULT_REGION": cdk.Stack.of(self).region,
            # Throttled calls are tried again by boto3 before anything notices.
            "AWS_MAX_ATTEMPTS": "10",
            "AWS_RETRY_MODE": "standard",
            "DAGSTER_HOME": SPOT_HOME if self._deployment.spot else HOME,
            "DAGSTER_LOG_BUCKET": self._buckets.logs.bucket_name,
            "DAGSTER_POSTGRES_DB": DATABASE_NAME,
            "DAGSTER_POSTGRES_HOST": endpoint.hostname,
            "DAGSTER_POSTGRES_PORT": cdk.Token.as_string(endpoint.port),
            "PGSSLMODE": "require",
            "WORK_FOLDER": WORK_FOLDER,
        }

    def pipeline_environment(self, ui_url: str) -> dict[str, str]:
        """What the pipeline's code asks for: the runs and the code server."""
        wanted = self._deployment
        settings = {
            "ALERT_TOPIC_ARN": self._alerts.topic.topic_arn,
            "ALLOWED_SOURCE_HOSTS": ",".join(wanted.allowed_source_hosts),
            "ALLOWED_SOURCE_PORTS": ",".join(map(str, wanted.allowed_source_ports)),
            "CURATE_API_TOKEN_KEY_PATH": wanted.curate_api_token_key_path,
            "DAGSTER_BASE_URL": ui_url,
            "GOOGLE_CREDENTIALS_KEY_PATH": wanted.google_credentials_key_path,
            "GRAPHQL_API_KEY_KEY_PATH": wanted.graphql_api_key_key_path,
            "GRAPHQL_API_URL_KEY_PATH": wanted.graphql_api_url_key_path,
            "IIIF_BASE_URL": wanted.iiif_base_url,
            "IMAGE_BUCKET": wanted.image_bucket,
            "REMOVE_RETIRED_PYRAMIDS": str(wanted.remove_retired_pyramids).lower(),
            "SCHEDULE_HOUR": str(wanted.schedule_hour),
            "SCHEDULE_MINUTE": str(wanted.schedule_minute),
            "STATE_BUCKET": self._buckets.state.bucket_name,
            **wanted.settings,
        }
        return {name: value for name, value in settings.items() if value}

    @staticmethod
    def server_environment(code_server: str, run_definition: str) -> dict[str, str]:
        """What those ask for who launch and stop runs and talk to the code server."""
        return {
            "DAGSTER_CODE_SERVER_HOST": code_server,
            "DAGSTER_CODE_SERVER_PORT": str(CODE_SERVER_PORT),
            "DAGSTER_RUN_TASK_DEFINITION": run_definition,
        }

    def define(
        self,
        name: str,
        *,
        family: str,
        container: str,
        role: iam.IRole,
        command: Sequence[str],
        environment: Mapping[str, str],
        cpu: int,
        memory_mib: int,
        log_group: logs.ILogGroup,
        ephemeral_gib: int | None = None,
        port: int | None = None,
    ) -> ecs.FargateTaskDefinition:
        """A task definition with one container, on a read-only root file system."""
        definition = ecs.FargateTaskDefinition(
            self,
            name,
            family=family,
            cpu=cpu,
            memory_limit_mib=memory_mib,
            ephemeral_storage_gib=ephemeral_gib,
            task_role=role,
            execution_role=self._roles.execution,
            runtime_platform=ecs.RuntimePlatform(
                cpu_architecture=ecs.CpuArchitecture.X86_64,
                operating_system_family=ecs.OperatingSystemFamily.LINUX,
            ),
            volumes=[ecs.Volume(name="work")],
        )
        secret = self._database.secret
        # As PID 1 a Python process would reap no children and take no default signals.
        init = ecs.LinuxParameters(self, f"{name}Init", init_process_enabled=True)
        added = definition.add_container(
            container,
            container_name=container,
            image=self.image,
            command=list(command),
            # The launcher and a killed container's report need the limit here, not on the task alone.
            memory_limit_mib=memory_mib,
            environment=dict(environment),
            secrets={
                "DAGSTER_POSTGRES_USER": ecs.Secret.from_secrets_manager(secret, "username"),
                "DAGSTER_POSTGRES_PASSWORD": ecs.Secret.from_secrets_manager(secret, "password"),
            },
            logging=ecs.LogDriver.aws_logs(stream_prefix=container, log_group=log_group),
            # Dagster itself watches the runs.
            health_check=None if container == RUN_CONTAINER else _health_check(container),
            linux_parameters=init,
            readonly_root_filesystem=True,
            # The longest that Fargate gives: a run that is stopped finishes the file in its hands.
            stop_timeout=cdk.Duration.seconds(120),
        )
        added.add_mount_points(
            ecs.MountPoint(container_path=WORK_FOLDER, source_volume="work", read_only=False)
        )
        if port is not None:
            added.add_port_mappings(ecs.PortMapping(container_port=port))
        accept(
            definition,
            {
                "AwsSolutions-ECS2": "Names, addresses and numbers only; the password and every key "
                "come from Secrets Manager and SSM."
            },
        )
        return definition


def _health_check(container: str) -> ecs.HealthCheck:
    return ecs.HealthCheck(
        command=["CMD", HEALTHCHECK, container],
        interval=cdk.Duration.seconds(60),
        timeout=cdk.Duration.seconds(30),
        start_period=cdk.Duration.seconds(120),
        retries=3,
    )
