"""The web client: TLS, connections that are reused, and who gets Curate's token."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from marble_images.errors import SourceTimeout, SourceUnavailable, UnsafeAddress
from marble_images_tests.sources.conftest import SECRET_TOKEN, make_fetcher, png, settings, web_file
from marble_images_tests.sources.servers import (
    ScriptedServer,
    cut,
    drip,
    good,
    redirect,
    status,
)

PICTURE = png(64, 64)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name service that knows ``trusted.test`` and ``other.test``, both on this machine."""
    real = socket.getaddrinfo

    def lookup(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        return real("127.0.0.1" if host in ("trusted.test", "other.test") else host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)


ALL = settings(allowed_hosts=frozenset({"127.0.0.1", "trusted.test", "other.test"}))


def test_a_certificate_that_is_not_trusted_is_refused(tls_web: ScriptedServer, tmp_path: Path) -> None:
    tls_web.script = [good(PICTURE)]
    with pytest.raises(SourceUnavailable, match=r"no safe connection to 127\.0\.0\.1: self"):
        make_fetcher().fetch(web_file(tls_web.url()), tmp_path)
    assert tls_web.asked == []
    assert tls_web.connections == 1


def test_the_name_is_verified_although_the_connection_is_made_to_its_address(
    tls_web: ScriptedServer,
    certificates: Path,
    names: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates))
    tls_web.script = [good(PICTURE)]
    fetcher = make_fetcher(ALL)

    fetched = fetcher.fetch(web_file(tls_web.url(host="trusted.test")), tmp_path / "a")
    with pytest.raises(SourceUnavailable, match=r"no safe connection to other\.test: Hostname mismatch"):
        fetcher.fetch(web_file(tls_web.url(host="other.test")), tmp_path / "b")

    assert fetched.path.read_bytes() == PICTURE
    assert [asked.headers["Host"] for asked in tls_web.asked] == [f"trusted.test:{tls_web.port}"]


def test_a_server_that_drips_through_tls_meets_the_deadline(
    tls_web: ScriptedServer, certificates: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates))
    tls_web.script = [drip(PICTURE, b"HTTP/1.1 200 OK\r\n\r\n")]
    with pytest.raises(SourceTimeout, match=r"within 0\.8 s"):
        make_fetcher(settings(deadline=0.8)).fetch(web_file(tls_web.url()), tmp_path)


def test_a_redirect_from_https_to_http_is_refused(
    tls_web: ScriptedServer,
    web: ScriptedServer,
    certificates: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates))
    tls_web.script, web.script = [redirect(web.url())], [good(PICTURE)]
    with pytest.raises(UnsafeAddress, match="from https to http"):
        make_fetcher().fetch(web_file(tls_web.url()), tmp_path)
    assert web.connections == 0


def test_no_proxy_of_the_environment_is_used(
    web: ScriptedServer, other_web: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, other_web.url(""))
    web.script = [good(PICTURE)]
    assert make_fetcher().fetch(web_file(web.url()), tmp_path).path.read_bytes() == PICTURE
    assert other_web.connections == 0


def test_connections_are_reused_from_file_to_file(web: ScriptedServer, tmp_path: Path) -> None:
    web.routes = {"/moved": [redirect("/image.png")], "/missing": [status(404)]}
    web.script = [good(PICTURE)]
    fetcher = make_fetcher()
    for number in range(5):
        fetcher.fetch(web_file(web.url("/moved")), tmp_path / str(number))
    assert len(web.asked) == 10
    assert web.connections == 1


def test_many_threads_fetch_at_once_and_mix_nothing_up(web: ScriptedServer, tmp_path: Path) -> None:
    pictures = {number: png(64, 64, seed=number) for number in range(40)}
    web.routes = {
        f"/{number}.png": [cut(picture, 100 * number), good(picture)] for number, picture in pictures.items()
    }
    fetcher = make_fetcher()

    def fetch(number: int) -> bytes:
        return fetcher.fetch(web_file(web.url(f"/{number}.png")), tmp_path / "shared").path.read_bytes()

    with ThreadPoolExecutor(8) as pool:
        fetched = dict(zip(pictures, pool.map(fetch, pictures), strict=True))
    assert fetched == pictures
    assert len(list((tmp_path / "shared").iterdir())) == 40


# --- Curate's token --------------------------------------------------------------------------------


def tokens(server: ScriptedServer) -> list[str | None]:
    return [asked.headers["X-Api-Token"] for asked in server.asked]


def test_curate_gets_its_token_and_the_storage_that_it_redirects_to_does_not(
    web: ScriptedServer, other_web: ScriptedServer, tmp_path: Path
) -> None:
    web.routes = {"/api": [redirect("/api/2")], "/api/2": [redirect(other_web.url())]}
    other_web.script = [good(PICTURE)]
    fetcher = make_fetcher(settings(curate_host=f"127.0.0.1:{web.port}"), curate_token=lambda: SECRET_TOKEN)
    fetcher.fetch(web_file(web.url("/api"), "Curate"), tmp_path)
    assert tokens(web) == [SECRET_TOKEN, SECRET_TOKEN]
    assert tokens(other_web) == [None]


def test_a_token_is_not_sent_again_after_a_detour_over_another_host(
    web: ScriptedServer, other_web: ScriptedServer, tmp_path: Path
) -> None:
    web.routes = {"/api": [redirect(other_web.url())], "/back": [good(PICTURE)]}
    other_web.script = [redirect(web.url("/back"))]
    fetcher = make_fetcher(settings(curate_host=f"127.0.0.1:{web.port}"), curate_token=lambda: SECRET_TOKEN)
    fetcher.fetch(web_file(web.url("/api"), "Curate"), tmp_path)
    assert tokens(web) == [SECRET_TOKEN, None]
    assert tokens(other_web) == [None]


@pytest.mark.parametrize(
    ("curate_host", "source_type"),
    [("curate.nd.edu", "Curate"), ("127.0.0.1:1", "Curate"), ("127.0.0.1", "Uri"), ("127.0.0.10", "Curate")],
)
def test_no_other_host_and_no_other_kind_of_source_gets_curate_s_token(
    curate_host: str, source_type: str, web: ScriptedServer, tmp_path: Path
) -> None:
    web.script = [good(PICTURE)]
    fetcher = make_fetcher(settings(curate_host=curate_host), curate_token=lambda: SECRET_TOKEN)
    fetcher.fetch(web_file(web.url(), source_type), tmp_path)
    assert tokens(web) == [None]


def test_curate_works_without_a_token(web: ScriptedServer, tmp_path: Path) -> None:
    web.script = [good(PICTURE)]
    make_fetcher(settings(curate_host="127.0.0.1")).fetch(web_file(web.url(), "Curate"), tmp_path)
    assert tokens(web) == [None]
