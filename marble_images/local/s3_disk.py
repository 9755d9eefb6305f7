"""Keeps what moto's S3 holds in files, so that it outlives the process and a person finds it.

Each object's bytes lie in a file of their own that is never written again; one row in SQLite, written
after it, makes them the object. So an object is whole, with its own metadata, whenever the process
dies. Beside that, ``<folder>/<bucket>/<key>`` is a link to the bytes, for people.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import FakeBucket, FakeKey, s3_backends

_ODD = "odd-keys~"
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_STRIPES = 64
_GRACE = 60.0
_SAVED = ("_storage_class", "checksum_algorithm", "checksum_value", "checksum_type", "checksum_parts")


class DiskBuffer:
    """What moto reads an object's value from: a file, opened only while it is read.

    moto keeps a temporary file open for each object, so a thousand pyramids would use up the file
    descriptors that a process may have.
    """

    def __init__(self, path: Path, stamp: tuple[int, int] | None = None) -> None:
        self.path = path
        self._linked = stamp
        self._position = 0

    def seek(self, position: int) -> int:
        """Set where the next read begins."""
        self._position = position
        return position

    def read(self, size: int = -1) -> bytes:
        """Read from the position on.

        Raises
        ------
        OSError
            The file is not there any more, or (a linked one) is another than when it was linked.
        """
        with self.path.open("rb") as file:
            self._check(file.fileno())
            file.seek(self._position)
            data = file.read(size)
        self._position += len(data)
        return data

    def size(self) -> int:
        """Bytes of the file.

        Raises
        ------
        OSError
            As :meth:`read`.
        """
        with self.path.open("rb") as file:
            self._check(file.fileno())
            return os.fstat(file.fileno()).st_size

    def _check(self, descriptor: int) -> None:
        if self._linked is not None and self._linked != _stamp(descriptor):
            raise OSError(f"{self.path} changed since it was linked")

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class _Row:
    data: str
    view: str
    body: str


class S3Disk:
    """The folder that moto's S3 is kept in.

    Parameters
    ----------
    folder
        Made when missing. Holds one folder a bucket, and ``.objects``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._objects = folder / ".objects"
        self._objects.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(
            self._objects / "index.sqlite", check_same_thread=False, isolation_level=None
        )
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS objects (bucket TEXT, key TEXT, data TEXT NOT NULL,"
            " view TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (bucket, key))"
        )
        self._db_lock = threading.Lock()
        self._view_lock = threading.Lock()
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]
        self._replaced: list[tuple[float, Path]] = []

    def close(self) -> None:
        """Close the index."""
        with self._db_lock:
            self._db.close()

    def make_bucket(self, name: str) -> None:
        """Make a bucket unless it is there."""
        _make_bucket(name)
        (self.folder / name).mkdir(exist_ok=True)

    # --- from disk to moto -----------------------------------------------------------------------------

    def load(self) -> int:
        """Give moto the buckets and objects that lie here; how many objects."""
        for name in self._bucket_folders():
            _make_bucket(name)
        rows = self._execute("SELECT bucket, key, data, view, body FROM objects")
        live = set()
        for bucket_name, key, data, view, body in rows:
            live.add(data)
            bucket = _make_bucket(bucket_name)
            _put(bucket, key, self._restore(bucket, key, data, json.loads(body)))
            if not (self.folder / bucket_name / view).exists():
                self._show(bucket_name, view, self._objects / data)
        for path in self._objects.glob("*.data"):
            if path.name not in live:
                path.unlink(missing_ok=True)
        return len(rows)

    def _restore(self, bucket: FakeBucket, key: str, data: str, body: dict[str, Any]) -> FakeKey:
        fake = FakeKey(
            name=key,
            value=b"",
            account_id=DEFAULT_ACCOUNT_ID,
            region_name=bucket.region_name,
            etag=body["etag"],
            bucket_name=bucket.name,
        )
        for name in _SAVED:
            setattr(fake, name, body[name])
        fake.last_modified = datetime.fromisoformat(body["last_modified"])
        fake.set_metadata(dict(body["metadata"]))
        self._attach(fake, DiskBuffer(self._objects / data, _as_stamp(body.get("stamp"))), body["size"])
        return fake

    # --- from moto to disk -----------------------------------------------------------------------------

    def sync(self, bucket_name: str, key: str) -> bool:
        """Make the disk hold what moto holds under one key; whether moto holds anything."""
        with self._stripes[hash((bucket_name, key)) % _STRIPES]:
            fake = self.held(bucket_name, key)
            if fake is None:
                self._forget(bucket_name, key)
                return False
            if not isinstance(fake._value_buffer, DiskBuffer):
                path = self._objects / f"{uuid.uuid4().hex}.data"
                etag = fake.etag
                with fake.lock:
                    fake._value_buffer.seek(0)
                    with path.open("wb") as file:
                        shutil.copyfileobj(fake._value_buffer, file, 2**20)
                self._commit(bucket_name, key, path.name, _describe(fake, etag, None))
                self._attach(fake, DiskBuffer(path), fake.size)
        return True

    def sync_bucket(self, bucket_name: str) -> None:
        """Make the disk hold what moto holds in one bucket."""
        if not _BUCKET_NAME.fullmatch(bucket_name):
            return
        bucket = _backend().buckets.get(bucket_name)
        folder = self.folder / bucket_name
        keys = {key for (key,) in self._execute("SELECT key FROM objects WHERE bucket = ?", bucket_name)}
        if bucket is not None:
            folder.mkdir(exist_ok=True)
            keys |= set(bucket.keys)
        for key in keys:
            self.sync(bucket_name, key)
        if bucket is None and folder.is_dir():
            # S3 deletes a bucket only when it is empty; so its folder is.
            with suppress(OSError):
                folder.rmdir()

    def link(self, bucket_name: str, key: str, path: Path, content_type: str) -> str:
        """Make a file that lies elsewhere an object, without copying it; its ETag (the MD5).

        The object is refused with a server error once the file is another than now.

        Raises
        ------
        OSError
            The file cannot be read.
        KeyError
            There is no such bucket.
        """
        with path.open("rb") as file:
            stamp = _stamp(file.fileno())
            digest = hashlib.md5(usedforsecurity=False)
            while block := file.read(2**20):
                digest.update(block)
        bucket = _backend().buckets[bucket_name]
        body = {
            "etag": digest.hexdigest(),
            "size": stamp[0],
            "stamp": stamp,
            "last_modified": _as_moto_has_it(stamp[1]),
            "metadata": {"Content-Type": content_type},
        } | dict.fromkeys(_SAVED)
        with self._stripes[hash((bucket_name, key)) % _STRIPES]:
            fake = self._restore(bucket, key, str(path.resolve()), body)
            _put(bucket, key, fake)
            self._commit(bucket_name, key, str(path.resolve()), body)
        return digest.hexdigest()

    def clear(self) -> None:
        """Empty every bucket, on disk and in moto, and remove all multipart uploads."""
        for bucket in list(_backend().buckets.values()):
            for key in list(bucket.keys):
                bucket.keys.pop(key)
            bucket.multiparts.clear()
            self.sync_bucket(bucket.name)

    def path_of(self, bucket_name: str, key: str) -> Path | None:
        """Where a person finds an object."""
        rows = self._execute("SELECT view FROM objects WHERE bucket = ? AND key = ?", bucket_name, key)
        return self.folder / bucket_name / rows[0][0] if rows else None

    def held(self, bucket_name: str, key: str) -> FakeKey | None:
        """What moto holds under a key."""
        bucket = _backend().buckets.get(bucket_name)
        fake = None if bucket is None else bucket.keys.get(key)
        return fake if isinstance(fake, FakeKey) else None

    # --- inside ----------------------------------------------------------------------------------------

    def _attach(self, fake: FakeKey, buffer: DiskBuffer, size: int) -> None:
        with fake.lock:
            before: Any = fake._value_buffer
            fake._value_buffer = buffer  # type: ignore[assignment]
            fake.contentsize = size
        before.close()
        if fake.multipart is not None:
            fake.multipart.dispose()
        # moto remembers every object that ever was, for its own reset.
        FakeKey.instances_tracked.clear()  # type: ignore[attr-defined]

    def _commit(self, bucket: str, key: str, data: str, body: dict[str, Any]) -> None:
        before = self._row(bucket, key)
        view = before.view if before else self._choose_view(bucket, key)
        self._execute(
            "REPLACE INTO objects VALUES (?, ?, ?, ?, ?)", bucket, key, data, view, json.dumps(body)
        )
        self._show(bucket, view, self._objects / data)
        self._discard(before)

    def _forget(self, bucket: str, key: str) -> None:
        before = self._row(bucket, key)
        if before is None:
            return
        self._execute("DELETE FROM objects WHERE bucket = ? AND key = ?", bucket, key)
        with self._view_lock:
            path = self.folder / bucket / before.view
            path.unlink(missing_ok=True)
            # Only the folders that are empty go; the first that is not ends it.
            with suppress(OSError):
                for parent in _parents_within(path, self.folder / bucket):
                    parent.rmdir()
        self._discard(before)

    def _discard(self, row: _Row | None) -> None:
        # A reader that began before still needs the bytes for a moment.
        now = time.monotonic()
        with self._db_lock:
            if row is not None and row.data.endswith(".data") and "/" not in row.data:
                self._replaced.append((now + _GRACE, self._objects / row.data))
            due = [path for when, path in self._replaced if when <= now]
            self._replaced = [(when, path) for when, path in self._replaced if when > now]
        for path in due:
            path.unlink(missing_ok=True)

    def _row(self, bucket: str, key: str) -> _Row | None:
        rows = self._execute("SELECT data, view, body FROM objects WHERE bucket = ? AND key = ?", bucket, key)
        return _Row(*rows[0]) if rows else None

    def _choose_view(self, bucket: str, key: str) -> str:
        root = self.folder / bucket
        if _is_plain(key):
            path = root / key
            blocked = any(parent.is_file() for parent in _parents_within(path, root))
            if not blocked and not path.is_dir():
                return key
        suffix = PurePosixPath(key).suffix
        named = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return f"{_ODD}/{named}{suffix if _is_plain(suffix) and len(suffix) < 9 else ''}"

    def _show(self, bucket: str, view: str, data: Path) -> None:
        path = self.folder / bucket / view
        fresh = self._objects / f"{uuid.uuid4().hex}.view"
        with self._view_lock:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                if data.parent == self._objects:
                    _link(data, fresh)
                else:
                    fresh.symlink_to(data)
                fresh.replace(path)
            except OSError:
                # The view is for people only; the object itself is stored.
                fresh.unlink(missing_ok=True)

    def _bucket_folders(self) -> Iterator[str]:
        for entry in sorted(self.folder.iterdir()):
            if entry.is_dir() and not entry.name.startswith("."):
                yield entry.name

    def _execute(self, statement: str, *values: Any) -> list[Any]:
        with self._db_lock:
            return self._db.execute(statement, values).fetchall()


