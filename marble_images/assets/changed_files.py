"""The list of a day's changed files: one listing of the queue, split by day."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import dagster as dg
from pydantic import Field

from marble_images.appsync_listing import Listing
from marble_images.clear_failures import clear_failures
from marble_images.day_lists import split_by_day
from marble_images.days import ZONE, day_bounds, day_of
from marble_images.models import ChangedFile
from marble_images.object_keys import key_collisions
from marble_images.partitions import IMAGE_FILES, daily_partitions, partition_key
from marble_images.resources import AppSyncResource, StateResource
from marble_images.settings import Settings
from marble_images.state import FailureEntry, StateStore

_EVERY_FILE = "9999"
_ROWS_SHOWN = 100


def _an_hour_after_the_schedule() -> tuple[int, int]:
    settings = Settings.load()
    return (settings.schedule_hour + 1) % 24, settings.schedule_minute


LIST_DEADLINE = _an_hour_after_the_schedule()
"""Hour and minute, in New York, by which the day's list is made: 6:30 with the schedule at 5:30."""


class ChangedFilesConfig(dg.Config):
    """What a person may choose when making a day's list by hand."""

    remake: bool = Field(
        default=False,
        description="Make the pyramids of the listed files again, also those that are current.",
    )


@dg.asset(
    partitions_def=daily_partitions(Settings.load().first_day),
    backfill_policy=dg.BackfillPolicy.single_run(),
    io_manager_key="day_lists",
    group_name="marble_images",
    kinds={"graphql", "json"},
    owners=["team:digital-collections"],
    tags={"source": "appsync"},
    code_version="1",
    freshness_policy=dg.FreshnessPolicy.cron(
        deadline_cron=f"{LIST_DEADLINE[1]} {LIST_DEADLINE[0]} * * *",
        lower_bound_delta=timedelta(hours=2),
        timezone=ZONE.key,
    ),
)
def changed_files(
    context: dg.AssetExecutionContext,
    config: ChangedFilesConfig,
    appsync: AppSyncResource,
    state: StateResource,
) -> dict[str, list[ChangedFile]]:
    """The image files that changed on a day, and those that still wait from before its end.

    AppSync is asked once a run, however many days the run covers. Today's list asks for waiting files only;
    a day in the past asks for every file, because its files may have been processed since. Making the list
    adds a partition of `pyramid_tiffs` for every file that is new; the sensor then asks for their pyramids.
    """
    with clear_failures():
        return _make_lists(context, config, appsync, state)


def _make_lists(
    context: dg.AssetExecutionContext,
    config: ChangedFilesConfig,
    appsync: AppSyncResource,
    state: StateResource,
) -> dict[str, list[ChangedFile]]:
    days = sorted(context.partition_keys)
    store = state.store()
    today = day_of(datetime.now(timezone.utc))
    only_waiting = days == [today]
    listing = appsync.queue().list_files(processed_before=None if only_waiting else _EVERY_FILE)
    lists = split_by_day(listing.files, days)
    known = set(context.instance.get_dynamic_partitions(IMAGE_FILES))
    listed = {file.file_path for files in lists.values() for file in files}
    new = sorted(path for path in listed if partition_key(path) not in known)
    context.instance.add_dynamic_partitions(IMAGE_FILES, [partition_key(path) for path in new])
    for skipped in listing.skipped:
        context.log.warning("skipped %s: %s", skipped.identifier, skipped.reason)
    for key, paths in key_collisions(listed).items():
        context.log.warning("%s would be the pyramid of each of %s: the last one made stays", key, paths)
    for day, files in lists.items():
        metadata = _metadata(day, files, listing, store) | {"remake": config.remake}
        context.add_asset_metadata(metadata, partition_key=day)
    context.log.info("%d files listed for %d days; %d are new", len(listing.files), len(days), len(new))
    return lists


def _metadata(day: str, files: Sequence[ChangedFile], listing: Listing, store: StateStore) -> dict[str, Any]:
    start, _ = day_bounds(day)
    failures = store.failures_of(files)
    by_source = Counter(file.source_type or "none" for file in files)
    waiting_from_before = sum(
        1 for file in files if file.waiting and (file.changed_at is None or file.changed_at < start)
    )
    return {
        "files": dg.MetadataValue.int(len(files)),
        "files by source": dg.MetadataValue.json(dict(by_source)),
        "waiting from before": waiting_from_before,
        "quarantined": sum(1 for entry in store.failures_of(files).values() if entry.quarantined),
        "skipped": dg.MetadataValue.int(len(listing.skipped)),
        "skipped records": dg.MetadataValue.json(
            [{"record": s.identifier, "reason": s.reason} for s in listing.skipped[:_ROWS_SHOWN]]
        ),
        "AppSync pages": listing.pages,
        "AppSync seconds": round(listing.seconds, 3),
        "list": dg.MetadataValue.url(store.day_uri(day)),
        "failed before": len(failures),
        "first files": _table(files[:_ROWS_SHOWN], failures),
    }


def _table(files: Sequence[ChangedFile], failures: Mapping[str, FailureEntry]) -> dg.TableMetadataValue:
    columns = ("file", "source", "changed", "state", "last failure")
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord(
                {
                    "file": file.file_path,
                    "source": file.source_type or "",
                    "changed": file.date_added_to_dynamo or "",
                    "state": "waiting" if file.waiting else f"processed {file.date_last_processed}",
                    "last failure": _said(failures.get(file.file_path)),
                }
            )
            for file in files
        ],
        schema=dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in columns]),
    )


def _said(failure: FailureEntry | None) -> str:
    if failure is None:
        return ""
    return f"{failure.reason}{' (set aside)' if failure.quarantined else ''}"
