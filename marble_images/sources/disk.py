"""Writing a source file to disk: room for it, its size limit, and its checksums on the way."""

from __future__ import annotations

import errno
import gzip
import hashlib
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from marble_images.checksums import CHUNK, chunks_of, crc32_of, md5_of
from marble_images.errors import NoDiskSpace, SourceTooLarge

_LOOK_EVERY = 64 * 2**20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_GZIP_MAGIC = b"\x1f\x8b"


class DiskBudget:
    """Shares the free space of the work folder between the files that are being fetched.

    Parameters
    ----------
    reserve
        Bytes that must stay free.
    """

    def __init__(self, reserve: int) -> None:
        self._reserve = reserve
        self._lock = threading.Lock()
        self._owed: dict[object, int] = {}

    def claim(self, owner: object, folder: Path, size: int) -> None:
        """Set ``size`` bytes aside for ``owner``, in place of what it had.

        Raises
        ------
        NoDiskSpace
            Less than that is free, beside the reserve and what others still have to write.
        """
        with self._lock:
            self._owed.pop(owner, None)
            free = shutil.disk_usage(folder).free - self._reserve - sum(self._owed.values())
            if size > max(free, 0) or free < 0:
                raise NoDiskSpace(
                    f"the work folder has no room for the file: it needs {size:,} bytes, "
                    f"{max(free, 0):,} are free"
                )
            self._owed[owner] = size

    def spend(self, owner: object, size: int) -> None:
        """Note that ``owner`` has written ``size`` bytes of what it claimed."""
        with self._lock:
            if owner in self._owed:
                self._owed[owner] = max(0, self._owed[owner] - size)

    def release(self, owner: object) -> None:
        """Give back what ``owner`` has claimed and not written."""
        with self._lock:
            self._owed.pop(owner, None)


class FileSink:
    """A file that grows, with the checksums of what it holds.

    Parameters
    ----------
    folder
        Where it is made, under a name that is unique and tells nothing.
    budget
        Whose disk space it uses.
    max_bytes
        The largest size it may reach.
    """

    def __init__(self, folder: Path, budget: DiskBudget, max_bytes: int) -> None:
        self.path = folder / f"source-{uuid.uuid4().hex}"
        self._budget = budget
        self._max_bytes = max_bytes
        with _disk_errors():
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("xb", buffering=0)
        self._start()

    def _start(self) -> None:
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._size_known = False
        self._next_look = 0

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of what was written."""
        return self._sha256.hexdigest()

    def md5(self) -> str:
        """Hexadecimal MD5 of what was written, read again: it takes long, and few ask.

        Raises
        ------
        NoDiskSpace
            The file cannot be read.
        """
        with _disk_errors():
            return md5_of(self.path)

    def crc32(self) -> int:
        """CRC-32 of what was written, read again.

        Raises
        ------
        NoDiskSpace
            The file cannot be read.
        """
        with _disk_errors():
            return crc32_of(chunks_of(self.path))

    def expect(self, total: int | None) -> None:
        """Make sure that a file of ``total`` bytes (``None``: not known) may be written.

        Raises
        ------
        SourceTooLarge, NoDiskSpace
        """
        if total is not None and total > self._max_bytes:
            raise self._too_large()
        self._size_known = total is not None
        with _disk_errors():
            self._budget.claim(self, self.path.parent, max(0, (total or 0) - self.size))

    def write(self, chunk: bytes) -> None:
        """Append ``chunk``.

        Raises
        ------
        SourceTooLarge, NoDiskSpace
        """
        if self.size + len(chunk) > self._max_bytes:
            raise self._too_large()
        if not self._size_known and self.size >= self._next_look:
            self._next_look = self.size + _LOOK_EVERY
            with _disk_errors():
                self._budget.claim(self, self.path.parent, len(chunk))
        rest = memoryview(chunk)
        with _disk_errors():
            while rest:
                rest = rest[self._file.write(rest) :]
        self.size += len(chunk)
        self._sha256.update(chunk)
        self._budget.spend(self, len(chunk))

    def restart(self) -> None:
        """Throw away what was written."""
        with _disk_errors():
            self._file.seek(0)
            self._file.truncate()
        self._budget.release(self)
        self._start()

    def unpack_gzip(self) -> None:
        """Replace the content, if it is gzip's, by what it packs; other content stays as it is.

        Raises
        ------
        EOFError, OSError, zlib.error
            The packed data is cut or damaged; the content is undefined then.
        SourceTooLarge, NoDiskSpace
        """
        packed = self.path.with_name(f"{self.path.name}.gz")
        with _disk_errors(), self.path.open("rb") as start:
            if start.read(len(_GZIP_MAGIC)) != _GZIP_MAGIC:
                return
        try:
            with _disk_errors():
                self._file.close()
                self.path.rename(packed)
                self._file = self.path.open("xb", buffering=0)
            self._budget.release(self)
            self._start()
            with gzip.open(packed) as content:
                while chunk := content.read(CHUNK):
                    self.write(chunk)
        finally:
            packed.unlink(missing_ok=True)

    def close(self) -> None:
        """Finish the file."""
        self._budget.release(self)
        with _disk_errors():
            self._file.close()

    def discard(self) -> None:
        """Close and delete the file, whatever state it is in."""
        self._budget.release(self)
        with suppress(OSError):
            self._file.close()
        self.path.unlink(missing_ok=True)

    def _too_large(self) -> SourceTooLarge:
        return SourceTooLarge(f"the file is larger than the limit of {self._max_bytes:,} bytes")


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as err:
        if err.errno in _FULL:
            reason = "the disk of the work folder is full"
        else:
            reason = f"the work folder cannot be written: {err.strerror}"
        raise NoDiskSpace(reason, detail=f"errno {err.errno}") from None
