"""What Dagster's event log holds after it was kept open, seen by another instance of it."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from marble_images.sqlite_events import events_kept_open

_FILES = dg.DynamicPartitionsDefinition(name="files")
_KEYS = ["a", "b", "c"]


@dg.multi_asset(
    specs=[dg.AssetSpec("made", partitions_def=_FILES, skippable=True)],
    check_specs=[dg.AssetCheckSpec("good", asset="made", partitions_def=_FILES)],
    can_subset=True,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def _make(context: dg.AssetExecutionContext):
    with events_kept_open(context.instance):
        for key in context.partition_keys:
            context.log_event(dg.AssetMaterialization("made", partition=key))
            context.log_event(
                dg.AssetCheckEvaluation(
                    asset_key=dg.AssetKey("made"), check_name="good", passed=key != "b", partition=key
                )
            )
            # Another process looks while the files are open here.
            with dg.DagsterInstance.from_ref(context.instance.get_ref()) as other:
                assert key in other.get_materialized_partitions(dg.AssetKey("made"))
    yield from ()


def _run(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    instance.add_dynamic_partitions("files", _KEYS)
    tags = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "c"}
    definitions = dg.Definitions(
        assets=[_make], jobs=[dg.define_asset_job("all", selection="made*")], executor=dg.in_process_executor
    )
    return definitions.resolve_job_def("all").execute_in_process(instance=instance, tags=tags)


@pytest.mark.parametrize("around_the_run", [False, True])
def test_every_event_is_there_for_others(tmp_path: Path, around_the_run: bool) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        storage: Any = instance.event_log_storage
        connect = storage._connect
        if around_the_run:
            with events_kept_open(instance):
                ended = _run(instance)
        else:
            ended = _run(instance)
        assert ended.success
        assert storage._connect == connect
        run_id = ended.run_id
    with dg.DagsterInstance.local_temp(str(tmp_path)) as other:
        assert other.get_materialized_partitions(dg.AssetKey("made")) == set(_KEYS)
        checks = other.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
        passed = [
            record.event_log_entry.dagster_event.event_specific_data.passed  # type: ignore[union-attr]
            for record in checks
        ]
        assert passed == [True, False, True]
        run = other.get_run_by_id(run_id)
        assert run is not None
        assert run.status is dg.DagsterRunStatus.SUCCESS


def test_an_instance_without_files_is_left_alone() -> None:
    with dg.DagsterInstance.ephemeral() as instance, events_kept_open(instance):
        assert "_connect" not in vars(instance.event_log_storage)
