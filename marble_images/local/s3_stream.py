"""Large objects sent from disk, where moto would hold each of them in memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from werkzeug.wsgi import ClosingIterator

from marble_images.local.s3_disk import DiskBuffer, S3Disk
from marble_images.local.server import WSGIApp

LARGE = 8 * 2**20
"""Bytes from which on an object is streamed."""

_BLOCK = 2**17
_RANGE = re.compile(r"bytes (\d+)-(\d+)/\d+")
_TRIES = 5


def stream_large(
    disk: S3Disk, moto: WSGIApp, bucket: str, key: str, environ: dict[str, Any]
) -> _Answer | None:
    """The answer to a GET of a large object; ``None`` when moto must answer it whole.

    moto answers a HEAD of the same object, with its headers and its reading of conditions and ranges; the
    bytes then come from the file.
    """
    if environ["REQUEST_METHOD"] != "GET" or set(parse_qs(environ.get("QUERY_STRING", ""))) - {"x-id"}:
        return None
    for _ in range(_TRIES):
        held = disk.held(bucket, key)
        if held is None or held.size < LARGE or held.checksum_type == "COMPOSITE":
            return None
        buffer: Any = held._value_buffer
        if not isinstance(buffer, DiskBuffer):
            return None
        answer = _Answer(moto, environ)
        if answer.status not in (200, 206):
            return None
        # Else it was replaced in between.
        if answer.header("etag") == held.etag:
            answer.open(buffer)
            if held.checksum_type and any(name.startswith("x-amz-checksum-") for name, _ in answer.headers):
                answer.headers.append(("x-amz-checksum-type", held.checksum_type))
            return answer
    return None


class _Answer:
    """moto's answer to a HEAD, made one to a GET."""

    def __init__(self, moto: WSGIApp, environ: dict[str, Any]) -> None:
        self.headers: list[tuple[str, str]] = []
        self.phrase = ""
        self.blocks: Iterable[bytes] = ()

        def start(status: str, headers: list[tuple[str, str]], *_rest: Any) -> None:
            self.phrase, self.headers = status, [(name.lower(), value) for name, value in headers]

        with closing(ClosingIterator(moto(environ | {"REQUEST_METHOD": "HEAD"}, start))) as answered:
            for _ in answered:
                pass

    @property
    def status(self) -> int:
        return int(self.phrase.split()[0])

    def header(self, name: str) -> str:
        return next((value for found, value in self.headers if found == name), "")

    def open(self, buffer: DiskBuffer) -> None:
        """Open the file.

        Raises
        ------
        OSError
            It is not there any more, or another than when it was linked.
        """
        span = _RANGE.match(self.header("content-range"))
        begin, end = (int(span[1]), int(span[2])) if span else (0, buffer.size() - 1)
        self.headers = [pair for pair in self.headers if pair[0] != "content-length"]
        self.headers.append(("content-length", str(end - begin + 1)))
        self.blocks = _blocks(buffer.path, begin, end - begin + 1)


def _blocks(path: Path, begin: int, length: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(begin)
        while length > 0 and (block := file.read(min(_BLOCK, length))):
            length -= len(block)
            yield block
