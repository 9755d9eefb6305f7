"""A request ends at its deadline, whatever it waits for, with and without TLS."""

import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from marble_images.appsync_http import WatchedAdapter
from marble_images.watchdog import Watchdog

Talk = Callable[[socket.socket], None]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate of 127.0.0.1, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


class Server:
    """Takes connections and lets ``talk`` answer each request on them."""

    def __init__(self, talk: Talk, certificate: Path | None) -> None:
        self._talk = talk
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate)
        self.connections = 0
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}/"
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                while connection.recv(65536):
                    self._talk(connection)
        except OSError:
            return


def drip(start: bytes) -> Talk:
    def talk(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(b"x")
            time.sleep(0.02)

    return talk


DRIPS = {
    "headers": drip(b"HTTP/1.1 200 OK\r\nX-Long: "),
    "status": drip(b"HTTP/1.1 "),
    "body": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"),
    "chunks": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n"),
}


@pytest.fixture(params=["http", "https"])
def serve(request: pytest.FixtureRequest, certificate: Path) -> Iterator[Callable[[Talk], Server]]:
    servers: list[Server] = []

    def start(talk: Talk) -> Server:
        servers.append(Server(talk, certificate if request.param == "https" else None))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def session(certificate: Path) -> Iterator[requests.Session]:
    with requests.Session() as opened:
        opened.mount("http://", WatchedAdapter())
        opened.mount("https://", WatchedAdapter())
        opened.verify = str(certificate)
        # REQUESTS_CA_BUNDLE of the environment would come before it.
        opened.trust_env = False
        yield opened


@pytest.mark.parametrize("talk", list(DRIPS.values()), ids=list(DRIPS))
def test_an_answer_that_drips_is_broken_off(
    serve: Callable[[Talk], Server], session: requests.Session, talk: Talk
) -> None:
    server = serve(talk)
    with Watchdog(0.3) as watch:
        try:
            answer = session.get(server.url, timeout=30)
        except requests.RequestException:
            answer = None
    assert watch.expired
    # Headers that end early are valid to http.client; there is no body then.
    assert answer is None or answer.content == b""


def test_a_request_in_time_is_left_alone_and_its_connection_kept(
    serve: Callable[[Talk], Server], session: requests.Session
) -> None:
    server = serve(lambda connection: connection.sendall(OK))
    for _ in range(3):
        with Watchdog(30) as watch:
            assert session.get(server.url, timeout=30).text == "ok"
        assert not watch.expired
    assert session.get(server.url, timeout=30).text == "ok"
    assert server.connections == 1


def test_the_deadline_holds_on_a_kept_connection(
    serve: Callable[[Talk], Server], session: requests.Session
) -> None:
    answers = [lambda connection: connection.sendall(OK), DRIPS["body"]]
    server = serve(lambda connection: answers.pop(0)(connection))
    with Watchdog(30):
        session.get(server.url, timeout=30)
    with pytest.raises(requests.RequestException), Watchdog(0.3):
        session.get(server.url, timeout=30)
    assert server.connections == 1


def test_after_the_deadline_no_request_begins(
    serve: Callable[[Talk], Server], session: requests.Session
) -> None:
    server = serve(lambda connection: connection.sendall(OK))
    with Watchdog(0.01) as watch:
        while not watch.expired:
            time.sleep(0.01)
        with pytest.raises((requests.RequestException, TimeoutError)):
            session.get(server.url, timeout=30)
