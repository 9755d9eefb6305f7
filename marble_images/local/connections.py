"""HTTP/1.1 with connections that stay open, as those of S3, AppSync and most web servers do.

Werkzeug closes each connection after one answer, so a client that cannot cope with one that was closed while
it lay idle would look well here, and the time to connect would be measured with every request.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import traceback
from collections.abc import Callable
from typing import Any

from werkzeug.exceptions import HTTPException
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.wsgi import ClosingIterator, get_input_stream

_BLOCK = 2**16
_MOST_LEFT_OVER = 1024  # blocks


class KeepAliveHandler(WSGIRequestHandler):
    """Answers one request after the other; without a line on stderr for each: the request log has them."""

    protocol_version = "HTTP/1.1"
    # Headers and the first block go in one packet, and none waits for the one before to be acknowledged.
    wbufsize = -1
    disable_nagle_algorithm = True

    def handle_expect_100(self) -> bool:
        """Let the client send its body, which it waits with until it hears so."""
        proceed = super().handle_expect_100()
        self.wfile.flush()
        return proceed

    def run_wsgi(self) -> None:
        """Answer the request that was read, and find out whether another may follow."""
        self.environ = environ = self.make_environ()
        # It ends where the request does, for whoever reads it.
        environ["wsgi.input"] = body = get_input_stream(environ)
        environ["wsgi.input_terminated"] = True
        if not (self._answered(environ) and _drained(body)):
            self.close_connection = True

    def _answered(self, environ: dict[str, Any]) -> bool:
        """Let the application answer; whether it did so in full."""
        answer = _Answer(self)
        try:
            with contextlib.closing(ClosingIterator(self.server.app(environ, answer.start))) as blocks:
                for block in blocks:
                    answer.write(block)
            return answer.end()
        except (ConnectionError, TimeoutError):
            return False
        except Exception:  # noqa: BLE001 - the next request must find a server
            self.log("error", "%s", traceback.format_exc())
            if not answer.begun:
                self.close_connection = True
                answer.start("500 Internal Server Error", [("Content-Length", "0")])
                answer.end()
            return False

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say what is an error on stderr, and nothing else."""
        if type == "error" and not message.startswith(("code ", "Request timed out")):
            super().log(type, message, *args)


class KeepAliveServer(ThreadedWSGIServer):
    """One thread for each connection; those that are idle end with the server."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        super().__init__(*args, **options)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a thread for a connection."""
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Close the port, and let no connection ask for more."""
        super().server_close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)


def _drained(body: Any) -> bool:
    """Read what the application left of a request; whether the next one may follow."""
    try:
        for _ in range(_MOST_LEFT_OVER):
            if not body.read(_BLOCK):
                return True
    except (HTTPException, OSError):
        # The client is gone.
        return False
    return False


class _Answer:
    """One answer of an application on its connection, in chunks where its length is not known.

    Attributes
    ----------
    begun
        Whether its headers are on their way.
    """

    def __init__(self, handler: KeepAliveHandler) -> None:
        self._handler = handler
        self._status = ""
        self._headers: list[tuple[str, str]] = []
        self._bare = False
        self._chunked = False
        self._due: int | None = None
        self._sent = 0
        self.begun = False

    def start(
        self, status: str, headers: list[tuple[str, str]], _exc_info: Any = None
    ) -> Callable[[bytes], None]:
        """WSGI's ``start_response``."""
        self._status, self._headers = status, headers
        return self.write

    def write(self, block: bytes) -> None:
        """Send a block, after the headers if it is the first."""
        if not self.begun:
            self._begin()
        if block and not self._bare:
            self._sent += len(block)
            self._handler.wfile.write(b"%x\r\n%b\r\n" % (len(block), block) if self._chunked else block)
        self._handler.wfile.flush()

    def end(self) -> bool:
        """Send what is left; whether all was sent that the headers promise."""
        if not self.begun:
            self._begin()
        if self._chunked:
            self._handler.wfile.write(b"0\r\n\r\n")
        self._handler.wfile.flush()
        return self._chunked or self._due == self._sent

    def _begin(self) -> None:
        self.begun = True
        code, _, phrase = self._status.partition(" ")
        names = {name.lower(): value for name, value in self._headers}
        # RFC 9110, 6.4.1: these have no content, whatever their headers say.
        self._bare = self._handler.command == "HEAD" or code in ("204", "304")
        self._due = 0 if self._bare else int(names["content-length"]) if "content-length" in names else None
        self._chunked = self._due is None and self._handler.request_version == "HTTP/1.1"
        self._handler.send_response(int(code), phrase)
        for name, value in self._headers:
            self._handler.send_header(name, value)
        if self._chunked:
            self._handler.send_header("Transfer-Encoding", "chunked")
        if self._handler.close_connection:
            self._handler.send_header("Connection", "close")
        self._handler.end_headers()
