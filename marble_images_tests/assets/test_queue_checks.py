from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import dagster as dg
import pytest

from marble_images.assets.queue_checks import waiting_long
from marble_images.days import day_of
from marble_images.definitions import state
from marble_images.errors import NotAnImage
from marble_images.local.stack import LocalStack
from marble_images.models import ChangedFile
from marble_images_tests.assets.pipeline_run import list_days
from marble_images_tests.assets.test_changed_files import record, today


@pytest.fixture
def instance(stack: LocalStack) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def ago(days: float) -> str:
    return (datetime.now(timezone.utc) - timedelta(days=days)).replace(tzinfo=None).isoformat()


def day_before(days: int) -> str:
    return day_of(datetime.now(timezone.utc) - timedelta(days=days))


def checks(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    return {(str(found.partition), found.check_name): found for found in result.get_asset_check_evaluations()}


def rows(found: dg.AssetCheckEvaluation, name: str) -> list[dict[str, Any]]:
    value = found.metadata[name]
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(row.data) for row in value.records]


def test_a_queue_that_grows_is_told_with_the_files_that_wait_longest(
    stack: LocalStack, instance: dg.DagsterInstance
) -> None:
    stack.appsync.put_records([record("new.tif", ago(0)), record("old.tif", ago(5))])
    state.store().write_day(day_before(1), [])
    found = checks(list_days(instance, today()))[today(), "queue_is_not_growing"]
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.WARN
    assert found.description == "1 files wait for over three days; on the list before there were 0."
    (row,) = rows(found, "longest first")
    assert row["file"] == "old.tif"


def test_a_queue_that_does_not_grow_passes_and_so_does_the_first_list(
    stack: LocalStack, instance: dg.DagsterInstance
) -> None:
    stack.appsync.put_records([record("old.tif", ago(9))])
    first = checks(list_days(instance, day_before(1)))
    assert first[day_before(1), "queue_is_not_growing"].passed
    assert checks(list_days(instance, today()))[today(), "queue_is_not_growing"].passed


def test_what_is_set_aside_is_named_with_its_reason(stack: LocalStack, instance: dg.DagsterInstance) -> None:
    stack.appsync.put_records([record("bad.tif", ago(1))])
    list_days(instance, today())
    (file,) = state.store().read_day(today()) or []
    store = state.store()
    assert checks(list_days(instance, today()))[today(), "quarantine_is_known"].passed
    for _ in range(3):
        store.record_failure(file, NotAnImage("it is a web page"))
    result = list_days(instance, today())
    found = checks(result)[today(), "quarantine_is_known"]
    assert not found.passed
    (row,) = rows(found, "set aside")
    assert (row["file"], row["reason"], row["failures"]) == ("bad.tif", "it is a web page", "3")
    (event,) = result.asset_materializations_for_node("changed_files")
    assert event.metadata["quarantined"].value == 1
    table = event.metadata["first files"]
    assert isinstance(table, dg.TableMetadataValue)
    assert table.records[0].data["last failure"] == "it is a web page (set aside)"


def test_each_day_of_a_backfill_has_its_checks(stack: LocalStack, instance: dg.DagsterInstance) -> None:
    stack.appsync.put_records([record("a.tif", ago(2))])
    days = [day_before(2), day_before(1)]
    found = checks(list_days(instance, *days))
    assert {day for day, _ in found} == set(days)
    assert len(found) == 4


def test_a_file_without_a_readable_date_waits_longest() -> None:
    moment = datetime(2026, 11, 23, tzinfo=timezone.utc)
    files = [
        ChangedFile("three-days.tif", date_added_to_dynamo="2026-11-20T00:00:00"),
        ChangedFile("older.tif", date_added_to_dynamo="2026-11-19T23:59:59"),
        ChangedFile("undated.tif"),
        ChangedFile("done.tif", date_added_to_dynamo="2026-01-01", date_last_processed="2026-01-02"),
    ]
    assert [file.file_path for file in waiting_long(files, moment)] == ["undated.tif", "older.tif"]
