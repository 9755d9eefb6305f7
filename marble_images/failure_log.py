"""Why files wait: one small JSON object for each file whose last try failed.

A file whose source fails again and again in a way that another try cannot mend is *quarantined*: daily
runs pass over it until its source changes. Files that never fail cost nothing: what is on record is
listed once, and only those few are read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from functools import lru_cache
from typing import Protocol

from marble_images.errors import FileError, one_line, with_subclasses
from marble_images.models import ChangedFile, fold_id
from marble_images.state_bucket import StateBucket

_log = logging.getLogger(__name__)

QUARANTINE_AFTER = 3
"""Failures in a row, of one unchanged source and beyond mending, after which a file is quarantined."""

_FOLDER = "failures/"
_READERS = 8


class Failed(Protocol):
    """What is known of a failure: a ``FileError`` or the ``FileReport`` of a file that failed."""

    @property
    def code(self) -> str | None:
        """The error's code."""

    @property
    def reason(self) -> str | None:
        """One line."""


@dataclass(frozen=True)
class FailureEntry:
    """The failures in a row of one file, with the source as it is.

    Attributes
    ----------
    fingerprint
        Of the source that failed.
    code, reason
        Of the last failure; of a quarantined file, of the last that counted towards its quarantine.
    failures
        In a row, of all kinds.
    unmendable
        In a row, up to the last, of the kinds that count towards quarantine.
    first_failed, last_failed
        UTC, ISO 8601.
    settings
        Those that decided the last failure that counted, with their values; empty if none does.
    """

    file_path: str
    fingerprint: str
    code: str
    reason: str
    failures: int
    unmendable: int
    first_failed: str
    last_failed: str
    settings: str = ""

    @property
    def quarantined(self) -> bool:
        """Whether the source, as it was when it failed, is set aside."""
        return self.unmendable >= QUARANTINE_AFTER

    @classmethod
    def from_json(cls, stored: bytes) -> FailureEntry:
        """Read a stored entry.

        Raises
        ------
        KeyError, TypeError, ValueError
            It is none.
        """
        values = {"settings": ""} | json.loads(stored)
        texts = {f.name: str(values[f.name]) for f in fields(cls) if f.type == "str"}
        return cls(**texts, failures=int(values["failures"]), unmendable=int(values["unmendable"]))

    def to_json(self) -> bytes:
        """How it is stored."""
        values = {**asdict(self), "quarantined": self.quarantined}
        return json.dumps(values, indent=1, sort_keys=True).encode("ascii")


