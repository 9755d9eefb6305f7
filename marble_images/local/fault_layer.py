"""The layer in front of each stand-in that logs requests and does to them what was commanded.

It works on the connection itself where HTTP would be too polite: it resets, hangs and drips.
"""

from __future__ import annotations

import io
import json
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import unquote_plus

from werkzeug.wsgi import ClosingIterator, get_input_stream

from marble_images.local.fault_shapes import phrase
from marble_images.local.faults import Fault, FaultBook, LoggedRequest
from marble_images.local.server import WSGIApp

Environ = dict[str, Any]
Failure = Callable[[Environ, int, str | None], tuple[str, bytes]]
"""The content type and the body of a service's failure: by request, status and reason."""

Describe = Callable[[Environ, bytes], tuple[list[str], Any]]
"""The operations that a request asks for, and a detail for the log."""

_PAGE = (
    b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Please sign in</h1></body></html>\n"
)
_BLOCK = 2**16
_KEPT_BODY = 2**20
_RESET = struct.pack("ii", 1, 0)


class FaultLayer:
    """A WSGI middleware that misbehaves on command.

    Parameters
    ----------
    app
        The stand-in.
    service
        Its name in commands and in the log.
    book
        The commands.
    describe
        Names a request's operations.
    failure
        Makes a failure in the service's own shape.
    reads_body
        Whether request bodies are read here, for the operations and the log: for small ones only.
    """

    def __init__(
        self,
        app: WSGIApp,
        service: str,
        book: FaultBook,
        describe: Describe,
        failure: Failure,
        reads_body: bool = False,
    ) -> None:
        self._app = app
        self._service = service
        self._book = book
        self._describe = describe
        self._failure = failure
        self._reads_body = reads_body

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        request = self._read(environ)
        delays, fault = self._book.meet(request)
        cleared = self._book.cleared
        for seconds, removed in delays:
            removed.wait(seconds)

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            request.status = int(status.split()[0])
            return start_response(status, headers, *rest)

        if fault is None:
            return self._app(environ, start)
        wire = _Wire(environ, start, self._app, cleared)
        return _ACTIONS[fault.action](self, wire, fault)

    def _read(self, environ: Environ) -> LoggedRequest:
        body = b""
        if self._reads_body:
            body = _buffer(environ)
        operations, detail = self._describe(environ, body)
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        query = environ.get("QUERY_STRING", "")
        return LoggedRequest(
            service=self._service,
            method=environ["REQUEST_METHOD"],
            path=f"{path}?{unquote_plus(query)}" if query else path,
            operations=operations,
            detail=detail,
            headers=_headers(environ),
            body=body[:_KEPT_BODY].decode("utf-8", "replace"),
        )

    # --- what can go wrong -------------------------------------------------------------------------------

    def _status(self, wire: _Wire, fault: Fault) -> Iterable[bytes]:
        wire.do_the_work(fault)
        if fault.content is not None:
            kind, body = fault.content_type, fault.content.encode()
        else:
            kind, body = self._failure(wire.environ, fault.status, fault.reason)
        extra = [("Retry-After", fault.retry_after)] if fault.retry_after is not None else []
        return wire.answer(fault.status, kind, body, extra)

    def _reset(self, wire: _Wire, fault: Fault) -> Iterable[bytes]:
        if fault.when == "before":
            wire.cut()
        if fault.when == "after":
            wire.do_the_work(fault)
            wire.cut()
        answer = wire.take()
        return wire.send(answer, _then(_part(answer, fault.fraction), wire.cut_after_pause))

    def _hang(self, wire: _Wire, fault: Fault) -> Iterable[bytes]:
        def hang() -> None:
            wire.wait(fault.seconds)
            wire.cut()

        if fault.when == "mid":
            answer = wire.take()
            return wire.send(answer, _then(_part(answer, fault.fraction), hang))
        wire.do_the_work(fault)
        hang()
        return []

    def _drip(self, wire: _Wire, fault: Fault) -> Iterable[bytes]:
        answer = wire.take()
        step = max(1, int(fault.rate / 10))

        def dripping() -> Iterator[bytes]:
            for block in answer.blocks:
                for start in range(0, len(block), step):
                    yield block[start : start + step]
                    wire.wait(step / fault.rate)

        return wire.send(answer, dripping())

    def _truncate(self, wire: _Wire, fault: Fault) -> Iterable[bytes]:
        answer = wire.take()
        part = b"".join(_part(answer, fault.fraction))
        if fault.length == "right":
            answer.set_length(len(part))
        return wire.send(answer, [part])

    def _corrupt(self, wire: _Wire, fault: Fault) -> Iterable[bytes]:
        if fault.when == "before":
            wire.replace_body(_garbled(wire.read_body()))
            return wire.pass_on()
        answer = wire.take()
        return wire.send(answer, [_garbled(b"".join(answer.blocks))])

    def _replace(self, wire: _Wire, fault: Fault) -> Iterable[bytes]:
        wire.do_the_work(fault)
        body = _PAGE if fault.content is None else fault.content.encode()
        return wire.answer(200, fault.content_type, body, [])

    def _redirect(self, wire: _Wire, fault: Fault) -> Iterable[bytes]:
        wire.drain()
        location = fault.location or wire.environ["RAW_URI"]
        return wire.answer(302, "text/html; charset=utf-8", b"Moved", [("Location", location)])

    def _graphql_errors(self, wire: _Wire, fault: Fault) -> Iterable[bytes]:
        content: dict[str, Any] = {"data": None}
        if fault.data == "kept" or fault.when == "after":
            answered = json.loads(b"".join(wire.take().blocks))
            content = answered if fault.data == "kept" else content
        kind = fault.reason or "Lambda:Unhandled"
        error = {
            "path": self._describe(wire.environ, wire.body)[0][:1] or None,
            "data": None,
            "errorType": kind,
            "errorInfo": None,
            "locations": None,
            "message": fault.content or f"{kind} failure",
        }
        content["errors"] = [*content.get("errors", []), error]
        return wire.answer(200, "application/json;charset=UTF-8", json.dumps(content).encode(), [])


