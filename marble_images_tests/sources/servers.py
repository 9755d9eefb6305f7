"""Servers that misbehave on command: a web server with a script, and a socket that only listens."""

from __future__ import annotations

import gzip
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

ETAG = '"an-etag"'


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    target: str
    headers: Message
    client: tuple[str, int]
    body: bytes = b""


class Exchange(BaseHTTPRequestHandler):
    """One connection; each of its requests is answered by the next step of the server's script."""

    protocol_version = "HTTP/1.1"
    server: ScriptedServer

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = Asked(self.command, self.path, self.headers, self.client_address, body)
        self.server.next_step(asked)(self)

    do_GET = do_HEAD = do_POST = _handle  # noqa: N815

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def send(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        """A status line, headers and a body, exactly as given."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def drop(self) -> None:
        """Close the connection as a program that ended does."""
        self.wfile.flush()
        self.close_connection = True

    def reset(self) -> None:
        """Close the connection with RST."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True


Step = Callable[[Exchange], None]


class ScriptedServer(ThreadingHTTPServer):
    """Answers requests with the steps of a script, in order; the last one repeats."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        super().__init__(address, Exchange)
        self.script: list[Step] = [status(500)]
        self.routes: dict[str, list[Step]] = {}
        self.asked: list[Asked] = []
        self.connections = 0
        self._lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what many tests are about."""

    def get_request(self) -> Any:
        self.connections += 1
        return super().get_request()

    def next_step(self, asked: Asked) -> Step:
        with self._lock:
            self.asked.append(asked)
            script = self.routes.get(asked.target.partition("?")[0], self.script)
            return script.pop(0) if len(script) > 1 else script[0]

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def url(self, path: str = "/image.png", host: str = "127.0.0.1") -> str:
        scheme = "https" if isinstance(self.socket, ssl.SSLSocket) else "http"
        return f"{scheme}://{host}:{self.port}{path}"


@contextmanager
def running(server: ScriptedServer) -> Iterator[ScriptedServer]:
    """Serve until the end of the block."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@dataclass
class Listener:
    """A socket that takes connections and records them; whoever connects has lost."""

    sock: socket.socket
    taken: list[Any] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.sock.getsockname()[1])


@contextmanager
def listening(host: str = "127.0.0.1", family: socket.AddressFamily = socket.AF_INET) -> Iterator[Listener]:
    """Listen on a free port, on the given address."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.bind((host, 0))
    sock.listen(16)
    listener = Listener(sock)

    def take() -> None:
        while True:
            try:
                connection, client = sock.accept()
            except OSError:
                return
            listener.taken.append(client)
            connection.close()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        # Wakes the thread: closing alone leaves it in accept().
        with socket.socket(family, socket.SOCK_STREAM) as waker:
            seen = len(listener.taken)
            waker.connect((host, listener.port))
            while len(listener.taken) == seen:
                time.sleep(0.005)
            listener.taken.pop()
        sock.shutdown(socket.SHUT_RDWR)
        sock.close()
        thread.join(5)


# --- steps -----------------------------------------------------------------------------------------


def good(body: bytes, **headers: str) -> Step:
    """The whole file, or the range of it that is asked for."""

    def step(exchange: Exchange) -> None:
        sent = {"Content-Type": "image/png", "ETag": ETAG, "Accept-Ranges": "bytes"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        start = _range_start(exchange, sent["ETag"])
        if start is None:
            exchange.send(200, {**sent, "Content-Length": str(len(body))}, body)
        else:
            sent["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            exchange.send(206, {**sent, "Content-Length": str(len(body) - start)}, body[start:])

    return step


def _range_start(exchange: Exchange, etag: str) -> int | None:
    wanted, condition = exchange.headers.get("Range"), exchange.headers.get("If-Range", etag)
    if not wanted or condition != etag:
        return None
    return int(wanted.removeprefix("bytes=").removesuffix("-"))


def cut(body: bytes, after: int, *, end: str = "drop", ranges: bool = True, etag: str = ETAG) -> Step:
    """Breaks off ``after`` bytes, of the range that is asked for; ``end`` is ``drop`` or ``reset``."""

    def step(exchange: Exchange) -> None:
        start = (_range_start(exchange, etag) or 0) if ranges else 0
        sent = {"Content-Length": str(len(body) - start), "ETag": etag}
        if ranges:
            sent["Accept-Ranges"] = "bytes"
        if start:
            sent["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        exchange.send(206 if start else 200, sent, body[start : start + after])
        getattr(exchange, end)()

    return step


def status(code: int, body: bytes = b"an error page", **headers: str) -> Step:
    """An answer that is no file."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda exchange: exchange.send(code, {"Content-Length": str(len(body)), **sent}, body)


def redirect(location: str, code: int = 302) -> Step:
    """To another address."""
    return lambda exchange: exchange.send(code, {"Content-Length": "0", "Location": location})


def silent(exchange: Exchange) -> None:
    """No answer at all, until the client goes away."""
    exchange.connection.settimeout(60)
    with suppress(OSError):
        exchange.connection.recv(1)
    exchange.close_connection = True


def patience(*steps: Step) -> float:
    """A read time-out for these steps, s: short where a test waits for its end, else long enough."""
    return 0.4 if silent in steps else 10.0


def drip(rest: bytes, start: bytes = b"", *, pause: float = 0.02) -> Step:
    """``start`` at once, then one byte of ``rest`` after another."""

    def step(exchange: Exchange) -> None:
        exchange.close_connection = True
        exchange.wfile.write(start)
        for byte in rest:
            exchange.wfile.write(bytes([byte]))
            time.sleep(pause)

    return step


def chunked(body: bytes, *, finished: bool = True, pieces: int = 4, **headers: str) -> Step:
    """Chunked transfer, without its last chunk if it is not ``finished``."""

    def step(exchange: Exchange) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        exchange.send(200, {"Transfer-Encoding": "chunked", **named})
        size = max(1, -(-len(body) // pieces))
        for at in range(0, len(body), size):
            piece = body[at : at + size]
            exchange.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        if finished:
            exchange.wfile.write(b"0\r\n\r\n")
        else:
            exchange.drop()

    return step


def packed(body: bytes, *, lose: int = 0, keep: int | None = None, named: bool = True) -> Step:
    """Gzip, although it was not asked for, with ``lose`` bytes missing at the end.

    ``keep``: the connection breaks after so many bytes; ``named``: parts say that they are packed, too.
    """
    data = gzip.compress(body, mtime=0)
    data = data[: len(data) - lose]

    def step(exchange: Exchange) -> None:
        start = _range_start(exchange, ETAG) or 0
        sent = {"Content-Length": str(len(data) - start), "ETag": ETAG, "Accept-Ranges": "bytes"}
        if named or not start:
            sent["Content-Encoding"] = "gzip"
        if start:
            sent["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        exchange.send(206 if start else 200, sent, data[start:][:keep])
        if keep is not None:
            exchange.drop()

    return step


def raw(data: bytes) -> Step:
    """These bytes, whatever they are, and the end of the connection."""

    def step(exchange: Exchange) -> None:
        exchange.wfile.write(data)
        exchange.drop()

    return step


def secured(server: ScriptedServer, context: ssl.SSLContext) -> ScriptedServer:
    """The same server behind TLS."""
    server.socket = cast(socket.socket, context.wrap_socket(server.socket, server_side=True))
    return server
