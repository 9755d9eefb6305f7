"""What matters about the stack, on the templates of both example deployments."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from aws_cdk.assertions import Match, Template

from marble_images.settings import Settings
from marble_images_tests.deploy.physical import Physical
from marble_images_tests.deploy.policies import NO_RESOURCE, Call, Policy, listed, wide_resources
from marble_images_tests.deploy.synthesis import DEPLOY, NO_NODE, PROJECT, Synthesis, has_node, run_app

PASSWORD_SETTINGS = ("DAGSTER_POSTGRES_USER", "DAGSTER_POSTGRES_PASSWORD")

# cfn-lint's warnings that say nothing about this stack.
LINT_ACCEPTED = {
    "W3005",  # CDK writes a DependsOn that a Ref implies
    "W3691",  # a major version alone lets RDS choose its newest minor version
}


@pytest.fixture
def assertions(example: Synthesis) -> Template:
    """The template, for CDK's own assertions."""
    return Template.from_json(example.template)


def statements(example: Synthesis, start: str = "") -> list[dict[str, Any]]:
    """The statements of all roles whose policy's logical id starts so."""
    return [
        statement
        for name, policy in example.resources("AWS::IAM::Policy").items()
        if name.startswith(start)
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def actions(example: Synthesis, role: str) -> set[str]:
    """All actions that a role may do."""
    return {action for found in statements(example, f"Roles{role}") for action in listed(found["Action"])}


def containers(example: Synthesis) -> dict[str, dict[str, Any]]:
    """The one container of each task definition, by its name."""
    return {
        container["Name"]: container
        for definition in example.resources("AWS::ECS::TaskDefinition").values()
        for container in definition["ContainerDefinitions"]
    }


def environment(container: dict[str, Any]) -> dict[str, Any]:
    """A container's plain variables."""
    return {entry["Name"]: entry["Value"] for entry in container["Environment"]}


def test_it_synthesizes_and_cdk_nag_finds_nothing_that_is_not_accepted(example: Synthesis) -> None:
    assert example.status == 0, example.said


@pytest.mark.slow
def test_cdk_nag_really_looks(tmp_path: Path) -> None:
    """Without what is accepted, the same stack does not synthesize."""
    if not has_node:
        pytest.skip(NO_NODE)
    without = "import marble_stack.checks as c; c.accept.__code__ = (lambda *_: None).__code__\n"
    ran = run_app(DEPLOY / "contexts/new.json", tmp_path, before=without)
    said, _ = ran.communicate()
    assert ran.returncode != 0
    found = set(re.findall(r"AwsSolutions-\w+", said))
    assert {"AwsSolutions-ECS2", "AwsSolutions-IAM5", "AwsSolutions-RDS3"} <= found


def test_cfn_lint_finds_no_error(example: Synthesis) -> None:
    ran = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), "--format", "json", str(example.path)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = {match["Rule"]["Id"]: match["Message"] for match in json.loads(ran.stdout)}
    assert {rule: message for rule, message in found.items() if rule not in LINT_ACCEPTED} == {}


