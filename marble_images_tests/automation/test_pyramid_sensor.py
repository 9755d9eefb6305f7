from __future__ import annotations

import json
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, StepMaterializationData
from dagster._core.test_utils import create_run_for_test

from marble_images.assets import changed_files
from marble_images.automation import pyramid_sensor, pyramids_of_changed_files
from marble_images.automation.pyramid_sensor import Cursor
from marble_images.definitions import defs
from marble_images.local.stack import LocalStack
from marble_images.models import ChangedFile
from marble_images.partitions import IMAGE_FILES, file_path_of, partition_key
from marble_images.resources import S3ClientResource, StateResource
from marble_images.state import StateStore

DAY = "2026-11-02"
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@pytest.fixture
def state(stack: LocalStack) -> StateResource:
    return StateResource(s3=S3ClientResource())


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def make_list(
    instance: dg.DagsterInstance,
    store: StateStore,
    paths: list[str],
    day: str = DAY,
    *,
    remake: bool = False,
) -> None:
    """Do to the instance and the state what making a day's list does."""
    instance.add_dynamic_partitions(IMAGE_FILES, [partition_key(path) for path in sorted(paths)])
    store.write_day(day, [ChangedFile(path) for path in sorted(paths)])
    instance.report_runless_asset_event(
        dg.AssetMaterialization(changed_files.key, partition=day, metadata={"remake": remake})
    )


def list_of_a_run(
    instance: dg.DagsterInstance, state: StateResource, paths: list[str], tags: dict[str, str]
) -> None:
    """As :func:`make_list`, made by a run with tags."""
    run = create_run_for_test(instance, job_name="changed_files_job", tags=tags)
    state.store().write_day(DAY, [ChangedFile(path) for path in paths])
    instance.add_dynamic_partitions(IMAGE_FILES, paths)
    materialization = dg.AssetMaterialization(changed_files.key, partition=DAY)
    event = DagsterEvent(
        event_type_value="ASSET_MATERIALIZATION",
        job_name="changed_files_job",
        event_specific_data=StepMaterializationData(materialization),
    )
    instance.report_dagster_event(event, run_id=run.run_id)


def tick(
    instance: dg.DagsterInstance, state: StateResource, cursor: str | None = None
) -> dg.SensorResult | dg.SkipReason:
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, resources={"state": state}, definitions=defs
    ) as context:
        result = pyramids_of_changed_files(context)
    assert isinstance(result, (dg.SensorResult, dg.SkipReason))
    return result


def keys_of(request: dg.RunRequest, instance: dg.DagsterInstance) -> list[str]:
    """The keys that Dagster will hand to the run."""
    if request.partition_key:
        return [request.partition_key]
    known = list(instance.get_dynamic_partitions(IMAGE_FILES))
    return known[known.index(request.tags[START]) : known.index(request.tags[END]) + 1]


def asked(result: dg.SensorResult | dg.SkipReason, instance: dg.DagsterInstance) -> list[str]:
    assert isinstance(result, dg.SensorResult)
    return [key for request in result.run_requests or [] for key in keys_of(request, instance)]


def test_without_a_new_list_it_skips(instance: dg.DagsterInstance, state: StateResource) -> None:
    assert isinstance(tick(instance, state), dg.SkipReason)


def test_every_file_of_a_list_is_asked_for_once_and_no_other(
    instance: dg.DagsterInstance, state: StateResource
) -> None:
    instance.add_dynamic_partitions(IMAGE_FILES, [f"old/{n:03}.tif" for n in range(10)])
    paths = [f"new/{n:03}.tif" for n in range(120)] + ["old/003.tif", "a b,[c]...\n.tif"]
    make_list(instance, state.store(), paths)
    result = tick(instance, state)
    assert sorted(file_path_of(key) for key in asked(result, instance)) == sorted(paths)
    assert isinstance(result, dg.SensorResult)
    assert all(len(keys_of(request, instance)) <= 50 for request in result.run_requests or [])
    assert isinstance(tick(instance, state, result.cursor), dg.SkipReason)


def test_its_runs_skip_what_is_current_and_what_is_quarantined(
    instance: dg.DagsterInstance, state: StateResource
) -> None:
    make_list(instance, state.store(), ["a.tif"])
    result = tick(instance, state)
    assert isinstance(result, dg.SensorResult)
    (request,) = result.run_requests or []
    assert request.run_config["ops"]["make_pyramids"]["config"] == {
        "remake": False,
        "retry_quarantined": False,
    }
    assert request.tags["marble/day"] == DAY
    assert dg.validate_run_config(defs.resolve_job_def("pyramid_tiffs_job"), request.run_config)


def test_a_list_made_to_remake_asks_for_runs_that_do(
    instance: dg.DagsterInstance, state: StateResource
) -> None:
    make_list(instance, state.store(), ["a.tif"], remake=True)
    result = tick(instance, state)
    assert isinstance(result, dg.SensorResult)
    (request,) = result.run_requests or []
    assert request.run_config["ops"]["make_pyramids"]["config"]["remake"] is True


def test_a_repeated_tick_asks_for_the_same_runs_by_the_same_keys(
    instance: dg.DagsterInstance, state: StateResource
) -> None:
    make_list(instance, state.store(), [f"{n:03}.tif" for n in range(70)])
    one, other = tick(instance, state), tick(instance, state)
    assert isinstance(one, dg.SensorResult)
    assert isinstance(other, dg.SensorResult)
    run_keys = [request.run_key for request in one.run_requests or []]
    assert run_keys == [request.run_key for request in other.run_requests or []]
    assert len(set(run_keys)) == 2


