"""Which files belong to which day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from marble_images.days import day_bounds
from marble_images.models import ChangedFile


def split_by_day(files: Iterable[ChangedFile], days: Sequence[str]) -> dict[str, list[ChangedFile]]:
    """Each day's list: the files that changed on it, and those that still wait from before its end.

    Parameters
    ----------
    files
        A listing of the queue, in any order.
    days
        Partition keys ``YYYY-MM-DD``.

    Returns
    -------
    dict
        For every day its files, sorted by id, so that the files of one object sit together.
    """
    bounds = {day: day_bounds(day) for day in days}
    lists: dict[str, list[ChangedFile]] = {day: [] for day in days}
    for file in sorted(files, key=lambda file: file.file_path):
        changed_at = file.changed_at
        for day, (start, end) in bounds.items():
            # A record without a readable date waits from before, as far as anybody can tell.
            changed_that_day = changed_at is not None and start <= changed_at < end
            still_waits = file.waiting and (changed_at is None or changed_at < end)
            if changed_that_day or still_waits:
                lists[day].append(file)
    return lists
