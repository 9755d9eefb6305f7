"""Runs the jobs of the definitions in a test's process, against the stack."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dagster as dg

from marble_images.definitions import defs
from marble_images.partitions import IMAGE_FILES, partition_key

START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def list_days(instance: dg.DagsterInstance, first: str, last: str | None = None) -> dg.ExecuteInProcessResult:
    """Make the lists of one day, or of a range of days in one run."""
    job = defs.resolve_job_def("changed_files_job")
    if last is None:
        return job.execute_in_process(instance=instance, partition_key=first, raise_on_error=False)
    return job.execute_in_process(instance=instance, tags={START: first, END: last}, raise_on_error=False)


def make_pyramids(
    instance: dg.DagsterInstance, file_paths: Iterable[str], **config: Any
) -> dg.ExecuteInProcessResult:
    """Make pyramids in one run; the keys must be neighbours, and are added when they are not known."""
    keys = [partition_key(path) for path in file_paths]
    instance.add_dynamic_partitions(IMAGE_FILES, keys)
    return defs.resolve_job_def("pyramid_tiffs_job").execute_in_process(
        instance=instance,
        partition_key=keys[0] if len(keys) == 1 else None,
        tags={START: keys[0], END: keys[-1]} if len(keys) > 1 else {},
        run_config={"ops": {"make_pyramids": {"config": config}}},
        raise_on_error=False,
    )


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """The one-line reason of a failed run."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    failure = event.step_failure_data.user_failure_data
    assert failure is not None
    return failure.description or ""


def materialized(instance: dg.DagsterInstance, asset: str) -> set[str]:
    """The partitions that are materialized."""
    return set(instance.get_materialized_partitions(dg.AssetKey(asset)))
