"""The daily run: today's list of changed files, early in the New York morning."""

import dagster as dg
from dagster._core.storage.tags import PRIORITY_TAG

from marble_images.assets.changed_files import changed_files
from marble_images.days import ZONE, day_of
from marble_images.settings import Settings

TRIGGER_TAG = "marble/trigger"
"""Tag that says what began a run: ``daily``, ``command``, ``backfill`` or ``person``."""

COMMAND = "command"
"""The trigger of ``marble-images run``."""

_PRIORITIES = {"daily": 1, "backfill": -1}


def tags_of(trigger: str) -> dict[str, str]:
    """The tags of a run that something began: the day's go before backfills when runs wait in a queue."""
    return {TRIGGER_TAG: trigger, PRIORITY_TAG: str(_PRIORITIES.get(trigger, 0))}


_settings = Settings.load()

changed_files_job = dg.define_asset_job(
    "changed_files_job",
    selection=dg.AssetSelection.assets(changed_files),
    description="Asks AppSync which image files changed on a day.",
)


@dg.schedule(
    job=changed_files_job,
    cron_schedule=f"{_settings.schedule_minute} {_settings.schedule_hour} * * *",
    execution_timezone=ZONE.key,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every day, by New York's clocks in winter and in summer; SCHEDULE_HOUR and SCHEDULE_MINUTE.",
)
def daily_changed_files(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Ask for the list of the day on which the schedule ticks."""
    Settings.load().require_pipeline()
    moment = context.scheduled_execution_time
    return dg.RunRequest(run_key=moment.isoformat(), partition_key=day_of(moment), tags=tags_of("daily"))
