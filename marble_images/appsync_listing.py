"""The pages of a listing of the queue, put together: one file a record, and what was left out and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from marble_images.errors import QueueError, UnusableRecord
from marble_images.models import ChangedFile, fold_id


@dataclass(frozen=True)
class SkippedRecord:
    """A record of the listing that names no file of its own.

    Attributes
    ----------
    identifier
        Its id, or its place in the listing when it has none.
    reason
        One line.
    """

    identifier: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """The whole answer to one listing.

    Attributes
    ----------
    files
        One for each record, in AppSync's order.
    skipped
        The records that are not among them, and why.
    pages
        Requests that were answered.
    seconds
        Wall time, retries included.
    """

    files: list[ChangedFile]
    skipped: list[SkippedRecord]
    pages: int
    seconds: float


@dataclass
class Gathered:
    """What the pages of a listing have brought so far, one file an id."""

    files: dict[str, ChangedFile] = field(default_factory=dict)
    skipped: list[SkippedRecord] = field(default_factory=list)

    def add(self, items: Sequence[object], *, page: int) -> bool:
        """Take in one page; tells whether it brought a new file."""
        before = len(self.files)
        for number, item in enumerate(items, start=1):
            place = f"page {page}, item {number}"
            if not isinstance(item, dict):
                self._skip(place, "the listing has null in the place of a record")
                continue
            try:
                self._add_file(ChangedFile.from_record(item))
            except UnusableRecord as error:
                self._skip(place, error.reason)
        return len(self.files) > before

    def _add_file(self, file: ChangedFile) -> None:
        folded = fold_id(file.file_path)
        known = self.files.setdefault(folded, file)
        if known is file:
            return
        kept, dropped = (file, known) if _newer(file, known) else (known, file)
        self.files[folded] = kept
        self._skip(dropped.file_path, f"AppSync keeps it as one record with {kept.file_path!r}, listed too")

    def _skip(self, identifier: str, reason: str) -> None:
        self.skipped.append(SkippedRecord(identifier, reason))


def _newer(one: ChangedFile, other: ChangedFile) -> bool:
    if one.changed_at is None or other.changed_at is None:
        return other.changed_at is None and one.changed_at is not None
    return one.changed_at > other.changed_at


def read_page(answer: Mapping[str, Any]) -> tuple[list[object], str | None]:
    connection = answer.get("listFilesToProcess")
    if not isinstance(connection, dict) or "items" not in connection:
        raise QueueError("AppSync answered the listing without a list of items")
    # The schema lets the list be null: with no errors beside it, that is a page without records.
    items = [] if connection["items"] is None else connection["items"]
    if not isinstance(items, list):
        raise QueueError("AppSync answered the listing without a list of items")
    token = connection.get("nextToken")
    if token is not None and not isinstance(token, str):
        raise QueueError("AppSync answered the listing with a nextToken that is no text")
    return items, token
