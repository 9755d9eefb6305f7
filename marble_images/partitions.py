"""The two ways in which the pipeline's assets are cut: by day, and by image file.

Partition keys of image files are file ids in a form that every part of Dagster takes. The UI does not add
keys with commas, brackets or blanks, reads ``...`` as the middle of a range, and shows control characters
as nothing; so all but the plain characters are percent-encoded, reversibly. An ordinary id is its own key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import unquote_to_bytes

import dagster as dg

from marble_images.days import DEFAULT_FIRST_DAY, ZONE

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
