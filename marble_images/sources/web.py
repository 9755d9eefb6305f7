"""The web client of the sources: urllib3, connected to checked addresses only.

No proxies, cookies or netrc: the environment of the process decides nothing about where a request
goes. Redirects are followed here, step by step, so that each is checked like the first address.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    IncompleteRead,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.response import BaseHTTPResponse
from urllib3.util import Timeout, create_urllib3_context

from marble_images import __version__
from marble_images.errors import FileError, SourceError, SourceIncomplete, SourceTimeout, SourceUnavailable
from marble_images.sources.addresses import AddressGuard, WebAddress
from marble_images.sources.deadline import Deadline
from marble_images.sources.health import HostHealth
from marble_images.sources.retry import TryAgain
from marble_images.sources.settings import FetchSettings
from marble_images.watchdog import watch_socket

MAX_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}
_SMALL_BODY = 64 * 1024
_POOLS = 32
_CONNECTIONS_A_HOST = 16
_QUERY = re.compile(r"\?\S+")

Headers = Callable[[WebAddress, bool], Mapping[str, str]]
"""Headers for an address; the flag says whether all addresses so far were of the first one's host."""


class _Guarded:
    """What both kinds of connection add to urllib3's: checked addresses, and the watchdog's hand."""

    guard: ClassVar[AddressGuard]

    def _new_conn(self: Any) -> socket.socket:
        # The one place where urllib3 resolves a name: what is checked is what is connected to.
        try:
            addresses = self.guard.resolve(self._dns_host, self.port)
        except socket.gaierror as err:
            raise NameResolutionError(self.host, self, err) from err
        failure = OSError("the name has no address")
        for family, sockaddr in addresses:
            connected = _connect(family, sockaddr, self.timeout, self.socket_options)
            if isinstance(connected, socket.socket):
                return connected
            failure = connected
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"no connection within {self.timeout} s") from failure
        raise NewConnectionError(self, f"no connection: {failure.strerror or failure}") from failure

    def connect(self: Any) -> None:
        super().connect()  # type: ignore[misc]
        watch_socket(self.sock)

    def request(self: Any, *args: Any, **kwargs: Any) -> None:
        watch_socket(self.sock)
        super().request(*args, **kwargs)  # type: ignore[misc]


def _connect(family: int, sockaddr: tuple[Any, ...], timeout: Any, options: Any) -> socket.socket | OSError:
    sock = None
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
        for option in options or ():
            sock.setsockopt(*option)
        sock.settimeout(timeout)
        sock.connect(sockaddr)
    except OSError as err:
        if sock is not None:
            sock.close()
        return err
    return sock


@dataclass(frozen=True)
class Answer:
    """A response whose body is still to be read, and the address that gave it."""

    response: BaseHTTPResponse
    address: WebAddress

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.response.status

    def small_body(self) -> bytes:
        """At most 64 KiB of the body, for error messages; the connection is given up or reused."""
        parts: list[bytes] = []
        try:
            while sum(map(len, parts)) < _SMALL_BODY and (part := self.response.read1(_SMALL_BODY)):
                parts.append(part)
        except (HTTPError, OSError):
            pass
        finally:
            # Closes the connection unless its body was read to the end and it is back in the pool.
            self.response.close()
        return b"".join(parts)[:_SMALL_BODY]


