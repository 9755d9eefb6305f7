"""A weekly job that removes what nobody needs any more, and says what it removed."""

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)
from pydantic import Field

from marble_images.days import ZONE
from marble_images.errors import MarbleImagesError
from marble_images.housekeeping import (
    Removed,
    find_retirable,
    objects_of,
    prune,
    remove_objects,
    report,
)
from marble_images.models import ChangedFile
from marble_images.partitions import IMAGE_FILES, file_path_of
from marble_images.resources import AppSyncResource, ImageBucketResource, StateResource
from marble_images.settings import Settings
from marble_images.state import StateStore

_NOT_ENDED = [
    status
    for status in DagsterRunStatus
    if status not in (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
]
_BACKFILLS_AT_WORK = (BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING)
_NAMED = 1000
_LONGEST = timedelta(hours=6)


class HousekeepingConfig(dg.Config):
    """What a person may choose when keeping house by hand; the defaults are the weekly run's."""

    dry_run: bool = Field(default=False, description="Only say what would be retired; remove nothing.")
    most_fraction: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="The largest share of the known files that AppSync may have forgotten at once.",
    )


@dg.op(
    out=dg.Out(dg.Nothing),
    description="Retires partitions of files that AppSync no longer knows; prunes old lists and reports.",
)
def keep_house(
    context: dg.OpExecutionContext,
    config: HousekeepingConfig,
    appsync: AppSyncResource,
    image_bucket: ImageBucketResource,
    state: StateResource,
) -> None:
    """Remove what is no longer needed, and nothing that a run in flight needs."""
    try:
        _keep_house(context, config, appsync, image_bucket, state)
    except MarbleImagesError as error:
        raise dg.Failure(
            description=error.reason, metadata={"detail": error.detail or ""}, allow_retries=False
        ) from None


def _keep_house(
    context: dg.OpExecutionContext,
    config: HousekeepingConfig,
    appsync: AppSyncResource,
    image_bucket: ImageBucketResource,
    state: StateResource,
) -> None:
    other = _under_way(context)
    if other is not None:
        context.log.warning("nothing was done: the run %s keeps house already", other)
        context.add_output_metadata({"summary": f"nothing was done: the run {other} keeps house already"})
        return
    settings = Settings.load()
    store = state.store()
    keys = list(context.instance.get_dynamic_partitions(IMAGE_FILES))
    found, listed = find_retirable(keys, appsync.queue(), most_fraction=config.most_fraction)
    busy = keys_in_flight(context.instance, keys)
    retire = [key for key in found.keys if key not in busy]
    removed, failed = Removed(partitions=retire), {}
    if not config.dry_run:
        _retire(context.instance, retire, store)
        for key in sorted(set(retire) & keys_in_flight(context.instance, keys)):
            context.log.warning(
                "a run asked for %s as it was retired: its file comes with the next list", key
            )
        if settings.remove_retired_pyramids:
            gone = set(retire)
            kept = _kept(listed, [key for key in keys if key not in gone])
            objects = objects_of([file_path_of(key) for key in retire], kept)
            failed = remove_objects(objects, image_bucket.images(), removed)
        prune(store, days_kept=settings.day_lists_kept, now=datetime.now(timezone.utc), removed=removed)
    said = report(removed, len(found.keys) - len(retire), failed)
    context.log.info("dry run, nothing was removed: %s" if config.dry_run else "%s", said)
    context.add_output_metadata(_metadata(said, removed, failed, found.listed, found.known))
    if failed:
        raise dg.Failure(description=said, allow_retries=False)


def _under_way(context: dg.OpExecutionContext) -> str | None:
    """The run that keeps house already: of several, the one whose id comes first goes on."""
    # One that was started longer ago was killed, and nobody has told Dagster.
    since = datetime.now(timezone.utc) - _LONGEST
    filters = RunsFilter(job_name=context.job_name, statuses=[DagsterRunStatus.STARTED], created_after=since)
    return min(
        (run.run_id for run in context.instance.get_runs(filters) if run.run_id < context.run_id),
        default=None,
    )


def _kept(listed: Sequence[ChangedFile], keys: Sequence[str]) -> set[str]:
    return {file.file_path for file in listed} | {file_path_of(key) for key in keys}


def _retire(instance: dg.DagsterInstance, keys: Sequence[str], store: StateStore) -> None:
    for key in keys:
        instance.delete_dynamic_partition(IMAGE_FILES, key)
        store.clear(file_path_of(key))


def keys_in_flight(instance: dg.DagsterInstance, keys: Sequence[str]) -> set[str]:
    """The partition keys that queued and running runs need; all of them while a backfill is at work.

    Parameters
    ----------
    instance
        Has the runs.
    keys
        All keys, in the order of ranges.
    """
    if any(instance.get_backfills(status=status, limit=1) for status in _BACKFILLS_AT_WORK):
        return set(keys)
    positions = {key: position for position, key in enumerate(keys)}
    busy: set[str] = set()
    for run in instance.get_runs(RunsFilter(statuses=_NOT_ENDED)):
        one = run.tags.get(PARTITION_NAME_TAG)
        first, last = (
            run.tags.get(ASSET_PARTITION_RANGE_START_TAG),
            run.tags.get(ASSET_PARTITION_RANGE_END_TAG),
        )
        if one in positions:
            busy.add(one)
        if first in positions and last in positions:
            busy.update(keys[positions[first] : positions[last] + 1])
    return busy


def _metadata(
    said: str, removed: Removed, failed: dict[str, str], listed: int, known: int
) -> dict[str, dg.MetadataValue | str | int]:
    return {
        "summary": said,
        "files that AppSync lists": listed,
        "partitions before": known,
        "partitions retired": len(removed.partitions),
        "retired files": dg.MetadataValue.json([file_path_of(key) for key in removed.partitions[:_NAMED]]),
        "objects deleted": dg.MetadataValue.json(removed.objects[:_NAMED]),
        "objects not deleted": dg.MetadataValue.json(failed),
        "day lists deleted": dg.MetadataValue.json(removed.day_lists),
        "reports of runs deleted": dg.MetadataValue.json(removed.reports),
    }


@dg.job(
    description=(
        "Retires the partitions of files that AppSync no longer knows, unless a run needs them, and deletes "
        "day lists and reports older than DAY_LISTS_KEPT days. Pyramids stay, unless "
        "REMOVE_RETIRED_PYRAMIDS is set."
    )
)
def housekeeping_job() -> None:
    """Keep house."""
    keep_house()


weekly_housekeeping = dg.ScheduleDefinition(
    name="weekly_housekeeping",
    job=housekeeping_job,
    cron_schedule="0 13 * * 0",
    execution_timezone=ZONE.key,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every Sunday afternoon, long after the day's runs.",
)
