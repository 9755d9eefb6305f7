"""Keeping a deadline whatever the server on the other side is doing.

Time-outs of sockets start again with every byte, so a server that drips can hold a reader for days: only a
cut from outside keeps the deadline.
"""

from __future__ import annotations

import contextvars
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any


class Watchdog:
    """Cuts the connections of this thread's current try when its time is over; a context manager.

    Resolving a name is not cut: the resolver has its own time-outs.

    Parameters
    ----------
    seconds
        That the try may take.
    """

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._bite)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._cuts: list[Callable[[], Any]] = []
        self._bitten = False
        self._token: contextvars.Token[Watchdog | None] | None = None

    def __enter__(self) -> Watchdog:
        self._timer.start()
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._cuts.clear()
        if self._token is not None:
            _current.reset(self._token)

    @property
    def expired(self) -> bool:
        """Whether the time is over: an error of the try is then due to it."""
        return self._bitten

    def watch(self, cut: Callable[[], Any]) -> None:
        """Call ``cut`` when the time is over, at once if it is."""
        with self._lock:
            self._cuts.append(cut)
            bitten = self._bitten
        if bitten:
            self._bite()

    def _bite(self) -> None:
        with self._lock:
            self._bitten = True
            cuts, self._cuts = self._cuts, []
        for cut in cuts:
            with suppress(OSError, RuntimeError, ValueError):
                cut()


_current: contextvars.ContextVar[Watchdog | None] = contextvars.ContextVar("watchdog", default=None)


def current_watchdog() -> Watchdog | None:
    """The watchdog of the try that this thread is in."""
    return _current.get()


def watch_socket(sock: socket.socket | None) -> None:
    """Let the watchdog of the current try, if there is one, shut a socket down."""
    watchdog = current_watchdog()
    if watchdog is not None and sock is not None:
        watchdog.watch(partial(shut_down, sock))


def shut_down(sock: socket.socket) -> None:
    """End what a socket sends and receives, under whoever uses it."""
    # The base class's method: SSLSocket.shutdown would unwrap TLS under the reader's feet.
    socket.socket.shutdown(sock, socket.SHUT_RDWR)