_ACTIONS: dict[str, Callable[[FaultLayer, _Wire, Fault], Iterable[bytes]]] = {
    "status": FaultLayer._status,
    "reset": FaultLayer._reset,
    "hang": FaultLayer._hang,
    "drip": FaultLayer._drip,
    "truncate": FaultLayer._truncate,
    "corrupt": FaultLayer._corrupt,
    "replace": FaultLayer._replace,
    "redirect": FaultLayer._redirect,
    "graphql_errors": FaultLayer._graphql_errors,
}


class _Answer:
    def __init__(self, status: str, headers: list[tuple[str, str]], blocks: Iterable[bytes]) -> None:
        self.status = status
        self.headers = headers
        self.blocks = blocks

    @property
    def length(self) -> int | None:
        found = [value for name, value in self.headers if name.lower() == "content-length"]
        return int(found[0]) if found else None

    def set_length(self, length: int) -> None:
        self.headers = [pair for pair in self.headers if pair[0].lower() != "content-length"]
        self.headers.append(("Content-Length", str(length)))


class _Wire:
    """One request's connection, and the stand-in behind it."""

    def __init__(
        self, environ: Environ, start: Callable[..., Any], app: WSGIApp, cleared: threading.Event
    ) -> None:
        self.environ = environ
        self._start = start
        self._app = app
        self._cleared = cleared
        self._socket: socket.socket = environ["werkzeug.socket"]

    @property
    def body(self) -> bytes:
        """The request's body, if the layer has read it."""
        return self.environ.get("marble_images.body", b"")

    def take(self) -> _Answer:
        """Let the stand-in do its work; its answer, with a length."""
        made: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], *_rest: Any) -> Callable[[bytes], None]:
            made[:] = [status, headers]
            return lambda _data: None

        blocks = self._app(self.environ, start)
        iterator = iter(blocks)
        first = next(iterator, b"")
        rest = ClosingIterator(_chain(first, iterator), getattr(blocks, "close", None))
        answer = _Answer(made[0], list(made[1]), rest)
        if answer.length is None and self.environ["REQUEST_METHOD"] != "HEAD":
            answer.blocks = [b"".join(rest)]
            answer.set_length(sum(map(len, answer.blocks)))
        return answer

    def do_the_work(self, fault: Fault) -> None:
        """Let the stand-in do its work if the fault comes after it; else only read the request."""
        if fault.when == "after":
            for _ in self.take().blocks:
                pass
        else:
            self.drain()

    def pass_on(self) -> Iterable[bytes]:
        """Let the stand-in answer as if nothing had been commanded."""
        return self._app(self.environ, self._start)

    def read_body(self) -> bytes:
        """All of the request's body."""
        return get_input_stream(self.environ).read()

    def replace_body(self, body: bytes) -> None:
        """Let the stand-in get another body."""
        _set_body(self.environ, body)

    def drain(self) -> None:
        """Read what is left of the request, so that closing the connection is no reset."""
        stream = get_input_stream(self.environ)
        while stream.read(_BLOCK):
            pass

    def send(self, answer: _Answer, blocks: Iterable[bytes]) -> Iterable[bytes]:
        """Answer as the stand-in did, with these blocks."""
        self._start(answer.status, answer.headers)
        return blocks

    def answer(
        self, status: int, content_type: str, body: bytes, headers: list[tuple[str, str]]
    ) -> Iterable[bytes]:
        """An answer of our own."""
        said = [("Content-Type", content_type), ("Content-Length", str(len(body))), *headers]
        self._start(f"{status} {phrase(status)}", said)
        return [] if self.environ["REQUEST_METHOD"] == "HEAD" else [body]

    def wait(self, seconds: float) -> None:
        """Wait, but no longer than the client does, nor than the command holds."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._cleared.wait(min(left, 0.05)):
            if self._gone():
                raise ConnectionResetError("the client gave up")

    def cut(self) -> None:
        """Reset the connection: the client sees it reset by its peer, not closed."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        # The server goes on with a socket whose other end is closed; its own one is closed for good.
        here, there = socket.socketpair()
        with here, there:
            os.dup2(here.fileno(), self._socket.fileno())
        raise ConnectionResetError("reset on command")

    def cut_after_pause(self) -> None:
        """As :meth:`cut`, once the client had time to get what was sent."""
        time.sleep(0.05)
        self.cut()

    def _gone(self) -> bool:
        try:
            readable, _, _ = select.select([self._socket], [], [], 0)
            return bool(readable) and not self._socket.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True


def _buffer(environ: Environ) -> bytes:
    body = get_input_stream(environ).read()
    _set_body(environ, body)
    environ["marble_images.body"] = body
    return body


def _set_body(environ: Environ, body: bytes) -> None:
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))


def _garbled(content: bytes) -> bytes:
    changed = bytearray(content)
    # The first bytes stay, so that it still looks like what it was.
    for position in range(min(64, len(changed) // 2), len(changed), max(1, len(changed) // 50)):
        changed[position] ^= 0x5A
    return bytes(changed)


def _headers(environ: Environ) -> dict[str, str]:
    found = {
        name[5:].lower().replace("_", "-"): value for name, value in environ.items() if name[:5] == "HTTP_"
    }
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            found[name.lower().replace("_", "-")] = environ[name]
    return found


def _part(answer: _Answer, fraction: float) -> Iterator[bytes]:
    left = int((answer.length or 0) * fraction)
    for block in answer.blocks:
        if left <= 0:
            return
        yield block[:left]
        left -= len(block)


def _then(blocks: Iterable[bytes], act: Callable[[], None]) -> Iterator[bytes]:
    yield from blocks
    act()


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
