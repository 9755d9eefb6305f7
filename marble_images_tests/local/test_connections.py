"""Connections to the stand-ins stay open, and end when they must."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from marble_images.local.server import LoopbackServer

_LENGTHS = {"/short": "20", "/right": "5"}


def _app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/fails":
        raise RuntimeError("on purpose")
    if path == "/breaks":
        start_response("200 OK", [])
        return _breaking()
    if path == "/echo":
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
    start_response("200 OK", [("Content-Length", _LENGTHS[path])] if path in _LENGTHS else [])
    return [b"he", b"llo"]


def _breaking() -> Iterator[bytes]:
    yield b"half"
    raise RuntimeError("on purpose")


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    running = LoopbackServer(_app)
    yield running
    running.close()


@pytest.fixture
def client(server: LoopbackServer) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.connect()
    # It would open a new connection by itself.
    connection.auto_open = 0
    yield connection
    connection.close()


def _ask(
    client: http.client.HTTPConnection, path: str, method: str = "GET", body: bytes | None = None
) -> bytes:
    client.request(method, path, body=body)
    return client.getresponse().read()


@pytest.mark.parametrize("path", ["/right", "/unknown-length"])
def test_a_connection_serves_one_request_after_the_other(
    client: http.client.HTTPConnection, path: str
) -> None:
    assert [_ask(client, path) for _ in range(3)] == [b"hello"] * 3


def test_a_body_that_the_application_did_not_read_is_no_part_of_the_next_request(
    client: http.client.HTTPConnection,
) -> None:
    assert _ask(client, "/right", "POST", b"x" * 300_000) == b"hello"
    assert _ask(client, "/echo", "POST", b"mine") == b"mine"


def test_a_head_without_a_length_leaves_the_connection_usable(client: http.client.HTTPConnection) -> None:
    assert _ask(client, "/unknown-length", "HEAD") == b""
    assert _ask(client, "/right", "HEAD") == b""


def test_an_answer_shorter_than_promised_ends_with_its_connection(client: http.client.HTTPConnection) -> None:
    with pytest.raises(http.client.IncompleteRead):
        _ask(client, "/short")


def test_an_answer_of_unknown_length_that_breaks_off_is_seen_as_such(
    client: http.client.HTTPConnection, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(http.client.IncompleteRead):
        _ask(client, "/breaks")


def test_a_failing_application_answers_500_and_the_next_connection_is_served(
    client: http.client.HTTPConnection, server: LoopbackServer
) -> None:
    client.request("GET", "/fails")
    answer = client.getresponse()
    assert (answer.status, answer.getheader("Connection")) == (500, "close")
    assert _ask(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10), "/right") == b"hello"


def test_a_client_that_waits_to_be_told_to_go_on_is_told_at_once(server: LoopbackServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"mine")
        assert client.recv(1000).endswith(b"\r\n\r\nmine")


@pytest.mark.parametrize(
    "ask",
    [b"GET /unknown-length HTTP/1.0\r\n\r\n", b"GET /right HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"],
)
def test_a_client_that_wants_its_connection_closed_gets_that(server: LoopbackServer, ask: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(ask)
        answer = b""
        while block := client.recv(1000):
            answer += block
    assert answer.endswith(b"\r\n\r\nhello")
    assert b"Connection: close" in answer


def test_idle_connections_end_with_the_server(
    server: LoopbackServer, client: http.client.HTTPConnection
) -> None:
    assert _ask(client, "/right") == b"hello"
    server.close()
    assert client.sock is not None
    assert client.sock.recv(1) == b""