def _backend() -> Any:
    return s3_backends[DEFAULT_ACCOUNT_ID]["aws"]


def _make_bucket(name: str) -> FakeBucket:
    found = _backend().buckets.get(name)
    return found if found is not None else _backend().create_bucket(name, "us-east-1")


def _put(bucket: FakeBucket, key: str, fake: FakeKey) -> None:
    bucket.keys.setlist(key, [fake])


def _describe(fake: FakeKey, etag: str, stamp: tuple[int, int] | None) -> dict[str, Any]:
    return {
        "etag": etag.strip('"'),
        "size": fake.size,
        "stamp": stamp,
        "last_modified": fake.last_modified.isoformat(),
        "metadata": dict(fake.metadata),
    } | {name: getattr(fake, name) for name in _SAVED}


def _stamp(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def _as_moto_has_it(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9, timezone.utc).replace(tzinfo=None).isoformat()


def _as_stamp(value: list[int] | None) -> tuple[int, int] | None:
    return (value[0], value[1]) if value else None


def _is_plain(key: str) -> bool:
    parts = key.split("/")
    if parts[0] == _ODD or not key.isprintable():
        return False
    return all(part not in ("", ".", "..") and len(part.encode("utf-8", "replace")) <= 255 for part in parts)


def _parents_within(path: Path, root: Path) -> list[Path]:
    return [parent for parent in path.parents if parent != root and root in parent.parents]


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        # Some file systems have no links.
        shutil.copyfile(source, target)
