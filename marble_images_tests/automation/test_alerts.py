from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from marble_images.automation import alert_sensor, alerts
from marble_images.automation.alert_sensor import look
from marble_images.days import ZONE, day_of
from marble_images.definitions import state
from marble_images.local.stack import LocalStack
from marble_images.models import FileReport, Outcome
from marble_images.pipeline.summary import RunSummary
from marble_images.resources import AlertTopicResource
from marble_images_tests.automation.test_pyramid_sensor import make_list


@pytest.fixture
def instance(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("ALERT_TOPIC_ARN", stack.alert_topic_arn)
    monkeypatch.setenv("DAGSTER_BASE_URL", "https://dagster.example.org")
    with dg.DagsterInstance.ephemeral() as made:
        yield made


TODAY = datetime.now(ZONE).replace(hour=6, minute=31, second=0)
DAY = day_of(TODAY)


class Watch:
    """The sensor at given times of day."""

    def __init__(self, stack: LocalStack, instance: dg.DagsterInstance) -> None:
        self.stack, self.instance = stack, instance
        self.cursor: str | None = None

    def look(self, at: datetime) -> str:
        """One tick; why nothing was sent, or what was."""
        with dg.build_sensor_context(instance=self.instance, cursor=self.cursor) as context:
            result = look(context, state, AlertTopicResource(), at)
        if isinstance(result, dg.SensorResult):
            self.cursor = result.cursor
            return str(result.skip_reason.skip_message if result.skip_reason else "")
        return str(result.skip_message)

    @property
    def sent(self) -> list[dict[str, Any]]:
        return self.stack.published_alerts()

    def fail(self, files: dict[str, str] | None = None, **tags: str) -> dg.DagsterRun:
        run = create_run_for_test(self.instance, job_name="pyramid_tiffs_job", tags=tags)
        if files is not None:
            reports = [FileReport(p, Outcome.FAILED, code="publish", reason=why) for p, why in files.items()]
            day = tags.get("marble/day", DAY)
            state.store().write_run_report(run.run_id, RunSummary(len(files), reports).as_json(), day=day)
        self.instance.report_run_failed(run, message="it was killed")
        return run

    def list_today(self) -> None:
        make_list(self.instance, state.store(), [], DAY)


@pytest.fixture
def watch(stack: LocalStack, instance: dg.DagsterInstance) -> Watch:
    return Watch(stack, instance)


def test_a_list_that_was_not_made_in_time_is_told_once(watch: Watch) -> None:
    assert "before the deadline" in watch.look(TODAY - timedelta(minutes=2))
    assert watch.sent == []
    watch.look(TODAY)
    (message,) = watch.sent
    assert message["subject"] == f"marble_images {DAY}: no list"
    assert f"The list of changed files of {DAY} was not made by 6:30" in message["message"]
    assert f"https://dagster.example.org/assets/changed_files?partition={DAY}" in message["message"]
    watch.look(TODAY + timedelta(hours=3))
    assert len(watch.sent) == 1


def test_all_is_well_without_a_word(watch: Watch) -> None:
    watch.list_today()
    assert watch.look(TODAY) == "all is well"
    assert watch.sent == []


def test_failed_files_and_runs_are_one_message_with_links_that_names_at_most_ten(watch: Watch) -> None:
    watch.list_today()
    tags = {"marble/day": DAY}
    watch.fail({f"{n:02}.tif": "the JPEG file is truncated" for n in range(15)}, **tags)
    watch.fail({"other.tif": "the source is forbidden"}, **tags)
    killed = watch.fail()
    watch.look(TODAY)
    (message,) = watch.sent
    assert message["subject"] == f"marble_images {DAY}: 16 files failed, 1 runs failed"
    text = message["message"]
    assert "16 files failed in 2 runs:" in text
    assert text.count("truncated") + text.count("forbidden") == 10
    assert "and 6 more" in text
    assert f"https://dagster.example.org/runs/{killed.run_id}" in text
    assert f"https://dagster.example.org/assets/day_results?partition={DAY}" in text


def test_it_waits_for_the_days_runs_but_not_for_ever(watch: Watch) -> None:
    watch.list_today()
    watch.fail({"a.tif": "no"}, **{"marble/day": DAY})
    create_run_for_test(watch.instance, tags={"marble/day": DAY}, status=DagsterRunStatus.STARTED)
    assert watch.look(TODAY) == "today's runs have not all ended"
    assert watch.sent == []
    watch.look(TODAY + alert_sensor.PATIENCE)
    assert len(watch.sent) == 1


def test_what_was_told_is_not_told_again_on_the_next_day(watch: Watch) -> None:
    watch.fail({"a.tif": "no"})
    watch.look(TODAY)
    make_list(watch.instance, state.store(), [], day_of(TODAY + timedelta(days=1)))
    assert watch.look(TODAY + timedelta(days=1)) == "all is well"
    assert len(watch.sent) == 1


def test_a_daemon_that_died_after_sending_sends_nothing_twice(watch: Watch) -> None:
    watch.look(TODAY)
    watch.cursor = None
    assert watch.look(TODAY) == "today's message was sent"
    assert len(watch.sent) == 1


def test_a_message_that_sns_refuses_fails_the_tick_and_is_sent_by_the_next(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = watch.stack.alert_topic_arn
    monkeypatch.setenv("ALERT_TOPIC_ARN", f"{right}-missing")
    with pytest.raises(Exception, match="SNS refused the alert: NotFound"):
        watch.look(TODAY)
    monkeypatch.setenv("ALERT_TOPIC_ARN", right)
    watch.look(TODAY)
    assert len(watch.sent) == 1


@pytest.mark.parametrize("arn", ["not an arn", "arn:aws:sqs:us-east-1:1:queue"])
def test_an_address_that_is_no_topic_is_named(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, arn: str
) -> None:
    monkeypatch.setenv("ALERT_TOPIC_ARN", arn)
    with pytest.raises(Exception, match="ALERT_TOPIC_ARN cannot be used"):
        watch.look(TODAY)


def test_it_is_off_without_a_topic(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALERT_TOPIC_ARN")
    assert watch.look(TODAY) == "ALERT_TOPIC_ARN is not set, so no alert is sent"


def test_a_run_that_dagster_retried_by_itself_is_not_told_of(watch: Watch) -> None:
    watch.list_today()
    run = watch.fail()
    watch.instance.add_run_tags(run.run_id, {"dagster/auto_retry_run_id": "next"})
    assert watch.look(TODAY) == "all is well"


def test_it_looks_at_the_clock_itself(stack: LocalStack, instance: dg.DagsterInstance) -> None:
    with dg.build_sensor_context(
        instance=instance, resources={"state": state, "alert_topic": AlertTopicResource()}
    ) as context:
        alerts(context)
    before = datetime.now(timezone.utc) < TODAY.replace(minute=30)
    assert len(stack.published_alerts()) == (0 if before else 1)
