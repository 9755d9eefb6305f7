"""Fetching over HTTP: one file from one address, resumed where it broke, checked when it is there."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from urllib3.exceptions import HTTPError

from marble_images.checksums import CHUNK
from marble_images.errors import (
    FileError,
    SourceChecksumMismatch,
    SourceError,
    SourceForbidden,
    SourceGone,
    SourceIncomplete,
    SourceUnavailable,
)
from marble_images.sources.addresses import WebAddress
from marble_images.sources.deadline import Deadline
from marble_images.sources.disk import FileSink
from marble_images.sources.integrity import header_md5
from marble_images.sources.retry import TryAgain, Why, keep_trying, retry_after
from marble_images.sources.settings import FetchSettings
from marble_images.sources.web import Answer, Headers, WebClient, network_fault
from marble_images.watchdog import Watchdog

_TRY_AGAIN = {408, 425, 429}
_GZIP = {"gzip", "x-gzip"}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")

Refusal = Callable[[Answer], "FileError | TryAgain"]
"""What an answer that is no file means; to be raised."""


@dataclass(frozen=True)
class Stated:
    """What a server said about the file it delivered."""

    etag: str | None
    content_type: str | None


@dataclass
class _Partial:
    """What is known of the file that a broken try has left in part."""

    etag: str
    total: int | None


class HttpDownload:
    """One download, with all its tries.

    Parameters
    ----------
    headers
        What to send besides the usual, by address.
    refusal
        What answers other than 200 and 206 mean.
    md5
        Of the record, hexadecimal, if it has one.
    """

    def __init__(
        self,
        client: WebClient,
        address: WebAddress,
        sink: FileSink,
        deadline: Deadline,
        settings: FetchSettings,
        *,
        headers: Headers,
        refusal: Refusal,
        md5: str | None,
    ) -> None:
        self._client = client
        self._address = address
        self._sink = sink
        self._deadline = deadline
        self._settings = settings
        self._headers = headers
        self._refusal = refusal
        self._md5 = md5
        self._partial: _Partial | None = None
        self._whole: Mapping[str, str] = {}

    def run(self) -> Stated:
        """Fetch the file into the sink.

        Raises
        ------
        FileError
            It could not be had; the reason is one line.
        """
        return keep_trying(
            self._once, self._settings, self._deadline, lambda: self._sink.size, self._client.health
        )

    def _once(self) -> Stated:
        with Watchdog(self._deadline.remaining):
            answer = self._client.get(self._address, self._request_headers, self._deadline)
            try:
                self._take(answer)
            finally:
                # Does nothing to a connection that was read to its end and is back in the pool.
                answer.response.close()
        self._partial = None
        self._client.health.answered(answer.address.authority)
        self._check(answer.address.host)
        return Stated(self._whole.get("ETag"), self._whole.get("Content-Type"))

    def _request_headers(self, address: WebAddress, home: bool) -> dict[str, str]:
        headers = dict(self._headers(address, home))
        if self._partial is not None and self._sink.size:
            headers["Range"] = f"bytes={self._sink.size}-"
            headers["If-Range"] = self._partial.etag
        return headers

    def _take(self, answer: Answer) -> None:
        total = self._continued(answer) if answer.status == 206 else None
        if answer.status == 200:
            self._sink.restart()
            # The answers that bring the rest need not repeat what this one says about the whole file.
            self._whole = answer.response.headers
            total = _content_length(answer)
            self._partial = _resumable(answer, total)
        elif answer.status == 416 or (answer.status == 206 and total is None):
            self._partial = None
            raise TryAgain(
                SourceIncomplete(f"{answer.address.host} answered with the wrong part of the file")
            )
        elif answer.status != 206:
            raise self._refusal(answer)
        self._sink.expect(total)
        self._stream(answer)
        if total is not None and self._sink.size != total:
            self._partial = None
            raise TryAgain(
                SourceIncomplete(
                    f"{answer.address.host} sent {self._sink.size:,} bytes where it had said {total:,}"
                )
            )

    def _continued(self, answer: Answer) -> int | None:
        """The size of the whole file, if the answer is just the part of it that is missing."""
        partial, headers = self._partial, answer.response.headers
        matched = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
        if partial is None or matched is None or headers.get("ETag") != partial.etag:
            return None
        start, end, total = matched.groups()
        size = int(end) + 1
        fits = int(start) == self._sink.size and total in ("*", str(size)) and partial.total in (None, size)
        return size if fits else None

    def _stream(self, answer: Answer) -> None:
        host = answer.address.host
        while True:
            try:
                chunk = answer.response.read1(CHUNK)
            except (HTTPError, OSError) as err:
                raise network_fault(err, answer.address, self._deadline, answered=True) from None
            # A connection that the watchdog cut looks like the end of the file.
            self._deadline.check(host)
            if not chunk:
                return
            self._sink.write(chunk)

    def _check(self, host: str) -> None:
        self._compare(header_md5(self._whole), f"{host} says")
        encoding = self._whole.get("Content-Encoding", "identity").strip().lower()
        if encoding in _GZIP:
            self._unpack(host)
        elif encoding not in ("identity", ""):
            raise SourceError(f"{host} sent the file encoded as {encoding}, which was not asked for")
        self._compare(self._md5, "the record says")

    def _compare(self, stated: str | None, who_says: str) -> None:
        if stated is None:
            return
        found = self._sink.md5()
        if found != stated:
            reason = f"{who_says} that the file's MD5 is {stated}, but it is {found}"
            raise TryAgain(SourceChecksumMismatch(reason), Why.MISMATCH)

    def _unpack(self, host: str) -> None:
        try:
            self._sink.unpack_gzip()
        except (EOFError, OSError, zlib.error) as err:
            raise TryAgain(
                SourceIncomplete(f"{host} sent packed data that is cut or damaged", detail=type(err).__name__)
            ) from None


def _content_length(answer: Answer) -> int | None:
    # urllib3 reads the header before the body, and knows when chunking overrides it.
    return getattr(answer.response, "length_remaining", None)


def _resumable(answer: Answer, total: int | None) -> _Partial | None:
    headers = answer.response.headers
    etag = headers.get("ETag", "")
    strong = len(etag) > 2 and etag.startswith('"') and etag.endswith('"')
    ranges = "bytes" in headers.get("Accept-Ranges", "").lower()
    return _Partial(etag, total) if strong and ranges else None


def web_refusal(answer: Answer) -> FileError | TryAgain:
    """What an answer of a web server that is no file means (RFC 9110, section 15)."""
    status, host = answer.status, answer.address.host
    answer.small_body()
    said = f"{host} answered HTTP {status}"
    if status in (404, 410):
        return TryAgain(
            SourceUnavailable(f"{said}, which a second try did not confirm"),
            Why.GONE,
            confirmed=SourceGone(f"{said} twice: the file no longer exists"),
        )
    if status in (401, 403):
        return SourceForbidden(f"{said}: it refuses to give the file")
    if status in _TRY_AGAIN or status >= 500 or status < 300:
        named = ": it is asked too often" if status == 429 else ""
        return TryAgain(
            SourceUnavailable(f"{said}{named}"),
            after=retry_after(answer.response.headers.get("Retry-After")),
            outage=answer.address.authority if status >= 500 else None,
        )
    return SourceError(f"{said}: it does not give the file")
