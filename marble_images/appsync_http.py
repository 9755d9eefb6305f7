"""Connections of requests that a :class:`~marble_images.watchdog.Watchdog` can cut."""

from __future__ import annotations

from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from marble_images.watchdog import current_watchdog, shut_down


class _Watched(HTTPConnection):
    def connect(self) -> None:
        self._let_watch()
        super().connect()

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._let_watch()
        super().request(*args, **kwargs)

    def _let_watch(self) -> None:
        watchdog = current_watchdog()
        if watchdog is None:
            return
        if watchdog.expired:
            raise TimeoutError("the deadline has passed")
        # The socket of the moment: during a TLS handshake it is another than after it.
        watchdog.watch(lambda: shut_down(self.sock) if self.sock is not None else None)


class _WatchedHTTPS(_Watched, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedHTTPS


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class WatchedAdapter(HTTPAdapter):
    """An adapter of requests whose connections the current watchdog can cut; mount it on a session.

    A request then fails as it does when the server hangs up; the watchdog's ``expired`` tells the two apart.
    """

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of connections, as requests asks for them."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """Make the pools of connections through a proxy."""
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager
