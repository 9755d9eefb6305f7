from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import dagster as dg
import pytest

from marble_images.days import ZONE, day_of
from marble_images.definitions import state
from marble_images.local.stack import LocalStack
from marble_images.partitions import IMAGE_FILES, file_path_of
from marble_images_tests.assets.pipeline_run import failure_of, list_days, materialized


@pytest.fixture
def instance(stack: LocalStack) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def record(path: str, added: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": path,
        "filePath": path,
        "sourceType": "S3",
        "sourceBucketName": "sources",
        "sourceFilePath": path,
        "dateAddedToDynamo": added,
        "size": "12",
    } | fields


def today() -> str:
    return day_of(datetime.now(timezone.utc))


def now() -> str:
    return datetime.now(timezone.utc).replace(tzinfo=None).isoformat()


def listed(day: str) -> list[str]:
    files = state.store().read_day(day)
    assert files is not None
    return [file.file_path for file in files]


def test_todays_list_holds_what_waits_and_asks_for_nothing_else(
    stack: LocalStack, instance: dg.DagsterInstance
) -> None:
    stack.appsync.put_records(
        [
            record("b.tif", now()),
            record("a.tif", "2021-04-06T06:09:29.753584"),
            record("done.tif", now(), dateLastProcessed="2026-01-01T00:00:00Z"),
        ]
    )
    assert list_days(instance, today()).success
    assert listed(today()) == ["a.tif", "b.tif"]
    assert instance.get_dynamic_partitions(IMAGE_FILES) == ["a.tif", "b.tif"]
    assert materialized(instance, "changed_files") == {today()}


def test_every_page_of_the_listing_is_followed_short_and_empty_ones_too(
    stack: LocalStack, instance: dg.DagsterInstance
) -> None:
    stack.appsync.set_paging(most=7, empty_every=3, null_every=5)
    stack.appsync.put_records([record(f"{n:03}.tif", now()) for n in range(50)])
    try:
        assert list_days(instance, today()).success
    finally:
        stack.appsync.set_paging()
    assert listed(today()) == [f"{n:03}.tif" for n in range(50)]


def test_ids_that_are_no_file_names_are_listed_and_get_partitions_that_dagster_takes(
    stack: LocalStack, instance: dg.DagsterInstance
) -> None:
    strange = ["digital/civil_war/", "two\nlines.tif", "a b, c [1]...tif", "é" * 200]
    stack.appsync.put_records([record(path, now()) for path in strange])
    assert list_days(instance, today()).success
    assert sorted(listed(today())) == sorted(strange)
    keys = instance.get_dynamic_partitions(IMAGE_FILES)
    assert sorted(file_path_of(key) for key in keys) == sorted(strange)


def test_a_backfill_over_past_days_is_one_run_with_one_listing_split_by_day(
    stack: LocalStack, instance: dg.DagsterInstance
) -> None:
    processed = {"dateLastProcessed": "2026-06-01T00:00:00Z"}
    stack.appsync.put_records(
        [
            record("one.tif", "2026-03-07T12:00:00", **processed),
            # 03:30 UTC is still the evening before in New York.
            record("two.tif", "2026-03-09T03:30:00", **processed),
            record("three.tif", "2026-03-09T12:00:00", **processed),
            record("after.tif", "2026-03-10T12:00:00", **processed),
            record("waits.tif", "2026-03-08T12:00:00"),
        ]
    )
    result = list_days(instance, "2026-03-07", "2026-03-09")
    assert result.success
    assert listed("2026-03-07") == ["one.tif"]
    assert listed("2026-03-08") == ["two.tif", "waits.tif"]
    assert listed("2026-03-09") == ["three.tif", "waits.tif"]
    assert materialized(instance, "changed_files") == {"2026-03-07", "2026-03-08", "2026-03-09"}
    pages = {
        made.partition: made.metadata["AppSync pages"].value
        for event in result.get_asset_materialization_events()
        for made in [event.step_materialization_data.materialization]
    }
    assert pages == {"2026-03-07": 1, "2026-03-08": 1, "2026-03-09": 1}


def test_each_days_materialization_tells_of_that_day(stack: LocalStack, instance: dg.DagsterInstance) -> None:
    yesterday = (datetime.now(ZONE) - timedelta(days=1)).astimezone(timezone.utc)
    stack.appsync.put_records(
        [
            record("new.tif", now(), sourceType="Uri"),
            record("old.tif", yesterday.replace(tzinfo=None).isoformat()),
        ]
    )
    result = list_days(instance, today())
    (event,) = result.asset_materializations_for_node("changed_files")
    metadata = {name: value.value for name, value in event.metadata.items()}
    assert metadata["files"] == 2
    assert metadata["waiting from before"] == 1
    assert metadata["files by source"] == {"Uri": 1, "S3": 1}
    assert metadata["list"] == f"s3://state/marble-images/days/{today()}.json"


def test_a_listing_that_fails_is_one_clear_line_and_no_list(
    stack: LocalStack, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHQL_API_URL", stack.appsync.url)
    monkeypatch.setenv("GRAPHQL_API_KEY", "not the key")
    stack.appsync.put_records([record("a.tif", now())])
    result = list_days(instance, today())
    assert not result.success
    assert "API key" in failure_of(result)
    assert "\n" not in failure_of(result)
    assert state.store().read_day(today()) is None


def test_a_missing_setting_is_named_by_the_run(
    stack: LocalStack, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STATE_BUCKET")
    result = list_days(instance, today())
    assert "STATE_BUCKET is not set" in failure_of(result)


def test_files_that_would_be_published_under_one_name_are_named(
    stack: LocalStack, instance: dg.DagsterInstance
) -> None:
    stack.appsync.put_records([record(path, now()) for path in ("a.tif", "a.jpg", "b.tif")])
    run = list_days(instance, today())
    said = [event.user_message for event in instance.all_logs(run.run_id) if event.level == logging.WARNING]
    (warning,) = [text for text in said if "a.tif" in text]
    assert "a.jpg" in warning
    assert "b.tif" not in warning
