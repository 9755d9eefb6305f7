from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from marble_images.assets.day_results import DAY_RESULTS
from marble_images.automation import results_of_days
from marble_images.definitions import defs, state
from marble_images.local.stack import LocalStack
from marble_images.models import FileReport, Outcome
from marble_images.pipeline.summary import RunSummary
from marble_images.resources import S3ClientResource, StateResource
from marble_images_tests.automation.test_pyramid_sensor import make_list

DAY, NEXT = "2026-11-02", "2026-11-03"
MADE, FAILED, CURRENT = Outcome.MADE, Outcome.FAILED, Outcome.CURRENT


@pytest.fixture
def instance(stack: LocalStack) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


class Morning:
    """A day's lists and runs, as far as the sensor sees them."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.store = state.store()
        self.cursor: str | None = None

    def run(
        self,
        day: str,
        outcomes: dict[str, Outcome] | None = None,
        status: DagsterRunStatus = DagsterRunStatus.SUCCESS,
        **fields: Any,
    ) -> dg.DagsterRun:
        tags = {"marble/day": day, **fields.pop("tags", {})}
        run = create_run_for_test(self.instance, job_name="pyramid_tiffs_job", tags=tags, **fields)
        if outcomes is not None:
            self.report(run, day, outcomes)
        self.end(run, status)
        return run

    def report(self, run: dg.DagsterRun, day: str, outcomes: dict[str, Outcome]) -> None:
        reports = [
            FileReport(path, outcome, code="publish", reason="no")
            if outcome is FAILED
            else FileReport(path, outcome)
            for path, outcome in outcomes.items()
        ]
        self.store.write_run_report(run.run_id, RunSummary(len(reports), reports).as_json(), day=day)

    def end(self, run: dg.DagsterRun, status: DagsterRunStatus) -> None:
        if status is DagsterRunStatus.SUCCESS:
            self.instance.report_dagster_event(
                dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, "pyramid_tiffs_job"), run.run_id
            )
        elif status is DagsterRunStatus.FAILURE:
            self.instance.report_run_failed(run)

    def tick(self) -> dict[str, dict[str, Any]]:
        """What one tick wrote, by day; Dagster takes the events of a tick like this."""
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            resources={"state": StateResource(s3=S3ClientResource())},
            definitions=defs,
        ) as context:
            result = results_of_days(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        written = {}
        for event in result.asset_events:
            self.instance.report_runless_asset_event(event)
            if isinstance(event, dg.AssetMaterialization):
                values = {name: value.value for name, value in event.metadata.items()}
                written[str(event.partition)] = values
        return written


@pytest.fixture
def morning(instance: dg.DagsterInstance) -> Morning:
    return Morning(instance)


def test_a_day_is_written_when_its_last_run_has_ended_and_not_before(morning: Morning) -> None:
    make_list(morning.instance, morning.store, ["a.tif", "b.tif", "c.tif"], DAY)
    assert morning.tick() == {}
    morning.run(DAY, {"a.tif": MADE, "b.tif": FAILED}, DagsterRunStatus.FAILURE)
    assert morning.tick() == {}
    last = morning.run(DAY, {"c.tif": CURRENT}, DagsterRunStatus.STARTED)
    assert morning.tick() == {}
    morning.end(last, DagsterRunStatus.SUCCESS)
    result = morning.tick()[DAY]
    assert {name: result[name] for name in ("listed", "made", "current", "failed", "runs")} == {
        "listed": 3,
        "made": 1,
        "current": 1,
        "failed": 1,
        "runs": 2,
    }
    (row,) = [record.data for record in result["by reason"].records]
    assert (row["reason"], row["files"]) == ("publish", "1")
    assert row["meaning"]
    assert morning.tick() == {}


def test_an_empty_list_is_a_day_without_files(morning: Morning) -> None:
    make_list(morning.instance, morning.store, [], DAY)
    assert morning.tick()[DAY]["listed"] == 0


def test_a_run_that_is_repeated_replaces_what_it_repeats(morning: Morning) -> None:
    make_list(morning.instance, morning.store, ["a.tif", "b.tif"], DAY)
    failed = morning.run(DAY, {"a.tif": MADE, "b.tif": FAILED}, DagsterRunStatus.FAILURE)
    assert morning.tick()[DAY]["failed"] == 1
    morning.run(
        DAY, {"a.tif": CURRENT, "b.tif": MADE}, parent_run_id=failed.run_id, root_run_id=failed.run_id
    )
    result = morning.tick()[DAY]
    assert (result["failed"], result["made"], result["current"]) == (0, 1, 1)


def test_a_file_that_was_asked_for_under_another_day_counts_for_each_day_that_lists_it(
    morning: Morning,
) -> None:
    make_list(morning.instance, morning.store, ["a.tif", "b.tif"], DAY)
    make_list(morning.instance, morning.store, ["b.tif", "c.tif"], NEXT)
    morning.run(DAY, {"a.tif": MADE, "b.tif": MADE})
    morning.run(NEXT, {"c.tif": FAILED}, DagsterRunStatus.FAILURE)
    written = morning.tick()
    assert (written[DAY]["listed"], written[DAY]["made"]) == (2, 2)
    assert (written[NEXT]["listed"], written[NEXT]["made"], written[NEXT]["failed"]) == (2, 1, 1)


def test_what_another_day_says_of_a_file_later_does_not_change_a_day(morning: Morning) -> None:
    make_list(morning.instance, morning.store, ["a.tif", "b.tif"], DAY)
    morning.run(DAY, {"a.tif": FAILED}, DagsterRunStatus.FAILURE)
    make_list(morning.instance, morning.store, ["a.tif"], NEXT)
    morning.run(NEXT, {"a.tif": MADE})
    morning.run(DAY, {"b.tif": MADE})
    written = morning.tick()
    assert (written[DAY]["failed"], written[DAY]["made"]) == (1, 1)
    assert written[NEXT]["made"] == 1


def test_runs_from_before_the_list_was_made_do_not_count(morning: Morning) -> None:
    morning.run(DAY, {"a.tif": FAILED}, DagsterRunStatus.FAILURE)
    make_list(morning.instance, morning.store, ["a.tif"], DAY)
    assert morning.tick() == {}
    morning.run(DAY, {"a.tif": MADE})
    assert morning.tick()[DAY]["failed"] == 0


def test_a_run_that_was_killed_counts_with_what_its_events_say(morning: Morning) -> None:
    make_list(morning.instance, morning.store, ["a.tif", "b.tif"], DAY)
    run = morning.run(DAY, None, DagsterRunStatus.STARTED)
    for path in ("a.tif", "b.tif"):
        morning.instance.report_dagster_event(
            dg.DagsterEvent.build_asset_materialization_planned_event(
                "pyramid_tiffs_job",
                "make_pyramids",
                dg._core.events.AssetMaterializationPlannedData(dg.AssetKey("pyramid_tiffs"), partition=path),
            ),
            run.run_id,
        )
    morning.instance.report_dagster_event(
        dg.DagsterEvent(
            dg.DagsterEventType.ASSET_MATERIALIZATION.value,
            "pyramid_tiffs_job",
            event_specific_data=dg._core.events.StepMaterializationData(
                dg.AssetMaterialization("pyramid_tiffs", partition="a.tif")
            ),
        ),
        run.run_id,
    )
    morning.end(run, DagsterRunStatus.FAILURE)
    result = morning.tick()[DAY]
    assert (result["made"], result["failed"]) == (1, 1)


def test_a_run_that_will_be_retried_holds_the_day_open(morning: Morning) -> None:
    make_list(morning.instance, morning.store, ["a.tif"], DAY)
    run = morning.run(DAY, {"a.tif": FAILED}, DagsterRunStatus.FAILURE, tags={"dagster/will_retry": "true"})
    assert morning.tick() == {}
    morning.instance.add_run_tags(run.run_id, {"dagster/auto_retry_run_id": "next"})
    morning.run(DAY, {"a.tif": MADE}, parent_run_id=run.run_id, root_run_id=run.run_id)
    assert morning.tick()[DAY]["made"] == 1


def test_a_repeated_tick_writes_nothing_twice(morning: Morning) -> None:
    make_list(morning.instance, morning.store, ["a.tif"], DAY)
    morning.run(DAY, {"a.tif": MADE})
    before = morning.cursor
    assert morning.tick()
    morning.cursor = before
    assert morning.tick() == {}


def test_a_file_whose_partition_was_retired_holds_nothing_up(morning: Morning) -> None:
    make_list(morning.instance, morning.store, ["a.tif", "b.tif"], DAY)
    morning.instance.delete_dynamic_partition("image_files", "b.tif")
    morning.run(DAY, {"a.tif": MADE})
    result = morning.tick()[DAY]
    assert (result["made"], result["left"]) == (1, 1)


def test_the_newest_day_with_failures_is_red_and_one_without_green(morning: Morning) -> None:
    check = dg.AssetCheckKey(DAY_RESULTS, "every_file_was_made")
    statuses = []
    for day, outcome in ((NEXT, FAILED), (DAY, MADE), (NEXT, MADE)):
        make_list(morning.instance, morning.store, ["a.tif"], day)
        morning.run(day, {"a.tif": outcome})
        assert morning.tick()
        (record,) = morning.instance.event_log_storage.get_asset_check_execution_history(check, limit=1)
        statuses.append(record.status.value)
    assert statuses == ["FAILED", "FAILED", "SUCCEEDED"], "an older day says nothing of the newest"
