"""One day in one process: the schedule's job, then the runs that the sensor asks for.

The same job, sensor and assets as in a deployment; only the daemon and the web server are not there. For
cron, for operators, for the demo and for tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, RUN_KEY_TAG, SENSOR_NAME_TAG

from marble_images.assets.changed_files import changed_files
from marble_images.automation import changed_files_job, pyramid_tiffs_job, pyramids_of_changed_files
from marble_images.automation.daily_schedule import COMMAND, TRIGGER_TAG
from marble_images.automation.pyramid_sensor import Cursor, list_of
from marble_images.days import day_of, is_day
from marble_images.definitions import defs, s3, state
from marble_images.errors import MarbleImagesError, QueueRefused, SettingsError, one_line
from marble_images.interrupts import check_interrupted
from marble_images.machine import collect_less
from marble_images.models import ChangedFile, FileReport, Outcome
from marble_images.pipeline.progress import listening
from marble_images.pipeline.summary import RunSummary
from marble_images.pipeline.work_folder import work_folder
from marble_images.preflight import check_buckets, check_settings
from marble_images.resources.conversion import pools_kept
from marble_images.settings import Settings
from marble_images.sqlite_events import events_kept_open, storage_config

_QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
_LISTS_LOOKED_AT = 50
_RUN_FAILED = "run-failed"
_GOOD_ENDS = (Outcome.MADE, Outcome.CURRENT, Outcome.REMOVED)


class DayFailed(MarbleImagesError):
    """The day's list could not be made, so nothing was done."""

    code = "day-failed"


@dataclass(frozen=True)
class RunFailure:
    """Why a run failed: a code, and one line."""

    code: str
    reason: str


@dataclass
class DayResult:
    """What a day came to.

    Attributes
    ----------
    skipped
        Records of the listing that name no file of their own, and why.
    refused
        Why the day ended before its last file, if AppSync refused the API key meanwhile.
    """

    day: str
    files: list[ChangedFile]
    skipped: list[Mapping[str, str]]
    summary: RunSummary = field(default_factory=lambda: RunSummary(0))
    refused: str | None = None

    @property
    def all_well(self) -> bool:
        """Whether every listed file was made, or is gone from its source."""
        return all(report.outcome in _GOOD_ENDS for report in self.summary.reports)


@contextmanager
def dagster_instance() -> Iterator[dg.DagsterInstance]:
    """The instance of ``DAGSTER_HOME``; without one, an instance that is gone at the end.

    The latter lies in a work folder, so that a later run sweeps what a killed one has left.

    Raises
    ------
    SettingsError
        ``DAGSTER_HOME`` holds no instance that can be opened.
    """
    if os.environ.get("DAGSTER_HOME"):
        with _instance_of_home() as instance:
            yield instance
    else:
        with (
            work_folder(Settings.load().work_folder) as folder,
            dg.DagsterInstance.local_temp(str(folder), _overrides(folder)) as instance,
        ):
            yield instance


def _overrides(folder: Path) -> dict[str, Any]:
    return {"event_log_storage": storage_config(folder), "telemetry": {"enabled": False}}


