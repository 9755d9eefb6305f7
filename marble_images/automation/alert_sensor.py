"""One message a day when something went wrong; silence when all is well."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone
from urllib.parse import quote

import dagster as dg
from dagster import AssetRecordsFilter, DagsterRunStatus, RunRecord, RunsFilter
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG

from marble_images.assets.changed_files import LIST_DEADLINE, changed_files
from marble_images.assets.pyramid_tiffs import DAY_TAG
from marble_images.days import ZONE, day_of
from marble_images.errors import StateError, one_line
from marble_images.models import Outcome
from marble_images.pipeline.summary import report_from_json
from marble_images.resources import AlertTopicResource, StateResource
from marble_images.settings import Settings
from marble_images.state import StateStore

PATIENCE = timedelta(hours=6)
"""So long after the deadline of the list a message waits for the day's last run."""

_FIRST_LOOK_BACK = timedelta(days=1)
_NAMED = 10
_BAD_ENDS = [DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
_NOT_ENDED = [status for status in DagsterRunStatus if status not in (DagsterRunStatus.SUCCESS, *_BAD_ENDS)]


@dataclass(frozen=True)
class Cursor:
    """What was told.

    Attributes
    ----------
    day
        The last day that had its message.
    told
        Runs that ended up to this moment were told of: seconds since 1970.
    """

    day: str | None = None
    told: float | None = None

    @classmethod
    def parse(cls, text: str | None) -> "Cursor":
        """Read a stored cursor; none is the beginning."""
        return cls(**json.loads(text)) if text else cls()

    def __str__(self) -> str:
        return json.dumps({"day": self.day, "told": self.told})


@dg.sensor(
    name="alerts",
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Posts at most one message a day to SNS: when runs or files failed, or the day's list was not made "
        "in time. Off while ALERT_TOPIC_ARN is not set."
    ),
)
def alerts(
    context: dg.SensorEvaluationContext, state: StateResource, alert_topic: AlertTopicResource
) -> dg.SensorResult | dg.SkipReason:
    """Look for trouble once a day, after the list's deadline and when the day's runs have ended."""
    return look(context, state, alert_topic, datetime.now(timezone.utc))


def look(
    context: dg.SensorEvaluationContext,
    state: StateResource,
    alert_topic: AlertTopicResource,
    now: datetime,
) -> dg.SensorResult | dg.SkipReason:
    """What the sensor does at a moment ``now``."""
    if not alert_topic.topic():
        return dg.SkipReason("ALERT_TOPIC_ARN is not set, so no alert is sent")
    cursor = Cursor.parse(context.cursor)
    today = day_of(now)
    deadline = datetime.combine(now.astimezone(ZONE).date(), time(*LIST_DEADLINE), tzinfo=ZONE)
    if now < deadline:
        return dg.SkipReason("it is before the deadline of today's list")
    if cursor.day == today:
        return dg.SkipReason("today's message was sent")
    instance = context.instance
    listed = _is_listed(instance, today)
    if listed and now < deadline + PATIENCE and _in_flight(instance, today):
        return dg.SkipReason("today's runs have not all ended")
    since = cursor.told if cursor.told is not None else (now - _FIRST_LOOK_BACK).timestamp()
    # A run that was retried by itself is told of by its retry, if that failed too.
    failed = instance.get_run_records(
        RunsFilter(statuses=_BAD_ENDS, updated_after=datetime.fromtimestamp(since, timezone.utc)),
        order_by="update_timestamp",
        ascending=True,
    )
    failed = [record for record in failed if AUTO_RETRY_RUN_ID_TAG not in record.dagster_run.tags]
    if listed and not failed:
        return dg.SkipReason("all is well")
    store = state.store()
    # The cursor is stored after the tick: should the daemon die in between, this keeps the promise of one.
    if store.is_alerted(today):
        return dg.SensorResult(
            skip_reason="today's message was sent", cursor=str(_told(today, failed, since))
        )
    subject, message = compose(today, listed, failed, store, instance)
    alert_topic.publish(subject, message)
    store.set_alerted(today, subject)
    return dg.SensorResult(skip_reason=f"sent: {subject}", cursor=str(_told(today, failed, since)))