class WebClient:
    """Opens web addresses for many threads, with pooled connections.

    Parameters
    ----------
    guard
        What may be connected to, at the first address and after every redirect.
    tls
        How the names of https servers are verified.

    Attributes
    ----------
    health
        Which hosts are down, as far as is known.
    """

    def __init__(
        self,
        settings: FetchSettings,
        guard: AddressGuard,
        tls: ssl.SSLContext,
        health: HostHealth | None = None,
    ) -> None:
        _keep_queries_out_of_logs()
        self.health = health or HostHealth()
        self._settings = settings
        self._guard = guard
        plain = type("GuardedHTTPConnection", (_Guarded, HTTPConnection), {"guard": guard})
        secure = type("GuardedHTTPSConnection", (_Guarded, HTTPSConnection), {"guard": guard})
        self._pools = urllib3.PoolManager(num_pools=_POOLS, maxsize=_CONNECTIONS_A_HOST, ssl_context=tls)
        self._pools.pool_classes_by_scheme = {
            "http": type("GuardedHTTPPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("GuardedHTTPSPool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
        }

    def get(self, address: WebAddress, headers: Headers, deadline: Deadline) -> Answer:
        """GET an address and follow its redirects; the body is not read yet.

        Raises
        ------
        UnsafeAddress
            The address, or one that it redirects to, must not be opened.
        TryAgain
            No connection, or no answer.
        SourceError
            Too many redirects, or one that leads nowhere.
        """
        first, home = address.authority, True
        for _ in range(MAX_REDIRECTS + 1):
            self._guard.check(address)
            home = home and address.authority == first
            answer = self._get_one(address, headers(address, home), deadline)
            if answer.status not in _REDIRECTS:
                return answer
            answer.small_body()
            location = answer.response.headers.get("Location")
            if not location:
                raise SourceError(
                    f"{address.host} answered HTTP {answer.status}, a redirect that leads nowhere"
                )
            address = address.join(location)
        raise SourceError(f"{first} redirects more than {MAX_REDIRECTS} times")

    def _get_one(self, address: WebAddress, headers: Mapping[str, str], deadline: Deadline) -> Answer:
        deadline.check(address.host)
        left = max(deadline.remaining, 0.001)
        # A reader is stopped by the watchdog, which knows why.
        timeout = Timeout(connect=min(self._settings.connect_timeout, left), read=self._settings.read_timeout)
        sent = {"User-Agent": user_agent(), "Accept": "*/*", "Accept-Encoding": "identity", **headers}
        try:
            pool = self._pools.connection_from_host(address.host, address.port, address.scheme)
            response = pool.urlopen(
                "GET",
                address.target,
                headers=sent,
                retries=False,
                redirect=False,
                timeout=timeout,
                preload_content=False,
                decode_content=False,
            )
        except (HTTPError, OSError) as err:
            raise network_fault(err, address, deadline) from None
        if 300 <= response.status < 500:
            self.health.answered(address.authority)
        return Answer(response, address)


def network_fault(
    err: Exception, address: WebAddress, deadline: Deadline, *, answered: bool = False
) -> FileError | TryAgain:
    """What a failure of urllib3 means, before or after the host began to answer; to be raised."""
    host, outage = address.host, address.authority
    detail = f"{type(err).__name__}: {err}"
    if not deadline.remaining:
        return deadline.missed(host, detail)
    if isinstance(err, SSLError):
        reason = f"no safe connection to {host}: {_tls_reason(err)}"
        if isinstance(err.args[0] if err.args else None, ssl.SSLCertVerificationError):
            return SourceUnavailable(reason, detail=detail)
        return TryAgain(SourceUnavailable(reason, detail=detail), outage=outage)
    if isinstance(err, NameResolutionError):
        return TryAgain(SourceUnavailable(f"the name {host} is not known", detail=detail), outage=outage)
    if isinstance(err, ConnectTimeoutError):
        return TryAgain(SourceTimeout(f"no connection to {host} in time", detail=detail), outage=outage)
    if isinstance(err, NewConnectionError):
        return TryAgain(SourceUnavailable(f"no connection to {host}", detail=detail), outage=outage)
    if isinstance(err, (ReadTimeoutError, TimeoutError)):
        return TryAgain(SourceTimeout(f"{host} fell silent", detail=detail), outage=outage)
    if isinstance(err, IncompleteRead) or _cut_short(err):
        return TryAgain(SourceIncomplete(f"{host} sent fewer bytes than it had said", detail=detail))
    broke = SourceUnavailable(f"the connection to {host} broke", detail=detail)
    return TryAgain(broke, outage=None if answered else outage)


def _cut_short(err: Exception) -> bool:
    return isinstance(err, ProtocolError) and any(isinstance(arg, IncompleteRead) for arg in err.args)


def _tls_reason(err: SSLError) -> str:
    cause = err.args[0] if err.args else err
    return getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or "TLS failed"


def user_agent() -> str:
    """How the pipeline names itself to web servers."""
    return f"marble-images/{__version__}"


def tls_context() -> ssl.SSLContext:
    """TLS 1.2 and later, names verified by the machine's authorities and the usual ones.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` name other authorities in the usual way.
    """
    return _tls_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _tls_context(*_: str | None) -> ssl.SSLContext:
    # Reading a few hundred certificates takes longer than many a download.
    context = create_urllib3_context()
    # A machine's own store may know an institution's authority, or none at all.
    context.load_default_certs()
    context.load_verify_locations(certifi.where())
    return context


class _NoQueries(logging.Filter):
    """Takes queries out of urllib3's lines: after a redirect they may be signatures."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                _QUERY.sub("?...", arg) if isinstance(arg, str) else arg for arg in record.args
            )
        return True


@cache
def _keep_queries_out_of_logs() -> None:
    for name in ("urllib3.connectionpool", "urllib3.connection"):
        logging.getLogger(name).addFilter(_NoQueries())
