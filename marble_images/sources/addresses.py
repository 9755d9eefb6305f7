"""Which web addresses a run may open: parsing, and the guard against addresses that are not public.

Addresses come from records that many systems write, and a task in a cloud network can reach services
that trust whoever asks. So a host is judged by the addresses it resolves to, at the moment of the
connection, and the connection is made to an address that was judged.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from marble_images.errors import SettingsError, SourceError, UnsafeAddress, UnusableRecord

DEFAULT_PORTS = {"http": 80, "https": 443}

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
SocketAddress = tuple[socket.AddressFamily, tuple[Any, ...]]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST_NAME = re.compile(r"[a-z0-9._-]+")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")

# IANA's special-purpose registries (RFC 6890 and successors); Python's own list differs by version.
_SPECIAL = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"),
        *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4"),
        *("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"),
    )
)
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: IPAddress) -> bool:
    """Whether an address is one of the public internet, by IANA's registries.

    An IPv4 address inside an IPv6 one (IPv4-mapped, or NAT64's ``64:ff9b::/96``) is judged itself.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _GLOBAL_UNICAST or address.scope_id is not None:
            return False
    if any(address.version == special.version and address in special for special in _SPECIAL):
        return False
    return address.is_global and not address.is_multicast


@dataclass(frozen=True)
class WebAddress:
    """A web address in normal form: what is sent is what was checked."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Host, and the port if it is not the scheme's own."""
        return self.host if self.port == DEFAULT_PORTS[self.scheme] else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole address; its query may be a secret."""
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def shown(self) -> str:
        """The address fit to be shown: without its query."""
        return f"{self.scheme}://{self.authority}{self.target.partition('?')[0]}"

    def join(self, location: str) -> WebAddress:
        """The address that a redirect from here leads to.

        Raises
        ------
        UnsafeAddress
            As :func:`parse_address`; or it leads from https to http.
        SourceError
            It is no web address.
        """
        try:
            joined = urljoin(self.url, _as_utf8(location.strip()))
            target = parse_address(joined, f"the address that {self.host} redirects to")
        except (UnusableRecord, ValueError):
            raise SourceError(f"{self.host} redirects to something that is no web address") from None
        if self.scheme == "https" and target.scheme == "http":
            raise UnsafeAddress(f"{self.host} redirects from https to http ({target.host})")
        return target


def parse_address(text: str, what: str = "the sourceUri") -> WebAddress:
    """Read a web address as people and systems write it.

    Blanks, letters beyond ASCII and lone percent signs are percent-encoded; what is encoded already
    stays as it is, and the fragment is dropped.

    Raises
    ------
    UnsafeAddress
        Another scheme than http and https, a user or password, or a host that is a number in another
        notation than dotted decimal.
    UnusableRecord
        It is no web address.
    """
    text = text.strip()
    if _CONTROL.search(text):
        raise UnusableRecord(f"{what} holds a line break or control character")
    try:
        parts = parse_url(_STRAY_PERCENT.sub("%25", text))
    except (LocationParseError, ValueError):
        raise UnusableRecord(f"{what} is no web address") from None
    if parts.scheme is None:
        raise UnusableRecord(f"{what} is no web address")
    if parts.scheme not in DEFAULT_PORTS:
        # Without slashes it may be a user's name that stands before the colon.
        named = f" but {parts.scheme}" if f"{parts.scheme}://" in text.lower() else ""
        raise UnsafeAddress(f"{what} is neither http nor https{named}")
    if parts.auth is not None:
        raise UnsafeAddress(f"{what} holds a user name or password")
    if not parts.host:
        raise UnusableRecord(f"{what} names no host")
    host = _checked_host(parts.host.lower(), what)
    port = DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
    path = parts.path or "/"
    return WebAddress(parts.scheme, host, port, path if parts.query is None else f"{path}?{parts.query}")


def _as_utf8(text: str) -> str:
    # HTTP headers are read as Latin-1; servers that send bare letters mean UTF-8.
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _checked_host(host: str, what: str) -> str:
    if host.startswith("["):
        return host
    if not _HOST_NAME.fullmatch(host):
        raise UnusableRecord(f"{what} names a host that is no host name")
    if any(len(label) > 63 for label in host.split(".")) or ".." in host or host.startswith("."):
        raise UnusableRecord(f"{what} names a host that is no host name")
    if _NUMERIC_LABEL.fullmatch(host.rstrip(".").rpartition(".")[2]):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise UnsafeAddress(f"{what} names its host by the number {host}") from None
    return host


class AddressGuard:
    """Decides which hosts, ports and addresses may be connected to.

    Parameters
    ----------
    allowed_hosts
        ``host`` or ``host:port``: opened whatever it resolves to; the very name, nothing else.
    allowed_ports
        Ports of public hosts besides the schemes' own.

    Raises
    ------
    SettingsError
        An entry of ``allowed_hosts`` is no host.
    """

    def __init__(self, allowed_hosts: Iterable[str] = (), allowed_ports: Iterable[int] = ()) -> None:
        self._allowed = frozenset(split_host(entry) for entry in allowed_hosts)
        self._ports = frozenset(allowed_ports)

    def allows(self, host: str, port: int) -> bool:
        """Whether the host was allowed by name."""
        bare = host.lower().strip("[]")
        return (bare, port) in self._allowed or (bare, None) in self._allowed

    def check(self, address: WebAddress) -> None:
        """Refuse what can be refused without asking the name service.

        Raises
        ------
        UnsafeAddress
            The port is not allowed, or the host is an address that is not public.
        """
        if self.allows(address.host, address.port):
            return
        if address.port != DEFAULT_PORTS[address.scheme] and address.port not in self._ports:
            raise UnsafeAddress(f"port {address.port} of {address.host} is not allowed")
        try:
            literal = ipaddress.ip_address(address.host.strip("[]").partition("%")[0])
        except ValueError:
            return
        self._judge(address.host, literal)

    def resolve(self, host: str, port: int) -> list[SocketAddress]:
        """The socket addresses of a host, all of them checked; connect to these and to no others.

        Raises
        ------
        UnsafeAddress
            The host was not allowed by name, and one of its addresses is not public.
        OSError
            The name service knows no address (``socket.gaierror``).
        """
        bare = host.strip("[]")
        try:
            found = socket.getaddrinfo(bare, port, socket.AF_UNSPEC, socket.SOCK_STREAM)
        except UnicodeError:
            raise UnsafeAddress(f"{bare} is no host name") from None
        addresses: list[SocketAddress] = [(family, sockaddr) for family, _, _, _, sockaddr in found]
        if not self.allows(host, port):
            for _, sockaddr in addresses:
                self._judge(bare, ipaddress.ip_address(str(sockaddr[0])))
        return addresses

    @staticmethod
    def _judge(host: str, address: IPAddress) -> None:
        if not is_public(address):
            named = "" if str(address) == host.strip("[]") else f", which {host} resolves to,"
            raise UnsafeAddress(f"the address {address}{named} is not public")


def split_host(entry: str) -> tuple[str, int | None]:
    """Split ``host``, ``host:port``, ``[v6]``, ``[v6]:port`` or a bare IPv6 address.

    Raises
    ------
    SettingsError
        It is none of these.
    """
    text = entry.strip().lower()
    matched = re.fullmatch(r"\[([0-9a-f:.]+)\](?::(\d+))?|([a-z0-9._-]+)(?::(\d+))?|([0-9a-f:.]+)", text)
    if matched is None:
        raise SettingsError(f"{entry!r} is no host and no host:port")
    v6, v6_port, name, name_port, bare = matched.groups()
    port = v6_port or name_port
    return v6 or name or bare, int(port) if port else None
