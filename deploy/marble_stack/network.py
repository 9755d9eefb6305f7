"""The existing VPC, and who may talk to whom in it."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from marble_stack.deployment import Deployment

WEBSERVER_PORT = 3000
CODE_SERVER_PORT = 4000
POSTGRES_PORT = 5432


def existing_vpc(scope: Construct, deployment: Deployment) -> ec2.IVpc:
    """The VPC of the deployment; nothing is looked up, so synthesis needs no AWS account."""
    network = deployment.network
    if network.stack:
        return ec2.Vpc.from_vpc_attributes(
            scope,
            "Vpc",
            vpc_id=cdk.Fn.import_value(f"{network.stack}:VPCID"),
            availability_zones=[cdk.Fn.select(n, cdk.Fn.get_azs()) for n in (0, 1)],
            private_subnet_ids=[cdk.Fn.import_value(f"{network.stack}:PrivateSubnet{n}ID") for n in (1, 2)],
        )
    return ec2.Vpc.from_vpc_attributes(
        scope,
        "Vpc",
        vpc_id=str(network.vpc_id),
        availability_zones=list(network.availability_zones),
        private_subnet_ids=list(network.private_subnet_ids),
    )


class SecurityGroups(Construct):
    """One group for each part; only the load balancer takes anything from outside the stack.

    The runs share the daemon's group: the launcher gives each task the groups of its own.
    """

    def __init__(self, scope: Construct, vpc: ec2.IVpc, deployment: Deployment) -> None:
        super().__init__(scope, "SecurityGroups")

        def group(name: str, description: str) -> ec2.SecurityGroup:
            return ec2.SecurityGroup(self, name, vpc=vpc, description=description, allow_all_outbound=False)

        self.balancer = group("Balancer", "The load balancer of the web server")
        self.webserver = group("Webserver", "The web server")
        self.daemon = group("Daemon", "The daemon and the runs")
        self.code_server = group("CodeServer", "The code server")
        self.database = group("Database", "The database")

        port = 443 if deployment.ui.certificate_arn else 80
        for cidr in deployment.ui.allowed_cidrs:
            self.balancer.add_ingress_rule(ec2.Peer.ipv4(cidr), ec2.Port.tcp(port), "Users of the UI")
        self._connect(self.balancer, self.webserver, WEBSERVER_PORT)
        for client in (self.webserver, self.daemon):
            self._connect(client, self.code_server, CODE_SERVER_PORT)
        for client in (self.webserver, self.daemon, self.code_server):
            self._connect(client, self.database, POSTGRES_PORT)
            client.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(443), "AWS")
        # Runs fetch sources and call AppSync.
        for number in (80, *deployment.allowed_source_ports):
            self.daemon.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(number), "Sources")

    @staticmethod
    def _connect(client: ec2.SecurityGroup, server: ec2.SecurityGroup, port: int) -> None:
        client.connections.allow_to(server, ec2.Port.tcp(port))
