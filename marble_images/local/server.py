"""A threaded HTTP server on 127.0.0.1 whose port can be closed and opened again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any

from marble_images.local.connections import KeepAliveHandler, KeepAliveServer
from marble_images.local.layout import LOOPBACK

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class LoopbackServer:
    """One WSGI application on 127.0.0.1, each connection in a thread of its own.

    Parameters
    ----------
    app
        The application.
    port
        The port to take if it is free; without it, or when it is taken, a free one.
    handler
        The request handler's class.
    """

    def __init__(
        self, app: WSGIApp, port: int | None = None, handler: type[KeepAliveHandler] = KeepAliveHandler
    ) -> None:
        self._app = app
        self._handler = handler
        self._lock = threading.Lock()
        self._server: KeepAliveServer | None = None
        self._reopening: threading.Timer | None = None
        listener = _listen(port)
        self.port: int = listener.getsockname()[1]
        self._serve(listener)

    @property
    def url(self) -> str:
        """The server's address, without a slash at its end."""
        return f"http://{LOOPBACK}:{self.port}"

    def close(self, seconds: float | None = None) -> None:
        """Close the port: connections are refused until :meth:`open`, or for ``seconds``."""
        with self._lock:
            if self._server is not None:
                self._server.shutdown()
                self._server.server_close()
                self._server = None
            self._cancel_reopening()
            if seconds is not None:
                self._reopening = threading.Timer(seconds, self.open)
                self._reopening.daemon = True
                self._reopening.start()

    def open(self) -> None:
        """Listen again on the same port.

        Raises
        ------
        OSError
            Another program took the port meanwhile.
        """
        with self._lock:
            self._cancel_reopening()
            if self._server is None:
                self._serve(_listen_on(self.port))

    def _cancel_reopening(self) -> None:
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None

    def _serve(self, listener: socket.socket) -> None:
        with listener:
            self._server = KeepAliveServer(
                LOOPBACK, self.port, self._app, self._handler, fd=listener.fileno()
            )
        threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name=f"serve-{self.port}", daemon=True
        ).start()


def _listen(port: int | None) -> socket.socket:
    if port is not None:
        try:
            return _listen_on(port)
        except OSError:
            pass
    return _listen_on(0)


def _listen_on(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen(512)
    except OSError:
        listener.close()
        raise
    return listener
