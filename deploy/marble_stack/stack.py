"""The stack: everything that marble_images needs in an AWS account, in an existing VPC."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import Validations
from cdk_nag import AwsSolutionsChecks
from constructs import Construct

from marble_stack.alarms import Alarms
from marble_stack.deployment import Deployment
from marble_stack.messages import Alerts
from marble_stack.network import SecurityGroups, existing_vpc
from marble_stack.roles import Roles
from marble_stack.services import Services
from marble_stack.storage import Buckets, Database
from marble_stack.tasks import Tasks


class MarbleImagesStack(cdk.Stack):
    """See docs/deploying.md for what it holds and why."""

    def __init__(self, scope: Construct, deployment: Deployment) -> None:
        super().__init__(
            scope,
            "MarbleImages",
            stack_name=deployment.stack_name,
            description="marble_images: pyramid TIFFs of a library's changed image files",
            env=cdk.Environment(account=deployment.account, region=deployment.region),
            termination_protection=deployment.protect,
            tags={"application": "marble-images", "deployment": deployment.stack_name},
        )
        vpc = existing_vpc(self, deployment)
        groups = SecurityGroups(self, vpc, deployment)
        buckets = Buckets(self, deployment)
        database = Database(self, vpc, groups, deployment)
        alerts = Alerts(self, deployment)
        roles = Roles(self, deployment, buckets, alerts)
        tasks = Tasks(self, deployment, roles=roles, database=database, buckets=buckets, alerts=alerts)
        services = Services(
            self, deployment, vpc=vpc, groups=groups, buckets=buckets, roles=roles, tasks=tasks
        )
        Alarms(self, services, database, alerts)
        self._outputs(services, buckets, database, alerts)

    def _outputs(self, services: Services, buckets: Buckets, database: Database, alerts: Alerts) -> None:
        for name, value, description in (
            ("UiUrl", services.ui_url, "The Dagster UI, from the networks that may reach it"),
            ("ClusterName", services.cluster.cluster_name, "The ECS cluster"),
            ("RunTaskDefinition", services.run.task_definition_arn, "What each run is launched with"),
            ("RunLogGroup", services.run_logs.log_group_name, "Where the runs' own output goes"),
            ("StateBucket", buckets.state.bucket_name, "Day lists, reports and quarantine"),
            ("LogBucket", buckets.logs.bucket_name, "Compute logs and access logs"),
            ("DatabaseSecret", database.secret.secret_name, "User and password of the database"),
            ("AlertTopic", alerts.topic.topic_arn, "Subscribe to it to be told"),
        ):
            cdk.CfnOutput(self, name, value=value, description=description)


def build(app: cdk.App, deployment: Deployment) -> MarbleImagesStack:
    """Add the stack to ``app``, checked by cdk-nag at synthesis."""
    stack = MarbleImagesStack(app, deployment)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    return stack