def test_a_long_list_is_asked_for_over_several_ticks_and_nothing_is_forgotten(
    instance: dg.DagsterInstance, state: StateResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyramid_sensor, "MOST_RUNS_A_TICK", 3)
    store = state.store()
    # Every other key, so that each is a run of its own.
    instance.add_dynamic_partitions(IMAGE_FILES, [f"{n:03}.tif" for n in range(40)])
    wanted = [f"{n:03}.tif" for n in range(0, 40, 2)]
    make_list(instance, store, wanted)
    make_list(instance, store, ["later.tif"], "2026-11-03")
    found: list[str] = []
    cursor: str | None = None
    while not isinstance(result := tick(instance, state, cursor), dg.SkipReason):
        assert len(result.run_requests or []) <= 3
        found += asked(result, instance)
        cursor = result.cursor
        # While it goes on, another list adds partitions.
        instance.add_dynamic_partitions(IMAGE_FILES, [f"x{len(found)}.tif"])
    assert found == [*wanted, "later.tif"]


def test_a_file_in_several_new_lists_is_asked_for_once(
    instance: dg.DagsterInstance, state: StateResource
) -> None:
    store = state.store()
    make_list(instance, store, ["a.tif", "b.tif"])
    make_list(instance, store, ["a.tif", "c.tif"], "2026-11-03")
    assert sorted(asked(tick(instance, state), instance)) == ["a.tif", "b.tif", "c.tif"]


def test_a_list_made_to_remake_is_asked_for_though_another_new_list_has_the_same_files(
    instance: dg.DagsterInstance, state: StateResource
) -> None:
    store = state.store()
    make_list(instance, store, ["a.tif", "b.tif"])
    make_list(instance, store, ["a.tif"], remake=True)
    make_list(instance, store, ["a.tif", "b.tif"], "2026-11-03")
    result = tick(instance, state)
    assert isinstance(result, dg.SensorResult)
    found = {
        (key, request.run_config["ops"]["make_pyramids"]["config"]["remake"])
        for request in result.run_requests or []
        for key in keys_of(request, instance)
    }
    assert found == {("a.tif", False), ("b.tif", False), ("a.tif", True)}


def test_a_list_asks_for_nothing_that_an_earlier_new_one_asks_to_remake(
    instance: dg.DagsterInstance, state: StateResource
) -> None:
    store = state.store()
    make_list(instance, store, ["a.tif"], remake=True)
    make_list(instance, store, ["a.tif"])
    assert asked(tick(instance, state), instance) == ["a.tif"]


def test_a_retired_key_in_the_cursor_makes_it_ask_again_under_the_same_run_keys(
    instance: dg.DagsterInstance, state: StateResource
) -> None:
    make_list(instance, state.store(), ["a.tif", "b.tif"])
    fresh = tick(instance, state)
    again = tick(instance, state, json.dumps({"after": 0, "asked": "gone.tif"}))
    assert isinstance(fresh, dg.SensorResult)
    assert isinstance(again, dg.SensorResult)
    assert [r.run_key for r in fresh.run_requests or []] == [r.run_key for r in again.run_requests or []]


def test_a_list_that_is_no_longer_stored_holds_up_no_other(
    instance: dg.DagsterInstance, state: StateResource
) -> None:
    store = state.store()
    make_list(instance, store, ["a.tif"])
    store.delete_day(DAY)
    make_list(instance, store, ["b.tif"], "2026-11-03")
    assert asked(tick(instance, state), instance) == ["b.tif"]


def test_the_cursor_survives_being_stored() -> None:
    assert Cursor.parse(str(Cursor(7, "ü/ä.tif"))) == Cursor(7, "ü/ä.tif")
    assert Cursor.parse(None) == Cursor()


@pytest.mark.parametrize(
    ("tags", "trigger", "priority"),
    [
        ({"marble/trigger": "daily"}, "daily", "1"),
        ({"dagster/backfill": "b"}, "backfill", "-1"),
        ({}, "person", "0"),
    ],
)
def test_the_days_runs_go_before_a_persons_and_those_before_a_backfills(
    instance: dg.DagsterInstance, state: StateResource, tags: dict[str, str], trigger: str, priority: str
) -> None:
    list_of_a_run(instance, state, ["a.tif"], tags)
    result = tick(instance, state)
    assert isinstance(result, dg.SensorResult)
    (request,) = result.run_requests or []
    assert (request.tags["marble/trigger"], request.tags["dagster/priority"]) == (trigger, priority)


@pytest.mark.parametrize(
    ("trigger", "setting", "sizes"),
    [("daily", None, [50, 50, 20]), ("command", None, [120]), ("command", "60", [60, 60])],
)
def test_runs_of_the_command_are_longer_unless_a_setting_says_how_long(
    instance: dg.DagsterInstance,
    state: StateResource,
    monkeypatch: pytest.MonkeyPatch,
    trigger: str,
    setting: str | None,
    sizes: list[int],
) -> None:
    if setting:
        monkeypatch.setenv("FILES_PER_RUN", setting)
    paths = [f"{n:03}.tif" for n in range(120)]
    list_of_a_run(instance, state, paths, {"marble/trigger": trigger})
    result = tick(instance, state)
    assert isinstance(result, dg.SensorResult)
    assert [len(keys_of(request, instance)) for request in result.run_requests or []] == sizes


def test_it_is_on_by_default() -> None:
    assert pyramids_of_changed_files.default_status is dg.DefaultSensorStatus.RUNNING
