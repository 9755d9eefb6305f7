"""One day in one process: the schedule's job, then the runs that the sensor asks for.

The same job, sensor and assets as in a deployment; only the daemon and the web server are not there. For
cron, for operators, for the demo and for tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, RUN_KEY_TAG, SENSOR_NAME_TAG

from marble_images.assets.changed_files import changed_files
from marble_images.automation import changed_files_job, pyramid_tiffs_job, pyramids_of_changed_files
from marble_images.automation.daily_schedule import TRIGGER_TAG
from marble_images.automation.pyramid_sensor import Cursor
from marble_images.days import day_of, is_day
from marble_images.definitions import defs, state
from marble_images.errors import MarbleImagesError, SettingsError, one_line
from marble_images.models import ChangedFile, FileReport, Outcome
from marble_images.pipeline.progress import listening
from marble_images.pipeline.summary import RunSummary
from marble_images.settings import Settings
from marble_images.sqlite_events import events_kept_open

_QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
_GOOD_ENDS = (Outcome.MADE, Outcome.CURRENT, Outcome.REMOVED)


class DayFailed(MarbleImagesError):
    """The day's list could not be made, so nothing was done."""

    code = "day-failed"


@dataclass
class DayResult:
    """What a day came to."""

    day: str
    files: list[ChangedFile]
    skipped: list[Mapping[str, str]]
    summary: RunSummary = field(default_factory=lambda: RunSummary(0))

    @property
    def all_well(self) -> bool:
        """Whether every listed file was made, or is gone from its source."""
        return all(report.outcome in _GOOD_ENDS for report in self.summary.reports)


@contextmanager
def dagster_instance() -> Iterator[dg.DagsterInstance]:
    """The instance of ``DAGSTER_HOME``; without one, an instance that is gone at the end."""
    if os.environ.get("DAGSTER_HOME"):
        with dg.DagsterInstance.get() as instance:
            yield instance
    else:
        with dg.DagsterInstance.local_temp() as instance:
            yield instance


def _ignore(_: object) -> None:
    pass


def run_day(
    day: str | None = None,
    *,
    instance: dg.DagsterInstance,
    on_listed: Callable[[list[ChangedFile]], None] = _ignore,
    on_report: Callable[[FileReport], None] = _ignore,
) -> DayResult:
    """Make a day's list and the pyramids of its files.

    Parameters
    ----------
    day
        ``YYYY-MM-DD``; today in New York when left out.
    instance
        Where the runs are recorded.
    on_listed, on_report
        Told of the list when it is made, and of each file as it is done.

    Raises
    ------
    SettingsError
        A setting is missing; names it.
    DayFailed
        The list could not be made; says why.
    KeyboardInterrupt
        The process was interrupted; what was made stays, and the files that were not done still wait.
    """
    Settings.load().require_pipeline()
    day = day or day_of(datetime.now(timezone.utc))
    if not is_day(day):
        raise SettingsError(f"{day!r} is not a date YYYY-MM-DD")
    if not changed_files.partitions_def.has_partition_key(day):  # type: ignore[union-attr]
        raise SettingsError(f"{day} has no list: it is before FIRST_DAY, or has not begun")
    result, storage_id = _make_list(day, instance)
    on_listed(result.files)

    def collect(report: FileReport) -> None:
        result.summary.reports.append(report)
        on_report(report)

    reason = "no run took it up"
    with listening(collect):
        for failure in _run_sensor(instance, Cursor(after=storage_id - 1)):
            reason = failure or reason
    done = {report.file_path for report in result.summary.reports}
    for path in sorted({file.file_path for file in result.files} - done):
        collect(FileReport(path, Outcome.FAILED, code="run-failed", reason=reason))
    result.summary.check()
    return result


def _make_list(day: str, instance: dg.DagsterInstance) -> tuple[DayResult, int]:
    job = defs.resolve_job_def(changed_files_job.name)
    ended = job.execute_in_process(
        instance=instance,
        partition_key=day,
        tags={TRIGGER_TAG: "command"},
        run_config=_QUIET,
        raise_on_error=False,
    )
    _stop_if_interrupted(ended)
    if not ended.success:
        raise DayFailed(_failure_of(ended) or "the list of changed files could not be made")
    record = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=changed_files.key, asset_partitions=[day]), limit=1
    ).records[0]
    metadata = record.asset_materialization.metadata if record.asset_materialization else {}
    skipped = metadata["skipped records"].value if "skipped records" in metadata else []
    assert isinstance(skipped, list)
    files = state.store().read_day(day) or []
    result = DayResult(day, files, skipped)
    result.summary.listed = len({file.file_path for file in files})
    return result, record.storage_id


def _run_sensor(instance: dg.DagsterInstance, cursor: Cursor) -> Iterator[str]:
    """Run all that the sensor asks for; after each run, its failure's reason or an empty text."""
    job = defs.resolve_job_def(pyramid_tiffs_job.name)
    position = str(cursor)
    while True:
        with dg.build_sensor_context(
            instance=instance, cursor=position, resources={"state": state}, definitions=defs
        ) as context:
            ticked = pyramids_of_changed_files(context)
        if not isinstance(ticked, dg.SensorResult):
            return
        for request in ticked.run_requests or []:
            yield _run_one(job, instance, request)
        position = str(ticked.cursor)


def _run_one(job: dg.JobDefinition, instance: dg.DagsterInstance, request: dg.RunRequest) -> str:
    # With these two tags the daemon's sensor knows that this run was already asked for.
    tags = {
        **request.tags,
        TRIGGER_TAG: "command",
        SENSOR_NAME_TAG: pyramids_of_changed_files.name,
        RUN_KEY_TAG: str(request.run_key),
    }
    with events_kept_open(instance):
        ended = job.execute_in_process(
            instance=instance,
            partition_key=None if ASSET_PARTITION_RANGE_END_TAG in tags else request.partition_key,
            tags=tags,
            run_config={**request.run_config, **_QUIET},
            raise_on_error=False,
        )
    _stop_if_interrupted(ended)
    return "" if ended.success else _failure_of(ended)


def _stop_if_interrupted(ended: dg.ExecuteInProcessResult) -> None:
    # Dagster makes a failed step of an interrupt; the day must end with it, not begin its next run.
    for event in ended.all_events:
        error = event.step_failure_data.error if event.is_step_failure else None
        if error is not None and error.cls_name == DagsterExecutionInterruptedError.__name__:
            raise KeyboardInterrupt


def _failure_of(ended: dg.ExecuteInProcessResult) -> str:
    for event in ended.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data and data.user_failure_data.description:
                return one_line(data.user_failure_data.description)
            if data.error:
                return one_line((data.error.cause or data.error).message)
    return "the run failed before its first step"
