"""The topic of everything that a person must look at."""

from __future__ import annotations

from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from marble_stack.deployment import Deployment


class Alerts(Construct):
    """The topic of the pipeline's daily alert and of the alarms, encrypted.

    The key is the stack's own: alarms cannot publish to a topic under AWS's key for SNS.
    """

    def __init__(self, scope: Construct, deployment: Deployment) -> None:
        super().__init__(scope, "Alerts")
        self.key = kms.Key(self, "Key", enable_key_rotation=True, description="Alerts of marble_images")
        self.key.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["kms:Decrypt", "kms:GenerateDataKey"],
                resources=["*"],  # in a key's policy: this key
                conditions={"StringEquals": {"aws:SourceAccount": deployment.account}},
            )
        )
        self.topic = sns.Topic(self, "Topic", master_key=self.key, enforce_ssl=True)
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[self.topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": deployment.account}},
            )
        )
        for address in deployment.alert_emails:
            self.topic.add_subscription(subscriptions.EmailSubscription(address))
