"""Addresses of records that lead where a run must not go, through the whole path of a run."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import dagster as dg
import pytest

from marble_images.local.stack import LocalStack
from marble_images_tests.promise.conftest import Sources
from marble_images_tests.promise.invariant import check_promise
from marble_images_tests.promise.runs import reasons_of, reports_of
from marble_images_tests.sources.servers import Listener, listening

_REAL = socket.getaddrinfo
_NAMES = {
    "private.example.org": ["127.0.0.1"],
    "half.example.org": ["93.184.216.34", "127.0.0.1"],
    "mapped.example.org": ["::ffff:127.0.0.1"],
}


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Listener]]:
    """Servers of this machine that nobody may connect to, on IPv4 and, where there is one, IPv6."""

    def getaddrinfo(host: str, port: Any, *rest: Any, **more: Any) -> list[Any]:
        if host not in _NAMES:
            return _REAL(host, port, *rest, **more)
        return [answer for name in _NAMES[host] for answer in _REAL(name, port, *rest, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with ExitStack() as opened:
        listeners = [opened.enter_context(listening("127.0.0.1"))]
        if socket.has_ipv6:
            with suppress(OSError):
                listeners.append(opened.enter_context(listening("::1", socket.AF_INET6)))
        yield listeners


def test_no_address_in_a_record_leads_inside(
    stack: LocalStack,
    sources: Sources,
    instance: dg.DagsterInstance,
    inside: list[Listener],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = inside[0].port
    # Only the stand-in is allowed by name; the listeners' ports are, so that it is the address that counts.
    monkeypatch.setenv("ALLOWED_SOURCE_HOSTS", f"127.0.0.1:{stack.ports['uri']}")
    monkeypatch.setenv("ALLOWED_SOURCE_PORTS", ",".join(str(listener.port) for listener in inside))
    hosts = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0177.0.0.1", "0x7f.1", "127.1"]
    addresses = [f"http://{host}:{port}/" for host in [*hosts, *_NAMES]]
    addresses += [f"http://[::1]:{inside[-1].port}/", f"http://user:word@127.0.0.1:{port}/"]
    addresses += ["http://169.254.169.254/latest/meta-data/", "http://169.254.170.2/v2/credentials/"]
    addresses += [f"gopher://127.0.0.1:{port}/", "file:///etc/passwd", f"ftp://127.0.0.1:{port}/a.jpg"]
    paths = []
    for number, address in enumerate(addresses):
        paths += [f"direct/{number:02}.jpg", f"redirected/{number:02}.jpg"]
        sources.record(paths[-2], sourceType="Uri", sourceUri=address)
        page = stack.web.put_uri(f"redirect-{number:02}", b"x")
        sources.record(paths[-1], sourceType="Uri", sourceUri=page)
        stack.faults.add("redirect", service="uri", path=f"redirect-{number:02}", location=address)
    reports = reports_of(instance, paths)
    ends = check_promise(stack, paths, reasons=reasons_of(paths, reports))
    assert set(ends.waiting) == set(paths)
    assert {report.code for report in reports.values()} == {"unsafe-address"}, ends.waiting
    assert [listener.taken for listener in inside] == [[] for _ in inside]
