"""A deadline on a whole HTTP request, for requests and the libraries on top of it.

Socket time-outs start anew with every byte, so a server that drips its answer would hold a thread for
ever. Here a timer shuts the connection down under the request, whatever it is waiting for.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_log = logging.getLogger(__name__)


class Watch:
    """The request that a thread has under way.

    Attributes
    ----------
    expired
        The deadline has passed: an error of the request is due to it.
    """

    def __init__(self) -> None:
        self.connection: HTTPConnection | None = None
        self.expired = False

    def expire(self) -> None:
        """Break the request off; called by the timer's thread."""
        self.expired = True
        sock = getattr(self.connection, "sock", None)
        if sock is not None:
            try:
                # Not sock.shutdown(): an SSLSocket would forget its encryption under the reader's feet.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                _log.debug("the connection had ended by itself")


_under_way = threading.local()


@contextmanager
def deadline(seconds: float) -> Iterator[Watch]:
    """Break off what this thread asks through a ``DeadlineAdapter`` after so many seconds.

    The request then fails as it does when the server hangs up; ``expired`` of the yielded watch tells
    the two apart. Resolving the name is not interrupted: the resolver has its own time-outs.
    """
    watch = Watch()
    timer = threading.Timer(seconds, watch.expire)
    timer.daemon = True
    _under_way.watch = watch
    timer.start()
    try:
        yield watch
    finally:
        timer.cancel()
        _under_way.watch = None


class _Watched(HTTPConnection):
    def connect(self) -> None:
        self._tell_watch()
        super().connect()

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._tell_watch()
        super().request(*args, **kwargs)

    def _tell_watch(self) -> None:
        watch: Watch | None = getattr(_under_way, "watch", None)
        if watch is not None:
            watch.connection = self
            if watch.expired:
                raise TimeoutError("the deadline has passed")


class _WatchedHTTPS(_Watched, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedHTTPS


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class DeadlineAdapter(HTTPAdapter):
    """An adapter of requests whose connections heed ``deadline``; mount it on a session."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of connections, as requests asks for them."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """Make the pools of connections through a proxy."""
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager
