"""The cluster and what runs in it: web server, daemon, code server, and the definition of the runs."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_servicediscovery as discovery
from constructs import Construct

from marble_stack.deployment import Deployment
from marble_stack.network import CODE_SERVER_PORT, WEBSERVER_PORT, SecurityGroups
from marble_stack.roles import Roles
from marble_stack.storage import BALANCER_LOGS, Buckets
from marble_stack.tasks import RUN_CONTAINER, WORKSPACE, Tasks

CODE_SERVER = "code-server"
LOGGED = ("--log-format", "json")
ANY = "0.0.0.0"  # noqa: S104  in the network of the task, behind its security group


class Services(Construct):
    """The three services and the runs' task definition."""

    def __init__(
        self,
        scope: Construct,
        deployment: Deployment,
        *,
        vpc: ec2.IVpc,
        groups: SecurityGroups,
        buckets: Buckets,
        roles: Roles,
        tasks: Tasks,
    ) -> None:
        super().__init__(scope, "Services")
        self._deployment = deployment
        self._vpc = vpc
        self._groups = groups
        self._roles = roles
        self._tasks = tasks
        name = deployment.stack_name
        self._namespace = f"{name}.internal"
        self.cluster = ecs.Cluster(
            self,
            "Cluster",
            cluster_name=name,
            vpc=vpc,
            container_insights_v2=ecs.ContainerInsights.ENABLED,
            enable_fargate_capacity_providers=True,
            default_cloud_map_namespace=ecs.CloudMapNamespaceOptions(
                name=self._namespace, type=discovery.NamespaceType.DNS_PRIVATE
            ),
        )
        self.balancer = self._balancer(buckets)
        scheme = "https" if deployment.ui.certificate_arn else "http"
        self.ui_url = deployment.ui.url or f"{scheme}://{self.balancer.load_balancer_dns_name}"

        self._pipeline = {**tasks.instance_environment(), **tasks.pipeline_environment(self.ui_url)}
        self.run_logs = tasks.log_group("Run")
        self.run = self._run_definition()
        roles.allow_launching(self.cluster, self.run.family, self.run_logs)
        self._servers = {
            **tasks.instance_environment(),
            **tasks.server_environment(f"{CODE_SERVER}.{self._namespace}", self.run.task_definition_arn),
        }
        self.code_server = self._code_server()
        self.daemon = self._daemon()
        self.webserver = self._webserver()
        # Both would create Dagster's tables in a new database, and Dagster lets the second of them die.
        self.webserver.node.add_dependency(self.daemon)

    def _run_definition(self) -> ecs.FargateTaskDefinition:
        size = self._deployment.run
        return self._tasks.define(
            "Run",
            family=f"{self._deployment.stack_name}-run",
            container=RUN_CONTAINER,
            role=self._roles.run,
            # The launcher replaces it; started by hand, it shows that the image works.
            command=["marble-images", "--help"],
            environment=self._pipeline,
            cpu=size.cpu,
            memory_mib=size.memory_mib,
            ephemeral_gib=size.ephemeral_gib,
            log_group=self.run_logs,
        )

    def _service(
        self,
        name: str,
        definition: ecs.FargateTaskDefinition,
        group: ec2.SecurityGroup,
        *,
        single: bool = False,
    ) -> ecs.FargateService:
        return ecs.FargateService(
            self,
            name,
            cluster=self.cluster,
            task_definition=definition,
            desired_count=1,
            # Two daemons would launch every run twice: the old one stops before the new one starts.
            min_healthy_percent=0 if single else 100,
            max_healthy_percent=100 if single else 200,
            availability_zone_rebalancing=ecs.AvailabilityZoneRebalancing.DISABLED,
            assign_public_ip=False,
            security_groups=[group],
            vpc_subnets=ec2.SubnetSelection(subnets=self._vpc.private_subnets),
            # A version that does not come up is taken back.
            circuit_breaker=ecs.DeploymentCircuitBreaker(enable=True, rollback=True),
            propagate_tags=ecs.PropagatedTagSource.SERVICE,
        )

    def _code_server(self) -> ecs.FargateService:
        definition = self._tasks.define(
            "CodeServer",
            family=f"{self._deployment.stack_name}-code-server",
            container=CODE_SERVER,
            role=self._roles.code_server,
            command=[
                *("dagster", "api", "grpc", "--host", ANY, "--port", str(CODE_SERVER_PORT)),
                *("--module-name", "marble_images.definitions", "--location-name", "marble_images"),
                *LOGGED,
            ],
            environment={
                **self._pipeline,
                # Shown with each run; the task definition is what decides.
                "DAGSTER_CURRENT_IMAGE": self._tasks.image_name,
                # A day of 20,000 files ends 400 runs; five a tick would keep the alert waiting for hours.
                "DAGSTER_RUN_STATUS_SENSOR_PROCESS_LIMIT": "100",
            },
            cpu=512,
            memory_mib=2048,
            log_group=self._tasks.log_group("CodeServer"),
            port=CODE_SERVER_PORT,
        )
        service = self._service("CodeServer", definition, self._groups.code_server)
        service.enable_cloud_map(
            name=CODE_SERVER, dns_record_type=discovery.DnsRecordType.A, dns_ttl=cdk.Duration.seconds(10)
        )
        return service

    def _daemon(self) -> ecs.FargateService:
        definition = self._tasks.define(
            "Daemon",
            family=f"{self._deployment.stack_name}-daemon",
            container="daemon",
            role=self._roles.daemon,
            command=["dagster-daemon", "run", "--workspace", WORKSPACE, *LOGGED],
            environment=self._servers,
            cpu=512,
            memory_mib=2048,
            log_group=self._tasks.log_group("Daemon"),
        )
        return self._service("Daemon", definition, self._groups.daemon, single=True)

    def _webserver(self) -> ecs.FargateService:
        definition = self._tasks.define(
            "Webserver",
            family=f"{self._deployment.stack_name}-webserver",
            container="webserver",
            role=self._roles.webserver,
            command=[
                *("dagster-webserver", "--host", ANY, "--port", str(WEBSERVER_PORT)),
                *("--workspace", WORKSPACE, *LOGGED),
            ],
            environment=self._servers,
            cpu=512,
            memory_mib=2048,
            log_group=self._tasks.log_group("Webserver"),
            port=WEBSERVER_PORT,
        )
        service = self._service("Webserver", definition, self._groups.webserver)
        self._listen(service)
        return service

    def _balancer(self, buckets: Buckets) -> elb.ApplicationLoadBalancer:
        balancer = elb.ApplicationLoadBalancer(
            self,
            "Balancer",
            vpc=self._vpc,
            vpc_subnets=ec2.SubnetSelection(subnets=self._vpc.private_subnets),
            internet_facing=False,
            security_group=self._groups.balancer,
            drop_invalid_header_fields=True,
            deletion_protection=self._deployment.protect,
            # The UI keeps a web socket open for the log of a run.
            idle_timeout=cdk.Duration.minutes(5),
        )
        balancer.log_access_logs(buckets.logs, BALANCER_LOGS)
        return balancer

    def _listen(self, service: ecs.FargateService) -> None:
        certificate = self._deployment.ui.certificate_arn
        listener = self.balancer.add_listener(
            "Listener",
            # The security group says who may come in; CDK would open it to the world.
            open=False,
            port=443 if certificate else 80,
            protocol=elb.ApplicationProtocol.HTTPS if certificate else elb.ApplicationProtocol.HTTP,
            certificates=[elb.ListenerCertificate.from_arn(certificate)] if certificate else None,
            ssl_policy=elb.SslPolicy.RECOMMENDED_TLS if certificate else None,
        )
        listener.add_targets(
            "Webserver",
            port=WEBSERVER_PORT,
            protocol=elb.ApplicationProtocol.HTTP,
            targets=[service],
            deregistration_delay=cdk.Duration.seconds(30),
            health_check=elb.HealthCheck(path="/server_info", healthy_http_codes="200"),
        )
