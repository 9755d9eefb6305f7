"""What Dagster's event log holds after it was kept open, seen by another instance of it."""

from pathlib import Path

import dagster as dg
import pytest

from marble_images.sqlite_events import KeptOpenSqliteEventLogStorage, events_kept_open, storage_config

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


def _instance(folder: Path) -> dg.DagsterInstance:
    return dg.DagsterInstance.local_temp(str(folder), {"event_log_storage": storage_config(folder)})


@pytest.mark.parametrize("around_the_run", [False, True])
def test_every_event_is_there_for_others(tmp_path: Path, around_the_run: bool) -> None:
    with _instance(tmp_path) as instance:
        assert isinstance(instance.event_log_storage, KeptOpenSqliteEventLogStorage)
        if around_the_run:
            with events_kept_open(instance):
                ended = _run(instance)
        else:
            ended = _run(instance)
        assert ended.success
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


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's list of open files")
def test_files_are_open_within_the_block_only(tmp_path: Path) -> None:
    def are_open() -> bool:
        found = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        return any(tmp_path in path.parents for path in found)

    with _instance(tmp_path) as instance:
        with events_kept_open(instance), events_kept_open(instance):
            instance.report_runless_asset_event(dg.AssetMaterialization("a"))
            assert are_open()
        assert not are_open()
        instance.report_runless_asset_event(dg.AssetMaterialization("b"))
        assert not are_open()


def test_instances_of_another_kind_are_left_alone(tmp_path: Path) -> None:
    for other in (dg.DagsterInstance.ephemeral(), dg.DagsterInstance.local_temp(str(tmp_path))):
        with other as instance, events_kept_open(instance):
            instance.report_runless_asset_event(dg.AssetMaterialization("a"))
            assert instance.get_latest_materialization_event(dg.AssetKey("a")) is not None


def test_what_dagsters_own_storage_has_written_is_read(tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as own:
        own.report_runless_asset_event(dg.AssetMaterialization("a"))
    with _instance(tmp_path) as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey("a")) is not None