def _instance_of_home() -> dg.DagsterInstance:
    try:
        return dg.DagsterInstance.get()
    except Exception as error:  # noqa: BLE001 - files, YAML, classes and databases fail each in their own way
        raise SettingsError(f"DAGSTER_HOME cannot be used: {one_line(str(error))}") from None


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
        A setting is missing or cannot be used, or a bucket does not exist; names the setting.
    BucketUnreachable
        S3 does not answer.
    DayFailed
        The list could not be made; says why.
    KeyboardInterrupt
        The process was interrupted; what was made stays, and the files that were not done still wait.
    """
    collect_less()
    settings = Settings.load()
    check_settings(settings)
    day = day or day_of(datetime.now(timezone.utc))
    if not is_day(day):
        raise SettingsError(f"{day!r} is not a date YYYY-MM-DD")
    if not changed_files.partitions_def.has_partition_key(day):  # type: ignore[union-attr]
        raise SettingsError(f"{day} has no list: it is before FIRST_DAY, or has not begun")
    check_buckets(settings, s3.get_client)
    result, storage_id = _make_list(day, instance)
    on_listed(result.files)
    reports: dict[str, FileReport] = {}

    def collect(report: FileReport) -> None:
        reports[report.file_path] = report
        on_report(report)

    failure = RunFailure(_RUN_FAILED, "no run took it up: its list was made anew meanwhile")
    with listening(collect), work_folder(settings.work_folder) as folder, pools_kept(folder):
        for ended in _run_sensor(instance, storage_id):
            failure = ended or failure
            result.refused = _refusal(ended, reports.values())
            if result.refused:
                failure = RunFailure(QueueRefused.code, result.refused)
                break
    listed = {file.file_path for file in result.files}
    for path in sorted(listed - reports.keys()):
        collect(FileReport(path, Outcome.FAILED, code=failure.code, reason=failure.reason))
    # Another process may have made the list anew, and the sensor takes the files of the newest.
    result.summary = RunSummary(len(listed | reports.keys()), list(reports.values()))
    result.summary.check()
    return result


def _refusal(failure: RunFailure | None, reports: Iterable[FileReport]) -> str | None:
    # Each further run would ask once more, only to be refused as this one was.
    if failure is not None and failure.code == QueueRefused.code:
        return failure.reason
    return next((report.reason for report in reports if report.code == QueueRefused.code), None)


def _make_list(day: str, instance: dg.DagsterInstance) -> tuple[DayResult, int]:
    job = defs.resolve_job_def(changed_files_job.name)
    ended = job.execute_in_process(
        instance=instance,
        partition_key=day,
        tags={TRIGGER_TAG: COMMAND},
        run_config=_QUIET,
        raise_on_error=False,
    )
    _stop_if_interrupted(ended)
    if not ended.success:
        raise DayFailed(_failure_of(ended).reason)
    newest = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=changed_files.key, asset_partitions=[day]), limit=_LISTS_LOOKED_AT
    ).records
    record = next(record for record in newest if record.run_id == ended.run_id)
    metadata = record.asset_materialization.metadata if record.asset_materialization else {}
    skipped = metadata["skipped records"].value if "skipped records" in metadata else []
    assert isinstance(skipped, list)
    return DayResult(day, state.store().read_day(day) or [], skipped), record.storage_id


def _run_sensor(instance: dg.DagsterInstance, list_id: int) -> Iterator[RunFailure | None]:
    """Run all that the sensor asks for because of one list; after each run, why it failed, if it did."""
    job = defs.resolve_job_def(pyramid_tiffs_job.name)
    cursor = Cursor(after=list_id - 1)
    while cursor.after < list_id:
        with dg.build_sensor_context(
            instance=instance, cursor=str(cursor), resources={"state": state}, definitions=defs
        ) as context:
            ticked = pyramids_of_changed_files(context)
        check_interrupted()
        if not isinstance(ticked, dg.SensorResult):
            return
        for request in ticked.run_requests or []:
            # Other processes that share the instance make lists, too, and see to them.
            if list_of(request) == list_id:
                yield _run_one(job, instance, request)
        cursor = Cursor.parse(ticked.cursor)


def _run_one(
    job: dg.JobDefinition, instance: dg.DagsterInstance, request: dg.RunRequest
) -> RunFailure | None:
    # With these two tags the daemon's sensor knows that this run was already asked for.
    tags = {
        **request.tags,
        TRIGGER_TAG: COMMAND,
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
    return None if ended.success else _failure_of(ended)


def _stop_if_interrupted(ended: dg.ExecuteInProcessResult) -> None:
    # Dagster forgets an interrupt outside a step, and makes a failed step of one within: the day must end.
    check_interrupted()
    for event in ended.all_events:
        error = event.step_failure_data.error if event.is_step_failure else None
        if error is not None and error.cls_name == DagsterExecutionInterruptedError.__name__:
            raise KeyboardInterrupt


def _failure_of(ended: dg.ExecuteInProcessResult) -> RunFailure:
    for event in ended.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data and data.user_failure_data.description:
                code = (data.user_failure_data.metadata or {}).get("code")
                return RunFailure(
                    str(code.value) if code else _RUN_FAILED, one_line(data.user_failure_data.description)
                )
            if data.error:
                return RunFailure(_RUN_FAILED, one_line((data.error.cause or data.error).message))
    return RunFailure(_RUN_FAILED, "the run failed before its first step")
