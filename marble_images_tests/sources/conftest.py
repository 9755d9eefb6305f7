"""One web server, one fetcher and one picture for each test."""

from __future__ import annotations

import datetime
import hashlib
import io
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from moto.server import ThreadedMotoServer
from PIL import Image

from marble_images.models import ChangedFile
from marble_images.sources import FetchSettings, SourceFetcher
from marble_images_tests.sources.servers import Exchange, ScriptedServer, running, secured

Fetch = Callable[..., Any]

SECRET_TOKEN = "marked-curate-token-7431"
ACCESS_TOKEN = "marked-access-token-9920"


def settings(**changes: Any) -> FetchSettings:
    """Limits that make a test quick; the servers of the tests are allowed."""
    quick: dict[str, Any] = {
        "connect_timeout": 10.0,
        "read_timeout": 10.0,
        "deadline": 60.0,
        "attempts": 3,
        "backoff_initial": 0.01,
        "backoff_max": 0.02,
        "gone_pause": 0.02,
        "allowed_hosts": frozenset({"127.0.0.1"}),
        "free_space_reserve": 0,
    }
    return FetchSettings(**{**quick, **changes})


def no_s3() -> Any:
    raise AssertionError("this test uses no S3")


def no_google() -> Any:
    raise AssertionError("this test uses no Google")


def make_fetcher(limits: FetchSettings | None = None, **loaders: Any) -> SourceFetcher:
    """A fetcher; what a test does not give must not be asked for."""
    given = {"s3_client": no_s3, "google_credentials": no_google, "curate_token": lambda: None, **loaders}
    return SourceFetcher(limits or settings(), **given)


def web_file(uri: str | None, source_type: str = "Uri", **fields: Any) -> ChangedFile:
    """A record of a file on a web server."""
    return ChangedFile(file_path="folder/image.png", source_type=source_type, source_uri=uri, **fields)


def s3_file(
    key: str | None = "folder/image.png", bucket: str | None = "sources", **fields: Any
) -> ChangedFile:
    """A record of a file in S3."""
    return ChangedFile(
        file_path="folder/image.png",
        source_type="S3",
        source_bucket_name=bucket,
        source_file_path=key,
        **fields,
    )


def png(width: int, height: int, seed: int = 1) -> bytes:
    """A PNG of noise, so that its size is about three bytes a pixel."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


@pytest.fixture(scope="session")
def picture() -> bytes:
    """A small image, about 12 kB."""
    return png(64, 64)


@pytest.fixture(scope="session")
def large_picture() -> bytes:
    """An image of several MiB, so that a download of it has a middle."""
    return png(1200, 1200)


@pytest.fixture
def web() -> Iterator[ScriptedServer]:
    """A web server that does what its script says."""
    with running(ScriptedServer()) as server:
        yield server


@pytest.fixture
def other_web() -> Iterator[ScriptedServer]:
    """A second one."""
    with running(ScriptedServer()) as server:
        yield server


@pytest.fixture(scope="session")
def service_account_key() -> str:
    """A private key in PEM, as in a service account's JSON."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for ``trusted.test`` and 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "trusted.test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName("trusted.test"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return file


@pytest.fixture
def tls_web(certificates: Path) -> Iterator[ScriptedServer]:
    """A web server behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates)
    with running(secured(ScriptedServer(), context)) as server:
        yield server


class Drive:
    """Google's token server and Drive API: one scripted server with a route for each."""

    def __init__(self, server: ScriptedServer, private_key: str) -> None:
        self.server = server
        self.tokens = 0
        self._lock = threading.Lock()
        self.credentials = {
            "type": "service_account",
            "project_id": "museum",
            "private_key_id": "marked-key-id",
            "private_key": private_key,
            "client_email": "reader@museum.iam.gserviceaccount.com",
            "token_uri": server.url("/token"),
        }
        server.routes["/token"] = [self.give_token]

    @property
    def api(self) -> str:
        return self.server.url("/drive/v3")

    def give_token(self, exchange: Exchange) -> None:
        """A new token each time."""
        with self._lock:
            self.tokens += 1
            token = f"{ACCESS_TOKEN}-{self.tokens}"
        body = json.dumps({"access_token": token, "expires_in": 3600, "token_type": "Bearer"}).encode()
        exchange.send(200, {"Content-Type": "application/json", "Content-Length": str(len(body))}, body)

    def fetcher(self, **changes: Any) -> SourceFetcher:
        """A fetcher that knows this Drive."""
        limits = settings(drive_api_url=self.api, allowed_hosts=frozenset(), **changes)
        return make_fetcher(limits, google_credentials=lambda: self.credentials)


@pytest.fixture
def drive(web: ScriptedServer, service_account_key: str) -> Drive:
    return Drive(web, service_account_key)


def museum_file(file_id: str = "1AbC_dEf-GhIjKlMnOpQrStUvWxYz0123", **fields: Any) -> ChangedFile:
    return web_file(f"https://drive.google.com/a/nd.edu/file/d/{file_id}/view", "Museum", **fields)


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    """The address of a real S3 server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture(scope="module")
def moto(moto_server: str) -> str:
    """The same, with the bucket ``sources``: moto's memory is the process's, and other tests empty it."""
    s3_at(moto_server).create_bucket(Bucket="sources")
    return moto_server


def s3_at(endpoint: str, limits: FetchSettings | None = None, **options: Any) -> Any:
    """An S3 client as the pipeline makes it, for a server of ours."""
    limits = limits or settings()
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="marked-access-key",
        aws_secret_access_key="marked-secret-key-5512",
        config=Config(
            connect_timeout=limits.connect_timeout,
            read_timeout=limits.read_timeout,
            retries={"mode": "standard", "total_max_attempts": limits.attempts},
        ),
        **options,
    )


def nothing_left(folder: Path) -> bool:
    """Whether a failed fetch has cleaned up."""
    return not folder.exists() or not any(folder.iterdir())
