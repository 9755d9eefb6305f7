"""What wakes a person when Dagster itself cannot."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_logs as logs
from constructs import Construct

from marble_stack.messages import Alerts
from marble_stack.services import Services
from marble_stack.storage import Database

GIB = 2**30

# The line that a run of the daily job logs as its last, whatever else is in it.
DAY_LISTED = ('"changed_files_job"', '"RUN_SUCCESS"')


class Alarms(Construct):
    """The daemon does not run, the disk of the database fills up, a morning has no list."""

    def __init__(self, scope: Construct, services: Services, database: Database, alerts: Alerts) -> None:
        super().__init__(scope, "Alarms")
        self._action = actions.SnsAction(alerts.topic)
        for name, service in (
            ("Daemon", services.daemon),
            ("CodeServer", services.code_server),
            ("Webserver", services.webserver),
        ):
            self._service_stopped(name, service)
        self._storage_low(database)
        self._no_list(services)

    def _alarm(
        self, name: str, metric: cloudwatch.IMetric, description: str, *, below: float, periods: int
    ) -> None:
        alarm = cloudwatch.Alarm(
            self,
            name,
            metric=metric,
            alarm_description=description,
            comparison_operator=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            threshold=below,
            evaluation_periods=periods,
            # What reports nothing is not well.
            treat_missing_data=cloudwatch.TreatMissingData.BREACHING,
        )
        alarm.add_alarm_action(self._action)
        alarm.add_ok_action(self._action)

    def _service_stopped(self, name: str, service: ecs.FargateService) -> None:
        metric = cloudwatch.Metric(
            namespace="ECS/ContainerInsights",
            metric_name="RunningTaskCount",
            dimensions_map={
                "ClusterName": service.cluster.cluster_name,
                "ServiceName": service.service_name,
            },
            statistic=cloudwatch.Stats.MINIMUM,
            period=cdk.Duration.minutes(5),
        )
        self._alarm(
            f"{name}Stopped", metric, f"{service.node.id} has not run for 15 minutes", below=1, periods=3
        )

    def _storage_low(self, database: Database) -> None:
        metric = database.instance.metric_free_storage_space(
            statistic=cloudwatch.Stats.MINIMUM, period=cdk.Duration.minutes(15)
        )
        self._alarm("StorageLow", metric, "The database has less than 3 GiB left", below=3 * GIB, periods=2)

    def _no_list(self, services: Services) -> None:
        listed = logs.MetricFilter(
            self,
            "DayListed",
            log_group=services.run_logs,
            filter_pattern=logs.FilterPattern.literal(" ".join(DAY_LISTED)),
            metric_namespace=f"MarbleImages/{cdk.Stack.of(self).stack_name}",
            metric_name="DayListed",
            metric_value="1",
        )
        # Of 5:30 the hour from 5:00 has the list; 25 empty hours after it end at 7:00 the next morning. A
        # day of 25 hours (clocks set back) has 24 of them: no false alarm.
        hours = cdk.Duration.hours(1)
        metric = listed.metric(statistic=cloudwatch.Stats.SUM, period=hours)
        self._alarm(
            "NoDailyList", metric, "The daily list of changed files was not made", below=1, periods=25
        )
