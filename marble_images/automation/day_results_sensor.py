"""Writes what a day came to when the last of its runs has ended."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

import dagster as dg
from dagster import AssetRecordsFilter, DagsterRunStatus, RunRecord, RunsFilter
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, WILL_RETRY_TAG

from marble_images.assets.changed_files import changed_files
from marble_images.assets.day_results import DAY_RESULTS, evaluation, result_metadata
from marble_images.assets.pyramid_tiffs import DAY_TAG
from marble_images.models import FileReport, Outcome
from marble_images.partitions import IMAGE_FILES, file_path_of, partition_key
from marble_images.pipeline.summary import RunSummary, report_from_json
from marble_images.resources import StateResource
from marble_images.settings import Settings
from marble_images.state import StateStore

ENDED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
NOT_ENDED = [status for status in DagsterRunStatus if status not in ENDED]

LONGEST_OPEN = timedelta(days=7)
"""A list whose files no run took up for so long gets no result."""

_DAYS_A_TICK = 40
_LISTS_A_TICK = 1000
_READERS = 16
_DATA_VERSION = "dagster/data_version"


@dataclass
class Cursor:
    """How far the sensor has come.

    Attributes
    ----------
    lists
        Storage id of the newest list seen.
    runs
        When the newest ended run was last updated: seconds since 1970.
    newest
        The newest day that has a result.
    open
        Days whose result is to be written: storage id of the list, and when it was made.
    """

    lists: int = 0
    runs: float = 0.0
    newest: str = ""
    open: dict[str, tuple[int, float]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str | None) -> "Cursor":
        """Read a stored cursor; none is the beginning."""
        if not text:
            return cls()
        stored = json.loads(text)
        days = {day: (int(number), float(made)) for day, (number, made) in stored["open"].items()}
        return cls(int(stored["lists"]), float(stored["runs"]), str(stored["newest"]), days)

    def __str__(self) -> str:
        return json.dumps(asdict(self))


@dg.sensor(
    name="results_of_days",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Writes a day's result when the last of its runs has ended, and anew when one is repeated.",
)
def results_of_days(context: dg.SensorEvaluationContext, state: StateResource) -> dg.SensorResult:
    """Report `day_results` of the days that are complete; reads the runs' reports, starts no run."""
    cursor = Cursor.parse(context.cursor)
    instance = context.instance
    news = _open_new_lists(instance, cursor) + _open_repeated(instance, cursor)
    if not news or not cursor.open:
        return dg.SensorResult(skip_reason="no list was made and no run has ended", cursor=str(cursor))
    store = state.store()
    book = ReportBook(instance, store)
    events: list[dg.AssetMaterialization | dg.AssetCheckEvaluation | dg.AssetObservation] = []
    newest: dg.AssetMaterialization | None = None
    busy = _days_in_flight(instance)
    ready = [day for day in sorted(cursor.open) if day not in busy]
    for day in ready[:_DAYS_A_TICK]:
        written = _result_of(day, cursor.open[day][1], instance, store, book)
        if written is None:
            context.log.info(f"{day} still waits for runs")
            continue
        cursor.open.pop(day)
        if not _is_known(instance, written):
            events.append(written)
            newest = written if day >= cursor.newest else newest
    if newest is not None:
        cursor.newest = str(newest.partition)
        events.append(evaluation(cursor.newest, newest))
    if len(ready) > _DAYS_A_TICK:
        # More days are ready than one tick takes: the next one must not wait for a run to end.
        cursor.runs = max(0.0, cursor.runs - 0.001)
    waiting = f"{len(cursor.open)} days still have runs to come" if cursor.open else None
    return dg.SensorResult(asset_events=events, cursor=str(cursor), skip_reason=None if events else waiting)


def _open_new_lists(instance: dg.DagsterInstance, cursor: Cursor) -> int:
    records = instance.fetch_materializations(
        AssetRecordsFilter(asset_key=changed_files.key, after_storage_id=cursor.lists),
        limit=_LISTS_A_TICK,
        ascending=True,
    ).records
    oldest = (datetime.now(timezone.utc) - LONGEST_OPEN).timestamp()
    for record in records:
        cursor.lists = record.storage_id
        if record.partition_key and record.timestamp > oldest:
            cursor.open[record.partition_key] = (record.storage_id, record.timestamp)
    for day in [day for day, (_, made) in cursor.open.items() if made <= oldest]:
        del cursor.open[day]
    return len(records)


def _open_repeated(instance: dg.DagsterInstance, cursor: Cursor) -> int:
    """Take note of runs that ended; one that repeats a run of a finished day opens that day again."""
    since = datetime.fromtimestamp(cursor.runs, timezone.utc) if cursor.runs else None
    records = instance.get_run_records(
        RunsFilter(statuses=ENDED, updated_after=since), order_by="update_timestamp", ascending=True
    )
    for record in records:
        cursor.runs = max(cursor.runs, record.update_timestamp.timestamp())
        day = record.dagster_run.tags.get(DAY_TAG)
        if day and day not in cursor.open and record.dagster_run.parent_run_id:
            newest = instance.fetch_materializations(
                AssetRecordsFilter(asset_key=changed_files.key, asset_partitions=[day]), limit=1
            ).records
            if newest:
                cursor.open[day] = (newest[0].storage_id, newest[0].timestamp)
    return len(records)


def _days_in_flight(instance: dg.DagsterInstance) -> set[str]:
    runs = instance.get_runs(RunsFilter(statuses=NOT_ENDED))
    return {run.tags[DAY_TAG] for run in runs if DAY_TAG in run.tags}