def _told(day: str, failed: Sequence[RunRecord], since: float) -> Cursor:
    return Cursor(day, max([since, *(record.update_timestamp.timestamp() for record in failed)]))


def _is_listed(instance: dg.DagsterInstance, day: str) -> bool:
    return bool(
        instance.fetch_materializations(
            AssetRecordsFilter(asset_key=changed_files.key, asset_partitions=[day]), limit=1
        ).records
    )


def _in_flight(instance: dg.DagsterInstance, day: str) -> bool:
    return bool(instance.get_runs(RunsFilter(statuses=_NOT_ENDED, tags={DAY_TAG: day}), limit=1))


# --- the message -----------------------------------------------------------------------------------


def compose(
    day: str,
    listed: bool,
    failed: Sequence[RunRecord],
    store: StateStore,
    instance: dg.DagsterInstance,
) -> tuple[str, str]:
    """Subject and text of a day's message.

    Parameters
    ----------
    day
        ``YYYY-MM-DD``.
    listed
        Whether the day has its list.
    failed
        The runs that failed or were stopped since the last message.
    store
        Has the reports of runs.
    instance
        Has the events of runs without a report.
    """
    base = (Settings.load().dagster_base_url or "").rstrip("/")
    files: dict[str, str] = {}
    others: list[str] = []
    for record in failed:
        found = _failed_files(record.dagster_run, store)
        files |= found
        if not found:
            others.append(_line(record.dagster_run, instance, base))
    lines: list[str] = []
    if not listed:
        hour, minute = LIST_DEADLINE
        lines.append(f"The list of changed files of {day} was not made by {hour}:{minute:02} New York time.")
        lines += [f"{base}/assets/changed_files?partition={day}"] if base else []
    if files:
        lines += ["", f"{len(files)} files failed in {len(failed) - len(others)} runs:"]
        lines += [f"- {path}: {reason}" for path, reason in list(files.items())[:_NAMED]]
        lines += [f"and {len(files) - _NAMED} more"] if len(files) > _NAMED else []
    if others:
        lines += ["", f"{len(others)} runs failed:", *others[:_NAMED]]
        lines += [f"and {len(others) - _NAMED} more"] if len(others) > _NAMED else []
    if base:
        lines += ["", f"The day: {base}/assets/day_results?partition={day}"]
        lines += [f"Failed runs: {base}/runs?q[0]={quote('status:FAILURE', safe='')}"]
    return _subject(day, listed, len(files), len(others)), "\n".join(lines).strip() + "\n"


def _subject(day: str, listed: bool, files: int, runs: int) -> str:
    parts = [] if listed else ["no list"]
    parts += [f"{files} files failed"] if files else []
    parts += [f"{runs} runs failed"] if runs else []
    return f"marble_images {day}: {', '.join(parts)}"


def _failed_files(run: dg.DagsterRun, store: StateStore) -> dict[str, str]:
    try:
        report = store.read_run_report(run.run_id, day=run.tags[DAY_TAG]) if DAY_TAG in run.tags else None
        report = report or store.read_run_report(run.run_id)
    except StateError:
        return {}
    ends: Iterable[dict[str, object]] = report["files"] if report else []
    reports = (report_from_json(dict(values)) for values in ends)
    return {found.file_path: found.reason or "" for found in reports if found.outcome is Outcome.FAILED}


def _line(run: dg.DagsterRun, instance: dg.DagsterInstance, base: str) -> str:
    link = f" {base}/runs/{run.run_id}" if base else ""
    return f"- {run.job_name} {run.status.value.lower()}: {_reason(run, instance)}{link}"


def _reason(run: dg.DagsterRun, instance: dg.DagsterInstance) -> str:
    for kind in (dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE):
        for record in instance.get_records_for_run(run.run_id, of_type=kind, limit=1).records:
            event = record.event_log_entry.dagster_event
            if event is None:
                continue
            user = event.step_failure_data.user_failure_data if event.is_step_failure else None
            said = (user.description if user else None) or event.message
            if said:
                return one_line(said)
    return "no reason is on record"
