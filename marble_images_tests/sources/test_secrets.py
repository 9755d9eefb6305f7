"""No secret in errors, addresses, logs or tracebacks, at any level of logging."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import pytest

from marble_images.errors import FileError
from marble_images.models import ChangedFile
from marble_images.sources import SourceFetcher
from marble_images_tests.sources.conftest import (
    ACCESS_TOKEN,
    SECRET_TOKEN,
    Drive,
    make_fetcher,
    museum_file,
    png,
    s3_at,
    s3_file,
    settings,
    web_file,
)
from marble_images_tests.sources.servers import (
    ScriptedServer,
    Step,
    cut,
    good,
    patience,
    raw,
    redirect,
    silent,
    status,
)

PICTURE = png(64, 64)
SIGNATURE = "marked-signature-6611"
PASSWORD = "marked-password-0042"
SECRETS = (
    SECRET_TOKEN,
    ACCESS_TOKEN,
    SIGNATURE,
    PASSWORD,
    "marked-secret-key",
    "PRIVATE KEY",
    "marked-key-id",
)

FAULTS: dict[str, Step] = {
    "good": good(PICTURE),
    "401": status(401),
    "403": status(403, b"marked-signature-6611 marked-access-token-9920"),
    "404": status(404),
    "429": status(429),
    "500": status(500),
    "silent": silent,
    "broken": cut(PICTURE, 100, end="reset"),
    "garbage": raw(b"garbage\r\n\r\n"),
    "wrong lengths": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n"),
    "no header": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nno header\r\n\r\n12345"),
    "circle": redirect(f"/stored?X-Amz-Signature={SIGNATURE}"),
    "private": redirect(f"http://10.0.0.1/a?X-Amz-Signature={SIGNATURE}"),
    "password": redirect(f"http://user:{PASSWORD}@127.0.0.1/"),
    "nonsense": redirect(f"http://[{SIGNATURE}/?X-Amz-Signature={SIGNATURE}"),
    "HTML": good(b"<!DOCTYPE html><html></html>"),
}


def all_that_is_told(
    fetcher: SourceFetcher, file: ChangedFile, folder: Path, caplog: pytest.LogCaptureFixture
) -> str:
    with caplog.at_level(logging.DEBUG):
        # These two write secrets at DEBUG by design, for all of their users.
        for name in ("botocore", "google.auth"):
            logging.getLogger(name).setLevel(logging.INFO)
        try:
            told = repr(fetcher.fetch(file, folder))
        except FileError as err:
            told = f"{err!r} {err.reason} {err.detail} {''.join(traceback.format_exception(err))}"
    return told + caplog.text + "".join(str(record.args) for record in caplog.records)


@pytest.mark.parametrize("fault", FAULTS)
def test_curate_s_token_and_signatures_are_never_told(
    fault: str, web: ScriptedServer, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    web.routes = {
        "/api": [redirect(f"/stored?X-Amz-Signature={SIGNATURE}")],
        "/stored": [FAULTS[fault]],
        "/": [FAULTS[fault]],
    }
    limits = settings(curate_host=f"127.0.0.1:{web.port}", attempts=2, read_timeout=patience(FAULTS[fault]))
    fetcher = make_fetcher(limits, curate_token=lambda: SECRET_TOKEN)
    file = web_file(web.url(f"/api?token={SIGNATURE}"), "Curate")
    told = all_that_is_told(fetcher, file, tmp_path, caplog)
    assert web.asked[0].headers["X-Api-Token"] == SECRET_TOKEN
    assert "127.0.0.1" in told
    assert [secret for secret in SECRETS if secret in told] == []


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("route", ["api", "token"])
def test_google_s_key_and_tokens_are_never_told(
    route: str, fault: str, drive: Drive, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    drive.server.script = [FAULTS[fault]]
    if route == "token":
        drive.server.routes["/token"] = [FAULTS[fault]]
    fetcher = drive.fetcher(attempts=2, read_timeout=patience(FAULTS[fault]), deadline=3)
    told = all_that_is_told(fetcher, museum_file(), tmp_path, caplog)
    assert [secret for secret in SECRETS if secret in told] == []


@pytest.mark.parametrize("fault", ["good", "403", "500", "broken", "garbage", "private"])
def test_aws_keys_are_never_told(
    fault: str, web: ScriptedServer, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    web.script = [FAULTS[fault]]
    limits = settings(attempts=2, read_timeout=patience(FAULTS[fault]))
    fetcher = make_fetcher(limits, s3_client=lambda: s3_at(web.url(""), limits))
    told = all_that_is_told(fetcher, s3_file(), tmp_path, caplog)
    assert "s3://sources/folder/image.png" in told
    assert [secret for secret in SECRETS if secret in told] == []


@pytest.mark.parametrize(
    "uri", [f"http://user:{PASSWORD}@example.org/", f"http://[{PASSWORD}/", f"http://a b/?k={PASSWORD}"]
)
def test_a_password_in_a_record_is_never_told(
    uri: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    assert PASSWORD not in all_that_is_told(make_fetcher(), web_file(uri), tmp_path, caplog)