# --- the reports of runs ---------------------------------------------------------------------------


@dataclass(frozen=True)
class FileEnd:
    """How a run ended for one file."""

    report: FileReport
    run_id: str


class ReportBook:
    """The reports of ended runs, each read once a tick."""

    def __init__(self, instance: dg.DagsterInstance, store: StateStore) -> None:
        self._instance = instance
        self._store = store
        self._read: dict[str, list[FileReport]] = {}

    def ends(self, records: Sequence[RunRecord]) -> dict[str, FileEnd]:
        """The last end of each file of these runs."""
        in_order = sorted(records, key=lambda record: (record.end_time or 0.0, record.storage_id))
        unread = [record for record in in_order if record.dagster_run.run_id not in self._read]
        with ThreadPoolExecutor(_READERS) as readers:
            for record, stored in zip(unread, readers.map(self._stored, unread), strict=True):
                self._read[record.dagster_run.run_id] = (
                    [report_from_json(values) for values in stored["files"]]
                    if stored is not None
                    else list(_from_events(self._instance, record.dagster_run))
                )
        return {
            report.file_path: FileEnd(report, record.dagster_run.run_id)
            for record in in_order
            for report in self._read[record.dagster_run.run_id]
        }

    def _stored(self, record: RunRecord) -> dict[str, Any] | None:
        run = record.dagster_run
        return self._store.read_run_report(run.run_id, day=run.tags[DAY_TAG])


def _from_events(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterable[FileReport]:
    """What the events say of a run that was killed before it could write its report."""

    def keys(kind: dg.DagsterEventType) -> set[str]:
        records = instance.get_records_for_run(run.run_id, of_type=kind).records
        return {
            event.partition
            for record in records
            if (event := record.event_log_entry.dagster_event) is not None and event.partition
        }

    made = keys(dg.DagsterEventType.ASSET_MATERIALIZATION)
    reason = f"its run ended as {run.status.value} before it was done"
    for key in keys(dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED) | made:
        if key in made:
            yield FileReport(file_path_of(key), Outcome.MADE)
        else:
            yield FileReport(file_path_of(key), Outcome.FAILED, code="run-failed", reason=reason)


# --- one day ---------------------------------------------------------------------------------------


def _result_of(
    day: str, listed_at: float, instance: dg.DagsterInstance, store: StateStore, book: ReportBook
) -> dg.AssetMaterialization | None:
    """The day's result, or ``None`` while a file of its list waits for a run."""
    files = {file.file_path for file in store.read_day(day) or []}
    own = _ended_since(instance, listed_at, {DAY_TAG: day})
    if any(_will_be_retried(record.dagster_run) for record in own):
        return None
    ends = book.ends(own)
    if files - ends.keys():
        # A file in several new lists is asked for once, under the day of the first.
        others = [r for r in _ended_since(instance, listed_at, {}) if DAY_TAG in r.dagster_run.tags]
        ends = {**book.ends(others), **ends}
    missing = files - ends.keys()
    known = {partition_key(path) for path in missing} & set(instance.get_dynamic_partitions(IMAGE_FILES))
    if known:
        return None
    retired = "its partition was retired before a run took it up"
    ends |= {p: FileEnd(FileReport(p, Outcome.LEFT, code="retired", reason=retired), "") for p in missing}
    return _materialization(day, {path: ends[path] for path in sorted(files)}, own, store)


def _ended_since(instance: dg.DagsterInstance, moment: float, tags: Mapping[str, str]) -> Sequence[RunRecord]:
    since = datetime.fromtimestamp(moment, timezone.utc)
    return instance.get_run_records(RunsFilter(statuses=ENDED, tags=dict(tags), created_after=since))


def _will_be_retried(run: dg.DagsterRun) -> bool:
    return run.tags.get(WILL_RETRY_TAG) == "true" and AUTO_RETRY_RUN_ID_TAG not in run.tags


def _materialization(
    day: str, ends: Mapping[str, FileEnd], own: Sequence[RunRecord], store: StateStore
) -> dg.AssetMaterialization:
    summary = RunSummary(len(ends), [end.report for end in ends.values()])
    summary.check()
    runs = {end.run_id for end in ends.values() if end.run_id} | {r.dagster_run.run_id for r in own}
    started = [record.start_time for record in own if record.start_time]
    ended = [record.end_time for record in own if record.end_time]
    base = Settings.load().dagster_base_url
    query = quote(f"tag:{DAY_TAG}={day}", safe="")
    metadata = result_metadata(
        summary,
        {path: end.run_id for path, end in ends.items()},
        runs=len(runs),
        seconds=max(0.0, max(ended) - min(started)) if started and ended else 0.0,
        list_uri=store.day_uri(day),
        link=f"{base.rstrip('/')}/runs?q[0]={query}" if base else None,
    )
    what = json.dumps([sorted((path, end.report.outcome.value, end.run_id) for path, end in ends.items())])
    version = hashlib.sha256(what.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return dg.AssetMaterialization(
        DAY_RESULTS, partition=day, metadata=metadata, tags={_DATA_VERSION: version}
    )


def _is_known(instance: dg.DagsterInstance, result: dg.AssetMaterialization) -> bool:
    """Whether a tick that is repeated has written this result before."""
    found = instance.fetch_materializations(
        AssetRecordsFilter(asset_key=DAY_RESULTS, asset_partitions=[str(result.partition)]), limit=1
    ).records
    last = found[0].asset_materialization if found else None
    return last is not None and (last.tags or {}).get(_DATA_VERSION) == (result.tags or {})[_DATA_VERSION]
