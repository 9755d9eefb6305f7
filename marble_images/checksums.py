"""Checksums of files, read in chunks."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

CHUNK = 2**20
"""Bytes that are read at once."""

new_md5 = partial(hashlib.md5, usedforsecurity=False)


def chunks_of(path: Path) -> Iterator[bytes]:
    """The bytes of a file."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def crc32_of(chunks: Iterable[bytes]) -> int:
    """CRC-32 of bytes that come in chunks."""
    value = 0
    for chunk in chunks:
        value = zlib.crc32(chunk, value)
    return value


def md5_of(path: Path) -> str:
    """Hexadecimal MD5 of a file's bytes."""
    digest = new_md5()
    for chunk in chunks_of(path):
        digest.update(chunk)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    for chunk in chunks_of(path):
        digest.update(chunk)
    return digest.hexdigest()
