"""What is no longer needed: partitions of files that AppSync forgot, old day lists, old reports of runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING

from marble_images.days import day_of
from marble_images.errors import FileError, MarbleImagesError, UnusableRecord
from marble_images.models import ChangedFile, fold_id
from marble_images.object_keys import PDF_SUFFIX, PYRAMID_SUFFIX
from marble_images.partitions import file_path_of
from marble_images.publishing import ImageBucket, object_key
from marble_images.state import StateStore

if TYPE_CHECKING:
    from marble_images.appsync import AppSyncQueue

EVERY_FILE = "9999"

_FEW = 20


class ListingTooShort(MarbleImagesError):
    """AppSync's listing lacks so many known files that it is not believed."""

    code = "listing-too-short"


@dataclass(frozen=True)
class Retirable:
    """What a listing says of the known partitions.

    Attributes
    ----------
    keys
        Partition keys of files that AppSync no longer knows: not in its listing, and no record when asked.
    listed
        Files in the listing.
    known
        Partitions looked at.
    """

    keys: list[str]
    listed: int
    known: int


@dataclass
class Removed:
    """What was removed."""

    partitions: list[str] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)
    day_lists: list[str] = field(default_factory=list)
    reports: dict[str, int] = field(default_factory=dict)
    alerts: list[str] = field(default_factory=list)


def find_retirable(
    keys: Sequence[str], queue: AppSyncQueue, *, most_fraction: float
) -> tuple[Retirable, list[ChangedFile]]:
    """Compare the known partitions with a listing of the whole queue.

    Parameters
    ----------
    keys
        All partition keys.
    queue
        AppSync; asked for all its files, and then for each that the listing lacks.
    most_fraction
        The largest share of the partitions that may be gone at once, once there are more than twenty.

    Returns
    -------
    Retirable, list
        What may be retired, and the files of the listing.

    Raises
    ------
    QueueError
        The listing failed.
    ListingTooShort
        It is empty, or lacks more than ``most_fraction`` of the known files.
    """
    listing = queue.list_files(processed_before=EVERY_FILE)
    named = {fold_id(file.file_path) for file in listing.files}
    named |= {fold_id(skipped.identifier) for skipped in listing.skipped}
    gone = {file_path_of(key): key for key in keys if fold_id(file_path_of(key)) not in named}
    too_many = len(gone) > _FEW and len(gone) > most_fraction * len(keys)
    if gone and (not listing.files or too_many):
        raise ListingTooShort(
            f"AppSync lists {len(listing.files)} files, and {len(gone)} of {len(keys)} known ones are not "
            "among them: that is not believed, and nothing was retired"
        )
    # A listing may be wrong about one file; the file's own record is not.
    records = queue.get_records(list(gone)) if gone else {}
    retirable = [key for path, key in gone.items() if records.get(path) is None]
    return Retirable(retirable, len(listing.files), len(keys)), listing.files


def objects_of(retired: Collection[str], kept: Collection[str]) -> list[str]:
    """The objects of retired files that belong to no file that is kept.

    Ids that differ in nothing but their extension share an object.

    Parameters
    ----------
    retired, kept
        File ids.
    """
    needed = {key for path in kept for key in _objects(path)}
    return sorted({key for path in retired for key in _objects(path)} - needed)


def _objects(path: str) -> list[str]:
    try:
        keys = [object_key(path, PYRAMID_SUFFIX)]
    except UnusableRecord:
        return []
    # Only what ends in .pdf surely has a copy; another program's PDF of that name is none of ours.
    return [*keys, object_key(path, PDF_SUFFIX)] if path.lower().endswith(PDF_SUFFIX) else keys


def remove_objects(keys: Sequence[str], images: ImageBucket, removed: Removed) -> dict[str, str]:
    """Delete objects; those that could not be deleted, with the reason."""
    failed: dict[str, str] = {}
    for key in keys:
        try:
            images.delete(key)
            removed.objects.append(images.uri(key))
        except FileError as error:
            failed[key] = error.reason
    return failed


def prune(store: StateStore, *, days_kept: int, now: datetime, removed: Removed) -> None:
    """Delete the lists, the reports of runs and the alert marks of days that are too long ago.

    Raises
    ------
    StateError
        The state bucket failed.
    """
    today = date.fromisoformat(day_of(now.astimezone(timezone.utc)))
    oldest = (today - timedelta(days=days_kept)).isoformat()
    for day in [day for day in store.list_days() if day < oldest]:
        written = store.describe_day(day)
        # A backfill of old days makes lists anew: they are old when they were written long ago.
        if written is not None and written.written[:10] >= oldest:
            continue
        store.delete_day(day)
        removed.day_lists.append(day)
    for day in [day for day in store.list_report_days() if day < oldest]:
        removed.reports[day] = store.delete_run_reports(day)
    for day in [day for day in store.list_alerted() if day < oldest]:
        store.forget_alert(day)
        removed.alerts.append(day)


def report(removed: Removed, kept_busy: int, failed: Mapping[str, str]) -> str:
    """One line: what was removed."""
    parts = [
        f"{len(removed.partitions)} partitions retired",
        f"{kept_busy} kept as runs need them",
        f"{len(removed.objects)} objects deleted",
        f"{len(removed.day_lists)} day lists",
        f"{sum(removed.reports.values())} reports of runs deleted",
    ]
    return "; ".join([*parts, f"{len(failed)} objects could not be deleted"] if failed else parts)
