"""What outlives every task: the database, and the buckets of state and logs."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_rds as rds
from aws_cdk import aws_s3 as s3
from constructs import Construct

from marble_stack.checks import accept
from marble_stack.deployment import Deployment
from marble_stack.network import POSTGRES_PORT, SecurityGroups

DATABASE_NAME = "dagster"
ACCESS_LOGS = "access-logs/"
BALANCER_LOGS = "load-balancer"


class Buckets(Construct):
    """The bucket of the pipeline's state, and that of all logs. Neither is ever public."""

    def __init__(self, scope: Construct, deployment: Deployment) -> None:
        super().__init__(scope, "Buckets")
        keep = cdk.RemovalPolicy.RETAIN
        abort = s3.LifecycleRule(
            id="unfinished", abort_incomplete_multipart_upload_after=cdk.Duration.days(7)
        )
        self.logs = s3.Bucket(
            self,
            "Logs",
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            removal_policy=keep,
            lifecycle_rules=[
                abort,
                s3.LifecycleRule(id="expire", expiration=cdk.Duration.days(deployment.log_days)),
            ],
        )
        self.state = s3.Bucket(
            self,
            "State",
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            # A list or a quarantine that was overwritten or deleted can be had back.
            versioned=True,
            server_access_logs_bucket=self.logs,
            server_access_logs_prefix=ACCESS_LOGS,
            removal_policy=keep,
            lifecycle_rules=[
                abort,
                s3.LifecycleRule(id="versions", noncurrent_version_expiration=cdk.Duration.days(30)),
            ],
        )


class Database(Construct):
    """PostgreSQL on RDS, whose password nobody has ever seen: Secrets Manager makes and keeps it."""

    def __init__(
        self, scope: Construct, vpc: ec2.IVpc, groups: SecurityGroups, deployment: Deployment
    ) -> None:
        super().__init__(scope, "Database")
        wanted = deployment.database
        version = rds.PostgresEngineVersion.of(wanted.major_version, wanted.major_version)
        self.instance = rds.DatabaseInstance(
            self,
            "Instance",
            engine=rds.DatabaseInstanceEngine.postgres(version=version),
            instance_type=ec2.InstanceType(wanted.instance_type),
            vpc=vpc,
            vpc_subnets=ec2.SubnetSelection(subnets=vpc.private_subnets),
            security_groups=[groups.database],
            publicly_accessible=False,
            port=POSTGRES_PORT,
            database_name=DATABASE_NAME,
            credentials=rds.Credentials.from_generated_secret("dagster"),
            storage_type=rds.StorageType.GP3,
            storage_encrypted=True,
            allocated_storage=wanted.storage_gib,
            max_allocated_storage=5 * wanted.storage_gib,
            multi_az=wanted.multi_az,
            backup_retention=cdk.Duration.days(14),
            copy_tags_to_snapshot=True,
            auto_minor_version_upgrade=True,
            parameters={"rds.force_ssl": "1"},
            cloudwatch_logs_exports=["postgresql"],
            deletion_protection=deployment.protect,
            removal_policy=cdk.RemovalPolicy.SNAPSHOT,
        )
        if self.instance.secret is None:
            raise RuntimeError("the database has no secret")
        self.secret = self.instance.secret
        accept(
            self,
            {
                "AwsSolutions-SMG4": "Rotation would cut off tasks that hold the old password; "
                "docs/deploying.md says how to change it.",
                "AwsSolutions-RDS11": "Only the tasks' security groups reach it; another port hides nothing.",
            },
        )
        if not wanted.multi_az:
            accept(
                self,
                {
                    "AwsSolutions-RDS3": "A standby is a choice of the deployment (database.multi_az): "
                    "a day that is missed is made up by the next."
                },
            )
        if not deployment.protect:
            accept(self, {"AwsSolutions-RDS10": "The deployment says that it may be deleted (protect)."})
