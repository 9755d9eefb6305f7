"""The data that moves through the pipeline; plain values, no I/O."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Any

from marble_images.errors import UnsupportedSourceType, UnusableRecord


class SourceType(str, Enum):
    """Where a file comes from: the values of ``sourceType`` in the queue's records."""

    S3 = "S3"
    URI = "Uri"
    CURATE = "Curate"
    MUSEUM = "Museum"


_NOT_COPYRIGHTED = ("public domain", "no copyright", "not in copyright", "out of copyright")


def fold_id(text: str) -> str:
    """The form in which AppSync's table compares ids: upper-cased, blanks removed."""
    return text.upper().replace(" ", "")


def parse_queue_date(text: str | None) -> datetime | None:
    """A date of the queue as an aware UTC ``datetime``; dates without a zone are UTC.

    Returns ``None`` for a missing date and for text that is no ISO 8601 date.
    """
    if not text:
        return None
    cleaned = text.strip().replace("Z", "+00:00").replace("z", "+00:00")
    try:
        parsed = datetime.fromisoformat(_pad_fraction(cleaned))
        return parsed.astimezone(timezone.utc) if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)
    except (ValueError, OverflowError):
        # In UTC, the first and the last day that Python knows may lie beyond them.
        return None


def _pad_fraction(text: str) -> str:
    # Python 3.10 reads fractions of 3 or 6 digits only.
    head, dot, tail = text.partition(".")
    if not dot:
        return text
    digits = len(tail) - len(tail.lstrip("0123456789"))
    return f"{head}.{tail[:digits][:6]:0<6}{tail[digits:]}"


@dataclass(frozen=True)
class ChangedFile:
    """One record of the queue, as far as the pipeline uses it.

    Field names are the queue's, in Python's spelling; every one may be missing but ``file_path``.
    ``file_path`` is the file's identity: the partition is named after it and AppSync is asked by it.
    """

    file_path: str
    source_type: str | None = None
    source_bucket_name: str | None = None
    source_file_path: str | None = None
    source_uri: str | None = None
    copyright_status: str | None = None
    date_added_to_dynamo: str | None = None
    date_last_processed: str | None = None
    e_tag: str | None = None
    md5_checksum: str | None = None
    mime_type: str | None = None
    modified_date: str | None = None
    height: int | None = None
    width: int | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> ChangedFile:
        """Read a ``FileToProcess`` as GraphQL gives it.

        Raises
        ------
        UnusableRecord
            It has neither a ``filePath`` nor an ``id``.
        """
        file_path = _text(record.get("filePath")) or _text(record.get("id"))
        if file_path is None or not file_path.strip():
            raise UnusableRecord("the record has neither a filePath nor an id")
        values: dict[str, Any] = {name: _text(record.get(_graphql_name(name))) for name in _FIELDS}
        values |= {
            "file_path": file_path,
            "height": _int(record.get("height")),
            "width": _int(record.get("width")),
        }
        return cls(**values)

    @classmethod
    def from_json(cls, line: str) -> ChangedFile:
        """Read one line of a stored day's list."""
        stored = json.loads(line)
        return cls(**{name: stored.get(name) for name in _FIELDS})

    def to_json(self) -> str:
        """One line of a stored day's list; missing fields are left out."""
        return json.dumps({k: v for k, v in asdict(self).items() if v is not None}, sort_keys=True)

    @property
    def waiting(self) -> bool:
        """Whether the file waits for processing: it was not processed since it last changed."""
        return not self.date_last_processed

    @property
    def changed_at(self) -> datetime | None:
        """The moment the change was noticed, UTC."""
        return parse_queue_date(self.date_added_to_dynamo)

    @property
    def copyrighted(self) -> bool:
        """Whether the pyramid must fit the copyright box."""
        status = (self.copyright_status or "").casefold()
        return "copyright" in status and not any(words in status for words in _NOT_COPYRIGHTED)

    @property
    def source(self) -> SourceType:
        """The kind of source.

        Raises
        ------
        UnsupportedSourceType
            ``sourceType`` is missing or of another value; the message names it.
        """
        try:
            return SourceType(self.source_type)
        except ValueError:
            named = repr(self.source_type) if self.source_type else "missing"
            raise UnsupportedSourceType(f"the record's sourceType is {named}") from None

    @property
    def revision(self) -> tuple[str | None, ...]:
        """What differs when the record was rewritten because its source changed."""
        return (
            self.date_added_to_dynamo,
            self.e_tag,
            self.md5_checksum,
            self.source_type,
            self.source_bucket_name,
            self.source_file_path,
            self.source_uri,
        )

    @property
    def fingerprint(self) -> str:
        """The source's state as the record tells it: 32 hexadecimal digits of a SHA-256.

        The moment of the change is part of it: many records carry no checksum, and a rewritten record
        must never be taken for the one that its pyramid was made from.
        """
        text = json.dumps([*self.revision, self.modified_date])
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    @property
    def is_pdf(self) -> bool:
        """Whether a name of the file says that it is a PDF; its content may say so too."""
        names = (self.file_path, self.source_file_path, (self.source_uri or "").partition("?")[0])
        return any(name is not None and name.lower().endswith(".pdf") for name in names)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _int(value: object) -> int | None:
    try:
        return None if value is None else int(str(value))
    except ValueError:
        return None


def _graphql_name(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


_FIELDS = tuple(f.name for f in fields(ChangedFile))

GRAPHQL_FIELDS = ("id", *(_graphql_name(name) for name in _FIELDS))
"""The GraphQL fields that the pipeline asks for, and no others: ``size`` cannot always be served."""


@dataclass(frozen=True)
class SourceFile:
    """A source file on disk, complete and checked.

    Attributes
    ----------
    path
        Where it lies; deleted when its file is done.
    size
        Bytes.
    sha256
        Hexadecimal SHA-256 of the bytes.
    address
        Where it came from, fit to be shown: no credentials, no query.
    etag, content_type
        As the source said, if it did.
    """

    path: Path
    size: int
    sha256: str
    address: str
    etag: str | None = None
    content_type: str | None = None


class Outcome(str, Enum):
    """How a run ended for one file; their counts add up to the files listed."""

    MADE = "made"
    CURRENT = "current"
    REMOVED = "removed"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    LEFT = "left"


@dataclass(frozen=True)
class FileReport:
    """What happened to one file in one run.

    Attributes
    ----------
    code, reason, detail
        Of a file that was not made: the error's code, one line for people, and what an engineer needs.
    sha256
        Of the pyramid; only of one that this run made.
    copyrighted
        Whether the pyramid must fit the copyright box.
    seconds
        Wall time by phase: ``fetch``, ``wait``, ``convert``, ``validate``, ``upload``, ``mark``.
    """

    file_path: str
    outcome: Outcome
    source_type: str | None = None
    address: str | None = None
    code: str | None = None
    reason: str | None = None
    detail: str | None = None
    width: int | None = None
    height: int | None = None
    levels: int | None = None
    tile_size: int | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    uri: str | None = None
    profile: str | None = None
    sha256: str | None = None
    source_sha256: str | None = None
    copyrighted: bool = False
    fingerprint: str | None = None
    warnings: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    thumbnail: bytes | None = None