class TestRoles:
    """Least privilege."""

    def test_only_actions_without_an_arn_are_allowed_on_every_resource(self, example: Synthesis) -> None:
        assert {action for action, _ in wide_resources(statements(example))} == set(NO_RESOURCE)

    def test_every_action_is_named(self, example: Synthesis) -> None:
        assert [a for found in statements(example) for a in listed(found["Action"]) if "*" in a] == []

    def test_a_run_publishes_and_never_deletes_pyramids(self, example: Synthesis) -> None:
        images = environment(containers(example)["run"])["IMAGE_BUCKET"]
        allowed = {
            action
            for found in statements(example, "RolesRun")
            for resource in listed(found["Resource"])
            if f":s3:::{images}/*" in json.dumps(resource)
            for action in listed(found["Action"])
        }
        assert allowed == {"s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"}

    def test_sources_are_only_read(self, example: Synthesis) -> None:
        ours = {environment(containers(example)["run"])["IMAGE_BUCKET"]}
        allowed = {
            action
            for found in statements(example, "RolesRun")
            for resource in listed(found["Resource"])
            if (named := re.search(r":s3:::([^/\"*]+)", json.dumps(resource))) and named[1] not in ours
            for action in listed(found["Action"])
        }
        assert allowed == {"s3:GetObject", "s3:ListBucket"}

    def test_only_the_run_reads_the_keys(self, example: Synthesis) -> None:
        assert "ssm:GetParameter" in actions(example, "Run")
        for other in ("CodeServer", "Daemon", "Webserver", "Execution"):
            assert "ssm:GetParameter" not in actions(example, other)

    def test_only_the_daemon_starts_tasks_and_only_with_the_two_roles_of_a_run(
        self, example: Synthesis
    ) -> None:
        for other in ("Run", "CodeServer", "Webserver", "Execution"):
            assert not {"ecs:RunTask", "iam:PassRole"} & actions(example, other)
        (passing,) = [s for s in statements(example, "RolesDaemon") if "iam:PassRole" in listed(s["Action"])]
        passed = {resource["Fn::GetAtt"][0] for resource in passing["Resource"]}
        run = example.only("AWS::ECS::TaskDefinition", "TasksRun")[1]
        assert passed == {run[role]["Fn::GetAtt"][0] for role in ("TaskRoleArn", "ExecutionRoleArn")}
        assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}

    def test_the_web_server_starts_nothing_and_writes_nothing(self, example: Synthesis) -> None:
        assert actions(example, "Webserver") == {
            "ecs:DescribeTaskDefinition",
            "ecs:DescribeTasks",
            "ecs:StopTask",
            "s3:GetObject",
        }

    def test_the_code_server_sends_the_alert_and_writes_only_that_and_logs(self, example: Synthesis) -> None:
        physical = Physical(example.template, account="123456789012", region="us-east-1")
        policy = Policy(physical(statements(example, "RolesCodeServer")))
        state, logs = (example.only("AWS::S3::Bucket", f"Buckets{name}")[0] for name in ("State", "Logs"))
        topic, _ = example.only("AWS::SNS::Topic")
        day = "marble-images/alerts/2024-01-01.json"
        assert policy.allows(Call("sns:Publish", physical.ref(topic)))
        assert policy.allows(Call("s3:PutObject", f"arn:aws:s3:::{state}/{day}"))
        assert policy.allows(Call("s3:PutObject", f"arn:aws:s3:::{logs}/compute-logs/storage/x.err"))
        other = "marble-images/days/2024-01-01.jsonl"
        assert not policy.allows(Call("s3:PutObject", f"arn:aws:s3:::{state}/{other}"))
        assert not policy.allows(Call("s3:DeleteObject", f"arn:aws:s3:::{state}/{day}"))

    def test_each_kind_of_task_has_a_role_of_its_own(self, example: Synthesis) -> None:
        definitions = example.resources("AWS::ECS::TaskDefinition").values()
        assert len({json.dumps(definition["TaskRoleArn"]) for definition in definitions}) == 4


class TestNetwork:
    """Nothing is reached from outside."""

    def test_nobody_but_the_named_networks_comes_in(self, example: Synthesis) -> None:
        groups = example.resources("AWS::EC2::SecurityGroup")
        inward = {
            name: group["SecurityGroupIngress"]
            for name, group in groups.items()
            if "SecurityGroupIngress" in group
        }
        assert [name.startswith("SecurityGroupsBalancer") for name in inward] == [True]
        ranges = [rule["CidrIp"] for rules in inward.values() for rule in rules]
        assert ranges
        assert not {"0.0.0.0/0", "::/0"} & set(ranges)
        for rule in example.resources("AWS::EC2::SecurityGroupIngress").values():
            assert "SourceSecurityGroupId" in rule

    def test_nothing_has_a_public_address(self, example: Synthesis) -> None:
        assert example.only("AWS::ElasticLoadBalancingV2::LoadBalancer")[1]["Scheme"] == "internal"
        assert example.only("AWS::RDS::DBInstance")[1]["PubliclyAccessible"] is False
        for service in example.resources("AWS::ECS::Service").values():
            network = service["NetworkConfiguration"]["AwsvpcConfiguration"]
            assert network["AssignPublicIp"] == "DISABLED"

    def test_it_uses_the_existing_network(self, syntheses: dict[str, Synthesis]) -> None:
        for made in syntheses.values():
            assert not made.resources("AWS::EC2::VPC")
        named = json.dumps(syntheses["marble"].template)
        for export in ("VPCID", "PrivateSubnet1ID", "PrivateSubnet2ID"):
            assert f'{{"Fn::ImportValue": "marble-network:{export}"}}' in named
        assert "subnet-0a1b2c3d4e5f60711" in json.dumps(syntheses["new"].template)


