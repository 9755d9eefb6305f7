"""What the pipeline keeps between runs: day lists, reports of runs, and the failures on record.

All of it lies under one prefix of a bucket of its own, as JSON that people and other programs can read::

    days/2026-11-23.json                 which list is the day's, and what was known when it was made
    days/2026-11-23/<version>.jsonl      a list, one file a line; never overwritten with another
    failures/<sha256 of the id>.json     a file whose last try failed
    runs/2026-11-23/<run id>.json        how a run ended for each of its files
    removals/2026-11-23/<count>-<id>     how many files a run was about to remove from the queue
    alerts/2026-11-23.json               that the day's message was sent
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from marble_images.errors import StateError
from marble_images.failure_log import Failed, FailureEntry, FailureLog
from marble_images.models import ChangedFile
from marble_images.state_bucket import StateBucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["DayList", "FailureEntry", "StateStore"]

_REMOVALS_KEPT = timedelta(days=7)


@dataclass(frozen=True)
class DayList:
    """One materialization of a day's list.

    Attributes
    ----------
    day
        ``YYYY-MM-DD``.
    version
        Names the list by its content: 32 hexadecimal digits of a SHA-256.
    count
        Files in it.
    uri
        Where it lies.
    written
        UTC, ISO 8601.
    meta
        What its writer had to say of it.
    """

    day: str
    version: str
    count: int
    uri: str
    written: str
    meta: Mapping[str, Any] = field(default_factory=dict)


class StateStore:
    """The pipeline's state. May be used from many threads at once; make one for each run.

    Parameters
    ----------
    client
        A boto3 S3 client.
    bucket, prefix
        Where the state lies; never the public image bucket.
    settings
        As :class:`~marble_images.failure_log.FailureLog` takes them.

    Raises
    ------
    StateError
        From every method: the bucket does not exist, refuses access or fails, or what it holds is not
        what was written.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        prefix: str = "marble-images/",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._bucket = StateBucket(client, bucket, prefix)
        self._failures = FailureLog(self._bucket, settings)

    # --- day lists ---------------------------------------------------------------------------------

    def write_day(
        self, day: str, files: Iterable[ChangedFile], meta: Mapping[str, Any] | None = None
    ) -> DayList:
        """Keep a day's list, and make it the day's newest.

        A list is stored under its own version before the day points to it, so a reader finds the old
        list or the new one, whole, and who knows a version can read it later still.
        """
        lines = [file.to_json() for file in files]
        body = "".join(f"{line}\n" for line in lines).encode("ascii")
        version = _version(body)
        name = _list_name(day, version)
        self._bucket.write(name, body, content_type="application/x-ndjson")
        written = datetime.now(timezone.utc).isoformat(timespec="seconds")
        pointer = {"version": version, "count": len(lines), "written": written, "meta": dict(meta or {})}
        self._bucket.write_json(_day_name(day), pointer)
        return DayList(day, version, len(lines), self._bucket.uri(name), written, dict(meta or {}))

    def describe_day(self, day: str) -> DayList | None:
        """The day's newest list without its files, or ``None`` if there is none."""
        pointer = self._bucket.read_json(_day_name(day))
        if pointer is None:
            return None
        try:
            version, count, meta = str(pointer["version"]), int(pointer["count"]), dict(pointer["meta"])
            written = str(pointer["written"])
        except (KeyError, TypeError, ValueError):
            raise StateError(f"{self._bucket.uri(_day_name(day))} does not name a list") from None
        return DayList(day, version, count, self._bucket.uri(_list_name(day, version)), written, meta)

    def read_day(self, day: str, version: str | None = None) -> list[ChangedFile] | None:
        """A day's list, its newest or the one of a version; ``None`` if there is none."""
        if version is None:
            newest = self.describe_day(day)
            if newest is None:
                return None
            version = newest.version
        name = _list_name(day, version)
        body = self._bucket.read(name)
        if body is None:
            return None
        if _version(body) != version:
            raise StateError(f"{self._bucket.uri(name)} is not the list that was stored there")
        return [ChangedFile.from_json(line) for line in body.decode("ascii").splitlines()]

    def day_uri(self, day: str) -> str:
        """Where the object lies that names the day's newest list."""
        return self._bucket.uri(_day_name(day))

    def list_days(self) -> list[str]:
        """The days that have a list, sorted."""
        found = (re.fullmatch(r"days/([0-9-]{10})\.json", name) for name in self._bucket.names("days/"))
        return [match[1] for match in found if match]

    def delete_day(self, day: str) -> None:
        """Delete all lists of a day."""
        self._bucket.delete(_day_name(day))
        for name in list(self._bucket.names(f"days/{day}/")):
            self._bucket.delete(name)

    # --- failures on record ------------------------------------------------------------------------

    def quarantined(self, file: ChangedFile) -> FailureEntry | None:
        """Why a file is set aside, or ``None`` if it is to be tried; see ``FailureLog``."""
        return self._failures.quarantined(file)

    def failures_of(self, files: Iterable[ChangedFile]) -> dict[str, FailureEntry]:
        """The failures on record of files with their present source, by ``file_path``; reads at once."""
        return self._failures.on_record(files)

    def record_failure(self, file: ChangedFile, failure: Failed) -> FailureEntry:
        """Put a file's failure on record: a ``FileError``, or the report of a file that failed."""
        return self._failures.record(file, failure)

    def failure(self, file_path: str) -> FailureEntry | None:
        """A file's failures, whatever source they were of, or ``None``."""
        return self._failures.get(file_path)

    def clear(self, file_path: str) -> None:
        """Forget a file's failures, as it was made, removed, or is to be tried anew."""
        self._failures.clear(file_path)

    def list_failures(self) -> list[FailureEntry]:
        """All failures on record, sorted by ``file_path``."""
        return self._failures.list_all()

    # --- removals ----------------------------------------------------------------------------------

    def plan_removals(self, count: int, *, at_most: int) -> int:
        """Note that files are about to be removed; how many all runs of this day (UTC) have, with these.

        The note is taken back if they are more than ``at_most``. It is written before the day's are
        counted, so of two runs at once each sees the other's: both may hold back, never both go on.
        """
        today = datetime.now(timezone.utc).date()
        name = f"removals/{today.isoformat()}/{count:06d}-{uuid.uuid4().hex}"
        self._bucket.write(name, b"", content_type="text/plain")
        total = 0
        for noted in list(self._bucket.names("removals/")):
            match = re.fullmatch(r"removals/([0-9-]{10})/([0-9]{6,})-[0-9a-f]{32}", noted)
            if match and match[1] == today.isoformat():
                total += int(match[2])
            elif match and match[1] < (today - _REMOVALS_KEPT).isoformat():
                self._bucket.delete(noted)
        if total > at_most:
            self._bucket.delete(name)
        return total

    # --- reports of runs ---------------------------------------------------------------------------

    def write_run_report(self, run_id: str, payload: Mapping[str, Any], *, day: str | None = None) -> str:
        """Keep how a run ended, under its day, and return where.

        The day is the one given, else the payload's ``day``, else today in UTC.
        """
        named = day or payload.get("day") or datetime.now(timezone.utc).date().isoformat()
        name = _report_name(str(named), run_id)
        self._bucket.write_json(name, dict(payload))
        return self._bucket.uri(name)

    def read_run_report(self, run_id: str, *, day: str | None = None) -> dict[str, Any] | None:
        """How a run ended, or ``None`` if nothing says so; quicker with its day."""
        if day is not None:
            return self._bucket.read_json(_report_name(day, run_id))
        end = f"/{_checked_run_id(run_id)}.json"
        name = next((name for name in self._bucket.names("runs/") if name.endswith(end)), None)
        return None if name is None else self._bucket.read_json(name)

    def list_run_reports(self, day: str) -> list[str]:
        """The ids of the runs that have a report under a day, sorted."""
        names = self._bucket.names(f"runs/{_checked_day(day)}/")
        return [name.rpartition("/")[2].removesuffix(".json") for name in names]

    def list_report_days(self) -> list[str]:
        """The days that have reports of runs, sorted."""
        return sorted({name.split("/")[1] for name in self._bucket.names("runs/") if name.count("/") > 1})

    def delete_run_reports(self, day: str) -> int:
        """Delete the reports under a day; how many there were."""
        names = list(self._bucket.names(f"runs/{_checked_day(day)}/"))
        for name in names:
            self._bucket.delete(name)
        return len(names)

    # --- alerts ------------------------------------------------------------------------------------

    def is_alerted(self, day: str) -> bool:
        """Whether the day's message was sent."""
        return self._bucket.read(_alert_name(day)) is not None

    def set_alerted(self, day: str, subject: str) -> None:
        """Keep that the day's message was sent."""
        sent = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._bucket.write_json(_alert_name(day), {"subject": subject, "sent": sent})

    def list_alerted(self) -> list[str]:
        """The days whose message was sent, sorted."""
        found = (re.fullmatch(r"alerts/([0-9-]{10})\.json", name) for name in self._bucket.names("alerts/"))
        return [match[1] for match in found if match]

    def forget_alert(self, day: str) -> None:
        """Forget that a day's message was sent."""
        self._bucket.delete(_alert_name(day))


def _version(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:32]


def _day_name(day: str) -> str:
    return f"days/{_checked_day(day)}.json"


def _list_name(day: str, version: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{32}", version):
        raise StateError(f"{version!r} is not the version of a day's list")
    return f"days/{_checked_day(day)}/{version}.jsonl"


def _alert_name(day: str) -> str:
    return f"alerts/{_checked_day(day)}.json"


def _report_name(day: str, run_id: str) -> str:
    return f"runs/{_checked_day(day)}/{_checked_run_id(run_id)}.json"


def _checked_day(day: str) -> str:
    try:
        # fromisoformat reads other spellings, too, which would name other objects.
        if date.fromisoformat(day).isoformat() == day:
            return day
    except ValueError:
        pass
    raise StateError(f"{day!r} is not a date YYYY-MM-DD")


def _checked_run_id(run_id: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]*[A-Za-z0-9][A-Za-z0-9_.-]*", run_id):
        raise StateError(f"{run_id!r} is not the id of a run")
    return run_id
