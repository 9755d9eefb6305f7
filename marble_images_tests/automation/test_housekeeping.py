from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from marble_images.automation.housekeeping_job import keys_in_flight
from marble_images.days import day_of
from marble_images.definitions import defs, state
from marble_images.housekeeping import objects_of
from marble_images.local import layout
from marble_images.local.stack import LocalStack
from marble_images.models import ChangedFile
from marble_images.partitions import IMAGE_FILES, partition_key
from marble_images_tests.assets.pipeline_run import failure_of
from marble_images_tests.assets.test_changed_files import record


@pytest.fixture
def instance(stack: LocalStack) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def know(instance: dg.DagsterInstance, *paths: str) -> None:
    instance.add_dynamic_partitions(IMAGE_FILES, [partition_key(path) for path in paths])


def known(instance: dg.DagsterInstance) -> list[str]:
    return list(instance.get_dynamic_partitions(IMAGE_FILES))


def keep_house(instance: dg.DagsterInstance, **config: Any) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def("housekeeping_job").execute_in_process(
        instance=instance,
        run_config={"ops": {"keep_house": {"config": config}}},
        raise_on_error=False,
    )


def said(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = [event for event in result.all_events if event.is_successful_output]
    return {name: value.value for name, value in event.step_output_data.metadata.items()}


def put(stack: LocalStack, *keys: str) -> None:
    for key in keys:
        stack.s3.put_object(Bucket=layout.IMAGE_BUCKET, Key=key, Body=b"pyramid")


def objects(stack: LocalStack) -> set[str]:
    return {item["Key"] for item in stack.s3.list_objects_v2(Bucket=layout.IMAGE_BUCKET).get("Contents", [])}


DATE = "2026-01-01T00:00:00"


def test_partitions_of_files_that_appsync_forgot_are_retired_and_named(
    stack: LocalStack, instance: dg.DagsterInstance
) -> None:
    stack.appsync.put_records(
        [record("here.tif", DATE), record("Two Words.tif", DATE, dateLastProcessed="2026-01-02T00:00:00Z")]
    )
    # The last is the same record as far as AppSync is concerned.
    know(instance, "gone, [1].tif", "here.tif", "two words.TIF")
    put(stack, "gone, [1].tif")
    result = keep_house(instance)
    assert result.success
    assert known(instance) == ["here.tif", partition_key("two words.TIF")]
    assert said(result)["retired files"] == ["gone, [1].tif"]
    assert objects(stack) == {"gone, [1].tif"}, "pyramids stay"


def test_a_dry_run_only_says_it(stack: LocalStack, instance: dg.DagsterInstance) -> None:
    stack.appsync.put_records([record("here.tif", DATE)])
    know(instance, "gone.tif", "here.tif")
    result = keep_house(instance, dry_run=True)
    assert said(result)["retired files"] == ["gone.tif"]
    assert known(instance) == ["gone.tif", "here.tif"]


def test_what_a_queued_run_needs_is_kept(stack: LocalStack, instance: dg.DagsterInstance) -> None:
    stack.appsync.put_records([record("z.tif", DATE)])
    know(instance, *"abcdefz")
    tags = {"dagster/asset_partition_range_start": "b", "dagster/asset_partition_range_end": "d"}
    create_run_for_test(instance, tags=tags, status=DagsterRunStatus.NOT_STARTED)
    create_run_for_test(instance, tags={"dagster/partition": "f"}, status=DagsterRunStatus.STARTED)
    create_run_for_test(instance, tags={"dagster/partition": "a"}, status=DagsterRunStatus.SUCCESS)
    assert keys_in_flight(instance, known(instance)) == {"b", "c", "d", "f"}
    assert keep_house(instance).success
    assert known(instance) == ["b", "c", "d", "f"]


@pytest.mark.parametrize("listed", [0, 10])
def test_a_listing_that_lacks_too_many_files_is_not_believed(
    stack: LocalStack, instance: dg.DagsterInstance, listed: int
) -> None:
    stack.appsync.put_records([record(f"{n:03}.tif", DATE) for n in range(listed)])
    paths = [f"{n:03}.tif" for n in range(50)]
    know(instance, *paths)
    result = keep_house(instance)
    assert not result.success
    assert f"AppSync lists {listed} files" in failure_of(result)
    assert "nothing was retired" in failure_of(result)
    assert known(instance) == paths


def test_a_listing_that_fails_retires_nothing(
    stack: LocalStack, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHQL_API_URL", stack.appsync.url)
    monkeypatch.setenv("GRAPHQL_API_KEY", "not the key")
    know(instance, "a.tif")
    result = keep_house(instance)
    assert "API key" in failure_of(result)
    assert known(instance) == ["a.tif"]


def test_pyramids_go_only_when_a_setting_says_so_and_no_other_file_has_them(
    stack: LocalStack, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REMOVE_RETIRED_PYRAMIDS", "true")
    stack.appsync.put_records([record("shared.jpg", DATE)])
    know(instance, "gone.pdf", "shared.jpg", "shared.png")
    put(stack, "gone.tif", "gone.pdf", "shared.tif", "stranger.tif")
    result = keep_house(instance)
    assert result.success
    assert objects(stack) == {"shared.tif", "stranger.tif"}
    assert sorted(said(result)["objects deleted"]) == ["s3://images/gone.pdf", "s3://images/gone.tif"]


def test_an_id_that_names_no_object_takes_none_with_it() -> None:
    assert objects_of(["folder/", "two\nlines.tif", "../up.tif"], []) == []
    assert objects_of(["a.tif", "b.jpg"], ["a.png"]) == ["b.tif"]


def test_old_lists_and_reports_are_pruned_by_the_setting(
    stack: LocalStack, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAY_LISTS_KEPT", "30")
    store = state.store()
    now = datetime.now(timezone.utc)
    old, young = day_of(now - timedelta(days=40)), day_of(now - timedelta(days=10))
    for day in (old, young):
        store.write_day(day, [ChangedFile("a.tif")])
        store.write_run_report("run-1", {"files": []}, day=day)
        store.set_alerted(day, "subject")
    result = keep_house(instance)
    assert store.list_days() == [old, young], "a list of an old day that was made today is young"
    pointer = f"marble-images/days/{old}.json"
    body = stack.s3.get_object(Bucket=layout.STATE_BUCKET, Key=pointer)["Body"].read()
    long_ago = (now - timedelta(days=35)).isoformat(timespec="seconds").encode()
    written = store.describe_day(old)
    assert written is not None
    body = body.replace(written.written.encode(), long_ago)
    stack.s3.put_object(Bucket=layout.STATE_BUCKET, Key=pointer, Body=body)
    result = keep_house(instance)
    assert result.success
    assert store.list_days() == [young]
    assert store.list_report_days() == [young]
    assert store.list_alerted() == [young]
    assert said(result)["day lists deleted"] == [old]


@pytest.mark.parametrize(("other", "goes_on"), [(str(UUID(int=0)), False), (str(UUID(int=2**128 - 1)), True)])
def test_of_two_at_once_one_goes_on(
    stack: LocalStack, instance: dg.DagsterInstance, other: str, goes_on: bool
) -> None:
    stack.appsync.put_records([record("a.tif", DATE)])
    know(instance, "a.tif", "gone.tif")
    create_run_for_test(instance, job_name="housekeeping_job", run_id=other, status=DagsterRunStatus.STARTED)
    result = keep_house(instance)
    assert result.success
    assert ("gone.tif" not in known(instance)) == goes_on
    assert (other in said(result)["summary"]) == (not goes_on)
