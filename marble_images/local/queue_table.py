"""The table behind the AppSync stand-in: one SQLite file with the semantics of its DynamoDB table."""

from __future__ import annotations

import base64
import json
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from marble_images.models import fold_id

Record = dict[str, Any]

PAGE_BYTES = 1_000_000
"""DynamoDB ends a page when it has read this much."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (sk TEXT PRIMARY KEY, processed TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_processed ON records (processed, sk);
CREATE TABLE IF NOT EXISTS images (sk TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS seeded (sk TEXT PRIMARY KEY);
"""


class BadToken(ValueError):
    """A ``nextToken`` that this table never gave."""


@dataclass
class Paging:
    """How pages are cut, besides ``limit`` and DynamoDB's megabyte.

    Attributes
    ----------
    most
        No page holds more items than this.
    empty_every
        Each so-many-th page is empty and still has a ``nextToken``; 0: none.
    null_every
        After each so many items of a page comes a null; 0: none.
    """

    most: int | None = None
    empty_every: int = 0
    null_every: int = 0


def key_of(item_id: str) -> str:
    """The sort key of an id: ids that differ only in case or blanks have the same one."""
    return f"FILEPATH#{fold_id(item_id)}"


class QueueTable:
    """The queue's records, as they lie in DynamoDB: with more fields than GraphQL shows.

    Parameters
    ----------
    path
        The SQLite file; made when missing.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        self.paging = Paging()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    # --- what AppSync's resolvers do -----------------------------------------------------------------

    def page(
        self, before: str | None, limit: int, token: str | None
    ) -> tuple[list[Record | None], str | None]:
        """One page of the listing: its items and the token of the next page, if there is one.

        Pages are cut by the sort key, so marking or removing listed records moves nothing.

        Raises
        ------
        BadToken
            The token is none of ours.
        """
        after, number = _read_token(token)
        paging = self.paging
        if paging.empty_every and number % paging.empty_every == paging.empty_every - 1:
            return [], _write_token(after, number + 1)
        most = limit if paging.most is None else min(limit, paging.most)
        # Waiting records have no date at all, and the empty text is at or before every date.
        bound = "" if before is None else fold_id(before)
        with self._lock:
            rows = self._db.execute(
                "SELECT sk, body FROM records WHERE processed <= ? AND sk > ? ORDER BY sk LIMIT ?",
                (bound, after, most),
            ).fetchall()
        taken = _megabyte(rows)
        items: list[Record | None] = []
        for position, (_, body) in enumerate(rows[:taken], 1):
            items.append(json.loads(body))
            if paging.null_every and position % paging.null_every == 0:
                items.append(None)
        # As DynamoDB: a page that was cut has a token, even when nothing comes after it.
        cut = taken < len(rows) or taken == most
        return items, _write_token(rows[taken - 1][0], number + 1) if cut else None

    def get(self, item_id: str) -> Record | None:
        """The record that an id folds to."""
        with self._lock:
            row = self._db.execute("SELECT body FROM records WHERE sk = ?", (key_of(item_id),)).fetchone()
        return None if row is None else json.loads(row[0])

    def mark_processed(self, item_id: str, height: int | None, width: int | None) -> Record:
        """Mark a record processed now; an unconditional upsert, null sizes included."""
        key, now = key_of(item_id), _now_z()
        changes = {"dateLastProcessed": now, "dateModifiedInDynamo": now, "height": height, "width": width}
        with self._lock:
            record = self.get(item_id) or {"PK": "FILETOPROCESS", "SK": key}
            record |= changes
            self._write(record)
            image = self._image(key) or {"PK": "IMAGE", "SK": f"IMAGE#{fold_id(item_id)}"}
            image |= {"dateModifiedInDynamo": now, "height": height, "width": width}
            self._db.execute("REPLACE INTO images VALUES (?, ?)", (key, json.dumps(image)))
        return record

    def remove(self, item_id: str) -> bool:
        """Delete the record that an id folds to; whether there was one."""
        with self._lock:
            cursor = self._db.execute("DELETE FROM records WHERE sk = ?", (key_of(item_id),))
        return cursor.rowcount > 0

    # --- for those who fill and inspect the table ------------------------------------------------------

    def put_records(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Write records over those of the same key; how many."""
        with self._lock, _Transaction(self._db):
            return sum(self._write(dict(record)) for record in records)

    def seed_records(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Write the records whose keys this table never held before; how many those were.

        A seeded record that was removed since stays removed.
        """
        written = 0
        with self._lock, _Transaction(self._db):
            for record in records:
                key = _sort_key(record)
                known = self._db.execute(
                    "SELECT 1 FROM seeded WHERE sk = ? UNION ALL SELECT 1 FROM records WHERE sk = ?",
                    (key, key),
                ).fetchone()
                self._db.execute("INSERT OR IGNORE INTO seeded VALUES (?)", (key,))
                if known is None:
                    written += self._write(dict(record))
        return written

    def records(self) -> list[Record]:
        """All records, in order of their sort keys."""
        with self._lock:
            rows = self._db.execute("SELECT body FROM records ORDER BY sk").fetchall()
        return [json.loads(body) for (body,) in rows]

    def images(self) -> list[Record]:
        """All Image records: each carries the size of the pyramid that was last reported."""
        with self._lock:
            rows = self._db.execute("SELECT body FROM images ORDER BY sk").fetchall()
        return [json.loads(body) for (body,) in rows]

    def touch(self, file_path: str, changes: Mapping[str, Any] | None = None) -> Record:
        """Write a record anew as changed just now: waiting, with ``changes``.

        Raises
        ------
        KeyError
            There is no such record.
        """
        with self._lock:
            record = self.get(file_path)
            if record is None:
                raise KeyError(file_path)
            now = now_without_zone()
            record |= {"dateAddedToDynamo": now, "dateModifiedInDynamo": now} | dict(changes or {})
            record.pop("dateLastProcessed", None)
            self._write(record)
        return record

    def readdress(self, old: str, new: str) -> int:
        """Let every ``sourceUri`` that begins with ``old`` begin with ``new``; how many did."""
        with self._lock, _Transaction(self._db):
            found = [record for record in self.records() if str(record.get("sourceUri")).startswith(old)]
            for record in found:
                record["sourceUri"] = new + record["sourceUri"][len(old) :]
                self._write(record)
        return len(found)

    def clear(self) -> None:
        """Forget everything, the paging too."""
        with self._lock, _Transaction(self._db):
            for table in ("records", "images", "seeded"):
                self._db.execute(f"DELETE FROM {table}")
        self.paging = Paging()

    def _image(self, key: str) -> Record | None:
        row = self._db.execute("SELECT body FROM images WHERE sk = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def _write(self, record: Record) -> int:
        record.setdefault("PK", "FILETOPROCESS")
        record["SK"] = _sort_key(record)
        record["GSI2PK"] = "FILETOPROCESS"
        processed = fold_id(str(record.get("dateLastProcessed") or ""))
        record["GSI2SK"] = f"DATELASTPROCESSED#{processed}"
        self._db.execute(
            "REPLACE INTO records VALUES (?, ?, ?)", (record["SK"], processed, json.dumps(record))
        )
        return 1


class _Transaction:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *rest: object) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")


def _sort_key(record: Mapping[str, Any]) -> str:
    if record.get("SK"):
        return str(record["SK"])
    name = record.get("filePath") or record.get("id")
    if not name:
        raise ValueError("a record needs a filePath, an id or an SK")
    return key_of(str(name))


def _megabyte(rows: list[tuple[str, str]]) -> int:
    total = 0
    for count, (_, body) in enumerate(rows, 1):
        total += len(body)
        if total >= PAGE_BYTES:
            return count
    return len(rows)


def _write_token(after: str, number: int) -> str:
    return base64.urlsafe_b64encode(json.dumps(["v1", after, number]).encode()).decode()


def _read_token(token: str | None) -> tuple[str, int]:
    if token is None:
        return "", 0
    try:
        version, after, number = json.loads(base64.urlsafe_b64decode(token.encode()))
    except ValueError:
        raise BadToken(token) from None
    if version != "v1" or not isinstance(after, str) or not isinstance(number, int):
        raise BadToken(token)
    return after, number


def _now_z() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def now_without_zone() -> str:
    """The present moment as the queue's own dates have it: UTC, microseconds, no zone."""
    return datetime.now(timezone.utc).replace(tzinfo=None).isoformat(timespec="microseconds")