class FailureLog:
    """The failures on record; safe to use from many threads.

    What is on record is listed at the first question, so one object serves one run or one page view.
    Failures that another process records meanwhile are seen when they are written over.

    Parameters
    ----------
    settings
        The values of the settings that decide failures, by name. A quarantine for a reason that one of them
        decides ends when it changes: the file gets one more try, and is set aside again if that fails.
    """

    def __init__(self, bucket: StateBucket, settings: Mapping[str, str] | None = None) -> None:
        self._bucket = bucket
        self._settings = dict(settings or {})
        self._lock = threading.Lock()
        self._names: set[str] | None = None
        self._entries: dict[str, FailureEntry | None] = {}

    def get(self, file_path: str) -> FailureEntry | None:
        """The file's failures, whatever source they were of, or ``None``."""
        name = _name(file_path)
        if name not in self._on_record():
            return None
        if name not in self._entries:
            self._entries[name] = self._read(name)
        return self._entries[name]

    def quarantined(self, file: ChangedFile) -> FailureEntry | None:
        """Why the file is quarantined, or ``None`` if it is not or its source has changed since."""
        entry = self.get(file.file_path)
        if entry is None or not entry.quarantined or entry.fingerprint != file.fingerprint:
            return None
        return entry

    def on_record(self, files: Iterable[ChangedFile]) -> dict[str, FailureEntry]:
        """The failures of those files that have any with their present source, by ``file_path``."""
        known = self._on_record()
        asked = [file for file in files if _name(file.file_path) in known]
        with ThreadPoolExecutor(_READERS) as readers:
            entries = readers.map(lambda file: self.get(file.file_path), asked)
            return {
                file.file_path: entry
                for file, entry in zip(asked, entries, strict=True)
                if entry is not None and entry.fingerprint == file.fingerprint
            }

    def record(self, file: ChangedFile, failure: Failed) -> FailureEntry:
        """Add a failure to the file's.

        Failures in a row are of one source: a changed fingerprint begins anew. A failure that may pass
        ends the row that leads to quarantine, but says nothing against a quarantine that stands.
        """
        name = _name(file.file_path)
        self._on_record()
        before = self._read(name)
        entry = _added(before, file, failure, self._deciding(failure.code))
        self._bucket.write(name, entry.to_json(), content_type="application/json")
        with self._lock:
            assert self._names is not None
            self._names.add(name)
            self._entries[name] = entry
        return entry

    def clear(self, file_path: str) -> None:
        """Forget the file's failures; costs nothing if it has none."""
        name = _name(file_path)
        if name not in self._on_record():
            return
        self._bucket.delete(name)
        with self._lock:
            assert self._names is not None
            self._names.discard(name)
            self._entries.pop(name, None)

    def list_all(self) -> list[FailureEntry]:
        """All failures on record, as they are stored now, sorted by ``file_path``."""
        names = list(self._bucket.names(_FOLDER))
        with ThreadPoolExecutor(_READERS) as readers:
            found = [entry for entry in readers.map(self._read, names) if entry is not None]
        return sorted(found, key=lambda entry: entry.file_path)

    def _on_record(self) -> set[str]:
        with self._lock:
            if self._names is None:
                self._names = set(self._bucket.names(_FOLDER))
            return self._names

    def _read(self, name: str) -> FailureEntry | None:
        stored = self._bucket.read(name)
        if stored is None:
            return None
        try:
            return self._as_of_now(FailureEntry.from_json(stored))
        except (KeyError, TypeError, ValueError) as error:
            # It only delays a quarantine; refusing to go on would cost the whole run.
            _log.warning("%s is no failure entry and is passed over: %r", self._bucket.uri(name), error)
            return None

    def _as_of_now(self, entry: FailureEntry) -> FailureEntry:
        if not entry.quarantined or entry.settings == self._deciding(entry.code):
            return entry
        return replace(entry, unmendable=QUARANTINE_AFTER - 1)

    def _deciding(self, code: str | None) -> str:
        names = _deciding_settings().get(code or "", ())
        return ", ".join(f"{name.upper()}={self._settings.get(name, '')}" for name in names)


def _added(before: FailureEntry | None, file: ChangedFile, failure: Failed, settings: str) -> FailureEntry:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    code, reason = failure.code or FileError.code, one_line(failure.reason or "no reason was given")
    counts = code in quarantining_codes()
    if before is None or before.fingerprint != file.fingerprint:
        return FailureEntry(
            file.file_path, file.fingerprint, code, reason, 1, int(counts), now, now, settings
        )
    row = replace(before, file_path=file.file_path, failures=before.failures + 1, last_failed=now)
    if counts:
        return replace(row, code=code, reason=reason, unmendable=before.unmendable + 1, settings=settings)
    if before.quarantined:
        return row
    return replace(row, code=code, reason=reason, unmendable=0, settings=settings)


@lru_cache(maxsize=1)
def quarantining_codes() -> frozenset[str]:
    """The codes of the errors that count towards quarantine, from the tree in ``errors``."""
    return frozenset(error.code for error in with_subclasses(FileError) if error.quarantine)


@lru_cache(maxsize=1)
def _deciding_settings() -> Mapping[str, tuple[str, ...]]:
    return {error.code: error.settings for error in with_subclasses(FileError) if error.settings}


def deciding_settings() -> frozenset[str]:
    """The names of the settings that decide failures, from the tree in ``errors``."""
    return frozenset(name for names in _deciding_settings().values() for name in names)


def _name(file_path: str) -> str:
    folded = fold_id(file_path).encode("utf-8", "surrogatepass")
    return f"{_FOLDER}{hashlib.sha256(folded).hexdigest()}.json"