class TestData:
    """Encrypted, kept as long as it should be, and no secret in sight."""

    def test_the_database_is_encrypted_backed_up_and_kept(self, assertions: Template) -> None:
        wanted = {"StorageEncrypted": True, "BackupRetentionPeriod": 14, "EngineVersion": "15"}
        assertions.has_resource_properties("AWS::RDS::DBInstance", wanted)
        assertions.has_resource("AWS::RDS::DBInstance", {"DeletionPolicy": "Snapshot"})
        assertions.has_resource_properties(
            "AWS::RDS::DBParameterGroup", {"Parameters": {"rds.force_ssl": "1"}}
        )

    def test_buckets_are_private_encrypted_and_cleaned_up(
        self, assertions: Template, example: Synthesis
    ) -> None:
        wanted = {
            "BucketEncryption": Match.any_value(),
            "LifecycleConfiguration": Match.any_value(),
            "PublicAccessBlockConfiguration": {
                "BlockPublicAcls": True,
                "BlockPublicPolicy": True,
                "IgnorePublicAcls": True,
                "RestrictPublicBuckets": True,
            },
        }
        assertions.all_resources_properties("AWS::S3::Bucket", wanted)
        for policy in example.resources("AWS::S3::BucketPolicy").values():
            refused = [s for s in policy["PolicyDocument"]["Statement"] if s["Effect"] == "Deny"]
            assert {"Bool": {"aws:SecureTransport": "false"}} in [s["Condition"] for s in refused]

    def test_alerts_are_encrypted(self, assertions: Template) -> None:
        assertions.has_resource_properties("AWS::SNS::Topic", {"KmsMasterKeyId": Match.any_value()})

    def test_every_log_ends_some_day(self, assertions: Template) -> None:
        assertions.all_resources_properties("AWS::Logs::LogGroup", {"RetentionInDays": Match.any_value()})

    def test_no_secret_is_in_plain_text(self, example: Synthesis) -> None:
        password = example.only("AWS::RDS::DBInstance")[1]["MasterUserPassword"]
        assert "{{resolve:secretsmanager:" in json.dumps(password)
        for container in containers(example).values():
            assert {entry["Name"] for entry in container["Secrets"]} == set(PASSWORD_SETTINGS)
            secretive = [
                name
                for name in environment(container)
                if re.search("PASSWORD|SECRET|TOKEN|API_KEY|CREDENTIALS", name) and not name.endswith("_PATH")
            ]
            assert secretive == []


