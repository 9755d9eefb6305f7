"""The two ways in which the pipeline's assets are cut: by day, and by image file.

Partition keys of image files are file ids in a form that every part of Dagster takes. The UI does not add
keys with commas, brackets or blanks, reads ``...`` as the middle of a range, and shows control characters
as nothing; so all but the plain characters are percent-encoded, reversibly. An ordinary id is its own key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from urllib.parse import unquote_to_bytes
from zoneinfo import ZoneInfo

import dagster as dg

ZONE = ZoneInfo("America/New_York")
"""The zone in which a day begins and the schedule's hour is meant."""

DEFAULT_FIRST_DAY = "2021-01-01"
"""When the queue began."""

IMAGE_FILES = "image_files"
"""The name of the dynamic partitions: one a file."""

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/_-.~+=@")


def daily_partitions(first_day: str = DEFAULT_FIRST_DAY) -> dg.DailyPartitionsDefinition:
    """One partition a day from ``first_day`` on, today's included while it lasts."""
    return dg.DailyPartitionsDefinition(start_date=first_day, timezone=ZONE.key, end_offset=1)


image_file_partitions = dg.DynamicPartitionsDefinition(name=IMAGE_FILES)


def partition_key(file_path: str) -> str:
    """The partition key of a file id.

    The identity for ids of ASCII letters, digits and ``/ _ - . ~ + = @`` and of letters of other scripts;
    all else is percent-encoded as UTF-8, and so are dots that stand side by side or at either end, which
    would read as part of a range ``[first...last]``.
    """
    return "".join(_encoded(file_path, i) for i in range(len(file_path)))


def _encoded(text: str, i: int) -> str:
    char = text[i]
    if char == ".":
        alone = 0 < i < len(text) - 1 and text[i - 1] != "." and text[i + 1] != "."
        return char if alone else "%2E"
    if char in _PLAIN or (char > "\x7f" and char.isalnum()):
        return char
    # Lone surrogates are no text, but JSON can carry them: they must come back as they were.
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))


def file_path_of(key: str) -> str:
    """The file id that a partition key stands for; the inverse of :func:`partition_key`."""
    return unquote_to_bytes(key).decode("utf-8", "surrogatepass")


def day_of(moment: datetime) -> str:
    """The partition key of the day, in :data:`ZONE`, in which an aware ``moment`` falls."""
    return moment.astimezone(ZONE).date().isoformat()


def day_bounds(day: str) -> tuple[datetime, datetime]:
    """First moment of a day and of the next, both aware; 23 to 25 hours apart."""
    first = date.fromisoformat(day)
    return (
        datetime.combine(first, time(), tzinfo=ZONE),
        datetime.combine(first + timedelta(days=1), time(), tzinfo=ZONE),
    )


def contiguous_runs(
    wanted: Iterable[str], positions: Mapping[str, int], longest: int
) -> Iterator[Sequence[str]]:
    """Group keys into runs of neighbours, so that a range of Dagster's covers them and no other key.

    Parameters
    ----------
    wanted
        Partition keys; those without a position are passed over.
    positions
        Each known key's place in the order of insertion, which is the order that ranges follow.
    longest
        The most keys in one run.
    """
    run: list[str] = []
    for key in sorted({key for key in wanted if key in positions}, key=positions.__getitem__):
        if run and (len(run) >= longest or positions[key] != positions[run[-1]] + 1):
            yield run
            run = []
        run.append(key)
    if run:
        yield run


def is_day(text: str) -> bool:
    """Whether ``text`` is a date in the form of the daily partition keys."""
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
