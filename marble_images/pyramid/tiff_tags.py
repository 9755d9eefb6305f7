"""A strict reader of classic TIFF tags (TIFF 6.0, section 2), for judging files rather than showing them.

General readers log damage and go on: a tag that points outside the file is skipped, a broken chain of
pages is cut. Here each of them is an error, and no byte of the file can make the reader loop or read more
than the file holds.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

MAX_PAGES = 64
"""No pyramid has more: a side of a classic TIFF has 32 bits, so it can be halved 31 times."""

_MAX_VALUE_BYTES = 64 * 2**20

# Bytes a value and its `struct` letter, by TIFF type; rationals are read as pairs.
_TYPES = {
    1: (1, "B"),
    2: (1, "s"),
    3: (2, "H"),
    4: (4, "I"),
    5: (8, "II"),
    6: (1, "b"),
    7: (1, "s"),
    8: (2, "h"),
    9: (4, "i"),
    10: (8, "ii"),
    11: (4, "f"),
    12: (8, "d"),
    13: (4, "I"),
}


class TagError(Exception):
    """The file's structure is not that of a classic TIFF; the message says where it is not."""


@dataclass(frozen=True)
class _Entry:
    kind: int
    count: int
    raw: bytes | None
    offset: int
    size: int


class Page:
    """The tags of one page (IFD). Values are read when they are asked for."""

    def __init__(self, file: TiffTags, offset: int, entries: dict[int, _Entry]) -> None:
        self.offset = offset
        self._file = file
        self._entries = entries

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def values(self, tag: int) -> tuple[float, ...]:
        """All numbers of a tag, empty if it is missing; a rational is its quotient, 0 where that is none.

        Raises
        ------
        TagError
            The tag does not hold numbers.
        """
        entry = self._entries.get(tag)
        if entry is None:
            return ()
        letter = _TYPES[entry.kind][1]
        if letter == "s":
            raise TagError(f"tag {tag} is not a number")
        numbers = struct.unpack(f"{self._file.order}{entry.count * len(letter)}{letter[0]}", self._raw(entry))
        if len(letter) == 2:
            return tuple(a / b if b else 0.0 for a, b in zip(numbers[::2], numbers[1::2], strict=True))
        return numbers

    def integers(self, tag: int) -> tuple[int, ...]:
        """All whole numbers of a tag, empty if it is missing.

        Raises
        ------
        TagError
            The tag does not hold whole numbers.
        """
        values = self.values(tag)
        if tag in self and self._entries[tag].kind in (5, 10, 11, 12):
            raise TagError(f"tag {tag} is not a whole number")
        return tuple(int(v) for v in values)

    def integer(self, tag: int, default: int) -> int:
        """The single whole number of a tag.

        Raises
        ------
        TagError
            The tag holds none, several, or something else.
        """
        values = self.integers(tag)
        if tag in self and len(values) != 1:
            raise TagError(f"tag {tag} holds {len(values)} values instead of one")
        return values[0] if values else default

    def data(self, tag: int) -> bytes:
        """A tag's value as it is stored, empty if it is missing."""
        entry = self._entries.get(tag)
        return b"" if entry is None else self._raw(entry)

    def _raw(self, entry: _Entry) -> bytes:
        return entry.raw if entry.raw is not None else self._file.read(entry.offset, entry.size)


class TiffTags:
    """An open TIFF file; a context manager.

    Raises
    ------
    OSError
        The file cannot be read.
    TagError
        It is not a classic TIFF.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY)
        try:
            self.size = os.fstat(self._fd).st_size
            self.order = self._byte_order()
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> TiffTags:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def read(self, offset: int, size: int) -> bytes:
        """Read ``size`` bytes at ``offset``.

        Raises
        ------
        TagError
            The file ends before them.
        """
        if offset < 0 or size < 0 or offset + size > self.size:
            raise TagError(f"{size} bytes at {offset} are past the end of the file ({self.size} bytes)")
        data = os.pread(self._fd, size, offset)
        if len(data) != size:
            raise TagError(f"the file ended at {offset + len(data)} while it was read")
        return data

    def _byte_order(self) -> str:
        if self.size == 0:
            raise TagError("the file is empty")
        if self.size < 8:
            raise TagError("the file is too short to be a TIFF")
        start = self.read(0, 4)
        if start in (b"II+\0", b"MM\0+"):
            raise TagError("it is a BigTIFF, not a classic TIFF")
        if start not in (b"II*\0", b"MM\0*"):
            raise TagError("it is not a TIFF")
        return "<" if start[:1] == b"I" else ">"

    def pages(self) -> Iterator[Page]:
        """The pages in the order of the file.

        Raises
        ------
        TagError
            A page or a tag lies outside the file, pages form a loop, or there are too many.
        """
        seen: set[int] = set()
        (offset,) = struct.unpack(f"{self.order}I", self.read(4, 4))
        while offset:
            if offset in seen:
                raise TagError("its pages form a loop")
            if len(seen) == MAX_PAGES:
                raise TagError(f"it has more than {MAX_PAGES} pages")
            seen.add(offset)
            page, offset = self._page(offset)
            yield page

    def _page(self, offset: int) -> tuple[Page, int]:
        (count,) = struct.unpack(f"{self.order}H", self.read(offset, 2))
        table = self.read(offset + 2, count * 12 + 4)
        entries: dict[int, _Entry] = {}
        for i in range(count):
            tag, kind, length = struct.unpack_from(f"{self.order}HHI", table, 12 * i)
            if kind not in _TYPES:
                raise TagError(f"tag {tag} is of the unknown type {kind}")
            if tag in entries:
                raise TagError(f"tag {tag} occurs twice in one page")
            entries[tag] = self._entry(tag, kind, length, table[12 * i + 8 : 12 * i + 12])
        (following,) = struct.unpack_from(f"{self.order}I", table, 12 * count)
        return Page(self, offset, entries), following

    def _entry(self, tag: int, kind: int, length: int, value: bytes) -> _Entry:
        size = length * _TYPES[kind][0]
        if size <= 4:
            return _Entry(kind, length, value[:size], 0, size)
        (offset,) = struct.unpack(f"{self.order}I", value)
        if offset + size > self.size:
            raise TagError(f"tag {tag} points past the end of the file")
        if size > _MAX_VALUE_BYTES:
            raise TagError(f"tag {tag} holds {size} bytes, more than any tag of a pyramid")
        return _Entry(kind, length, None, offset, size)