class TestTasks:
    """What runs."""

    def test_there_is_one_daemon_and_never_two(self, example: Synthesis) -> None:
        _, daemon = example.only("AWS::ECS::Service", "ServicesDaemon")
        assert daemon["DesiredCount"] == 1
        assert daemon["DeploymentConfiguration"]["MaximumPercent"] == 100
        assert daemon["DeploymentConfiguration"]["MinimumHealthyPercent"] == 0

    def test_the_daemon_is_up_before_the_web_server_so_that_one_of_them_makes_the_tables(
        self, example: Synthesis
    ) -> None:
        (first, second) = example.start_order("AWS::ECS::Service")
        assert {name.removeprefix("Services")[:6] for name in first} == {"CodeSe", "Daemon"}
        assert {name.removeprefix("Services")[:6] for name in second} == {"Webser"}

    def test_a_version_that_does_not_come_up_is_taken_back(self, assertions: Template) -> None:
        breaker = {"DeploymentCircuitBreaker": {"Enable": True, "Rollback": True}}
        assertions.all_resources_properties("AWS::ECS::Service", {"DeploymentConfiguration": breaker})

    def test_the_root_file_system_is_read_only_and_one_folder_is_not(self, example: Synthesis) -> None:
        for container in containers(example).values():
            assert container["ReadonlyRootFilesystem"] is True
            (mount,) = container["MountPoints"]
            assert mount["ContainerPath"] == environment(container)["WORK_FOLDER"]

    def test_a_run_has_the_size_of_the_task_that_it_replaces(self, example: Synthesis) -> None:
        _, run = example.only("AWS::ECS::TaskDefinition", "TasksRun")
        assert (run["Cpu"], run["Memory"], run["EphemeralStorage"]) == ("2048", "4096", {"SizeInGiB": 50})
        assert run["ContainerDefinitions"][0]["Memory"] == 4096

    def test_each_service_is_told_all_that_the_instance_asks_for(self, example: Synthesis) -> None:
        asked = set(re.findall(r"env: (\w+)", (PROJECT / "dagster.yaml").read_text()))
        for name, container in containers(example).items():
            given = set(environment(container)) | set(PASSWORD_SETTINGS)
            # Only who launches or stops runs makes a launcher of the configuration.
            launches = name in ("daemon", "webserver")
            assert asked - given == (set() if launches else {"DAGSTER_RUN_TASK_DEFINITION"})

    def test_the_workspace_is_told_where_the_code_is(self, example: Synthesis) -> None:
        (asked,) = yaml.safe_load((PROJECT / "workspace.yaml").read_text())["load_from"]
        names = {asked["grpc_server"][field]["env"] for field in ("host", "port")}
        for name in ("daemon", "webserver"):
            assert names <= set(environment(containers(example)[name]))

    def test_every_setting_is_one_that_the_pipeline_knows(self, example: Synthesis) -> None:
        known = {name.upper() for name in Settings.model_fields}
        asked = set(re.findall(r"env: (\w+)", (PROJECT / "dagster.yaml").read_text()))
        others = {
            "PGSSLMODE",
            "DAGSTER_CURRENT_IMAGE",
            "DAGSTER_RUN_STATUS_SENSOR_PROCESS_LIMIT",
            "DAGSTER_HOME",
        }
        for name in ("run", "code-server"):
            given = set(environment(containers(example)[name]))
            unknown = {n for n in given - known - asked - others if not n.startswith("AWS_")}
            assert unknown == set()

    def test_spot_is_another_home_of_the_same_image(self, syntheses: dict[str, Synthesis]) -> None:
        homes = {
            name: environment(containers(made)["daemon"])["DAGSTER_HOME"] for name, made in syntheses.items()
        }
        assert homes == {"marble": "/opt/dagster/home", "new": "/opt/dagster/home-spot"}


class TestAlarms:
    """Somebody is told."""

    def test_the_alarms_that_matter_reach_the_topic(self, example: Synthesis) -> None:
        topic, _ = example.only("AWS::SNS::Topic")
        alarms = example.resources("AWS::CloudWatch::Alarm")
        assert {name.removeprefix("Alarms")[:-8] for name in alarms} == {
            "CodeServerStopped",
            "DaemonStopped",
            "NoDailyList",
            "StorageLow",
            "WebserverStopped",
        }
        for alarm in alarms.values():
            assert alarm["AlarmActions"] == [{"Ref": topic}]
            assert alarm["TreatMissingData"] == "breaching"

    def test_a_morning_without_a_list_is_noticed_at_seven(self, example: Synthesis) -> None:
        """After the list of 5:30, the hours from 6:00 to 7:00 the next day are empty: 25."""
        _, alarm = example.only("AWS::CloudWatch::Alarm", "AlarmsNoDailyList")
        assert (alarm["Period"], alarm["EvaluationPeriods"]) == (3600, 25)
        _, metric = example.only("AWS::Logs::MetricFilter")
        assert metric["MetricTransformations"][0]["MetricName"] == alarm["MetricName"]
        assert metric["MetricTransformations"][0]["MetricNamespace"] == alarm["Namespace"]
