"""S3 on a bad day: a scripted server."""

from __future__ import annotations

import base64
import hashlib
import zlib
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import NoCredentialsError
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from marble_images.errors import (
    Fate,
    FileError,
    NotAnImage,
    SourceChecksumMismatch,
    SourceError,
    SourceForbidden,
    SourceGone,
    SourceIncomplete,
    SourceTimeout,
    SourceTooLarge,
    SourceUnavailable,
)
from marble_images.sources import SourceFetcher
from marble_images_tests.sources.conftest import (
    make_fetcher,
    md5,
    no_s3,
    nothing_left,
    png,
    s3_at,
    s3_file,
    settings,
)
from marble_images_tests.sources.servers import (
    Exchange,
    ScriptedServer,
    Step,
    drip,
    patience,
    raw,
    redirect,
    running,
    silent,
    status,
)

PICTURE = png(64, 64)
OTHER = png(64, 64, seed=2)
PATH = "/sources/folder/image.png"
ETAG = f'"{md5(PICTURE)}"'


def fetcher_at(web: ScriptedServer, **limits: Any) -> SourceFetcher:
    client = s3_at(web.url(""), settings(**limits))
    return make_fetcher(settings(**limits), s3_client=lambda: client)


def s3_error(code: str, status_code: int = 404) -> Step:
    """S3's error document."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>Said {code}.</Message></Error>"
    return status(status_code, body.encode(), Content_Type="application/xml")


def s3_object(body: bytes, *, keep: int | None = None, sends: bytes | None = None, **headers: Any) -> Step:
    """An object or the range of it that is asked for; ``keep``: only so many bytes arrive."""

    def step(exchange: Exchange) -> None:
        sent = {"ETag": f'"{md5(body)}"', "Content-Type": "image/png", "Accept-Ranges": "bytes"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        wanted = exchange.headers.get("Range")
        if exchange.headers.get("If-Match", sent["ETag"]) != sent["ETag"]:
            return s3_error("PreconditionFailed", 412)(exchange)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if wanted:
            sent["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        content = (sends or body)[start:]
        exchange.send(206 if wanted else 200, {**sent, "Content-Length": str(len(content))}, content[:keep])
        if keep is not None:
            exchange.drop()
        return None

    return step


# --- real S3 ---------------------------------------------------------------------------------------


MENDED: dict[str, list[Step]] = {
    "500 once": [s3_error("InternalError", 500), s3_object(PICTURE)],
    "SlowDown once": [s3_error("SlowDown", 503), s3_object(PICTURE)],
    "no answer once": [silent, s3_object(PICTURE)],
    "closed without an answer": [raw(b""), s3_object(PICTURE)],
    "broken in the middle": [s3_object(PICTURE, keep=5000), s3_object(PICTURE)],
    "broken at the start": [s3_object(PICTURE, keep=0), s3_object(PICTURE)],
    "broken twice": [s3_object(PICTURE, keep=5000), s3_object(PICTURE, keep=10), s3_object(PICTURE)],
    "changed in the middle": [s3_object(OTHER, keep=5000), s3_object(PICTURE), s3_object(PICTURE)],
    "wrong bytes once": [s3_object(PICTURE, sends=OTHER), s3_object(PICTURE)],
    "gone once": [s3_error("NoSuchKey"), s3_object(PICTURE)],
}


@pytest.mark.parametrize("fault", MENDED)
def test_what_another_try_mends_ends_in_the_very_bytes(
    fault: str, web: ScriptedServer, tmp_path: Path
) -> None:
    web.routes = {PATH: list(MENDED[fault]), "/sources": [status(200, b"")]}
    fetched = fetcher_at(web, read_timeout=patience(*MENDED[fault])).fetch(s3_file(), tmp_path)
    assert fetched.path.read_bytes() == PICTURE
    assert fetched.sha256 == hashlib.sha256(PICTURE).hexdigest()
    assert fetched.etag == ETAG


WAITING: dict[str, tuple[Step, type[FileError], str]] = {
    "500 always": (s3_error("InternalError", 500), SourceUnavailable, "kept failing"),
    "SlowDown always": (s3_error("SlowDown", 503), SourceUnavailable, "SlowDown"),
    "403": (s3_error("AccessDenied", 403), SourceForbidden, "AccessDenied"),
    "an expired token": (s3_error("ExpiredToken", 400), SourceForbidden, "ExpiredToken"),
    "a missing bucket": (s3_error("NoSuchBucket"), SourceUnavailable, "does not exist"),
    "404 without a code": (status(404, b""), SourceUnavailable, "HTTP 404"),
    "404 with a page": (status(404, b"<html>Not found</html>"), SourceUnavailable, ""),
    "500 with a page": (status(500, b"<html>Oops</html>"), SourceUnavailable, ""),
    "archived": (s3_error("InvalidObjectState", 403), SourceError, "archived"),
    "400": (s3_error("InvalidRequest", 400), SourceError, "InvalidRequest"),
    "no answer": (silent, SourceTimeout, "did not answer"),
    "broken always": (s3_object(PICTURE, keep=0), SourceIncomplete, "fewer bytes"),
    "wrong bytes always": (s3_object(PICTURE, sends=OTHER), SourceChecksumMismatch, "ETag"),
    "HTML with 200": (s3_object(b"<!DOCTYPE html><html></html>"), NotAnImage, "HTML"),
    "redirects in a circle": (redirect(PATH, 307), SourceError, ""),
    "redirect to a private address": (redirect("http://10.0.0.1/", 307), SourceError, ""),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH_9.6\r\n"), SourceUnavailable, "cannot be reached"),
}


@pytest.mark.parametrize("fault", WAITING)
def test_what_nothing_mends_leaves_the_file_waiting_with_its_reason(
    fault: str, web: ScriptedServer, tmp_path: Path
) -> None:
    step, error, reason = WAITING[fault]
    web.routes = {PATH: [step], "/sources": [status(200, b"")]}
    with pytest.raises(error) as caught:
        fetcher_at(web, attempts=2, read_timeout=patience(step)).fetch(s3_file(), tmp_path)
    assert caught.value.fate is Fate.WAITS
    assert reason in caught.value.reason
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("code", [301, 302, 307])
def test_an_endpoint_that_only_redirects_leaves_the_file_waiting(
    code: int, web: ScriptedServer, tmp_path: Path
) -> None:
    web.script = [redirect("http://10.0.0.1/", code)]
    with pytest.raises(SourceError) as caught:
        fetcher_at(web, attempts=1).fetch(s3_file(), tmp_path)
    assert caught.value.fate is Fate.WAITS


def test_a_refused_connection_leaves_the_file_waiting(tmp_path: Path) -> None:
    with running(ScriptedServer()) as closed:
        fetcher = fetcher_at(closed, attempts=2)
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        fetcher.fetch(s3_file(), tmp_path)


@pytest.mark.parametrize(
    ("bucket_answer", "error"),
    [
        (status(200, b""), SourceGone),
        (status(403, b""), SourceGone),
        (status(404, b""), SourceUnavailable),
        (status(500, b""), SourceUnavailable),
        (silent, SourceUnavailable),
    ],
)
def test_a_key_is_gone_only_from_a_bucket_that_exists(
    bucket_answer: Step, error: type[FileError], web: ScriptedServer, tmp_path: Path
) -> None:
    web.routes = {PATH: [s3_error("NoSuchKey")], "/sources": [bucket_answer]}
    with pytest.raises(error):
        fetcher_at(web, attempts=1, read_timeout=patience(bucket_answer)).fetch(s3_file(), tmp_path)


@pytest.mark.parametrize(
    "second", [s3_error("AccessDenied", 403), s3_error("NoSuchBucket"), status(503, b"")]
)
def test_a_second_answer_that_differs_never_confirms_that_a_key_is_gone(
    second: Step, web: ScriptedServer, tmp_path: Path
) -> None:
    web.routes = {PATH: [s3_error("NoSuchKey"), second], "/sources": [status(200, b"")]}
    with pytest.raises(FileError) as caught:
        fetcher_at(web, attempts=1).fetch(s3_file(), tmp_path)
    assert caught.value.fate is Fate.WAITS


def test_a_broken_object_goes_on_where_it_broke_pinned_to_its_etag(
    web: ScriptedServer, large_picture: bytes, tmp_path: Path
) -> None:
    web.routes = {PATH: [s3_object(large_picture, keep=2_000_000), s3_object(large_picture)]}
    fetched = fetcher_at(web).fetch(s3_file(md5_checksum=md5(large_picture)), tmp_path)
    assert fetched.path.read_bytes() == large_picture
    resumed = web.asked[1].headers
    assert resumed["If-Match"] == f'"{md5(large_picture)}"'
    assert 1_000_000 < int(resumed["Range"].removeprefix("bytes=").removesuffix("-")) <= 2_000_000


@pytest.mark.parametrize(
    "headers",
    [
        {"x_amz_checksum_sha256": base64.b64encode(hashlib.sha256(PICTURE).digest()).decode()},
        {"x_amz_checksum_crc32": base64.b64encode(zlib.crc32(PICTURE).to_bytes(4, "big")).decode()},
    ],
)
@pytest.mark.parametrize("keep", [None, 5000])
def test_s3_s_checksums_hold_for_whole_and_for_resumed_objects(
    headers: dict[str, Any], keep: int | None, web: ScriptedServer, tmp_path: Path
) -> None:
    whole = {**headers, "ETag": '"opaque"', "x_amz_checksum_type": "FULL_OBJECT"}
    start = s3_object(PICTURE, keep=keep, sends=PICTURE[:-1] + b"!", **whole)
    rest = s3_object(PICTURE, sends=PICTURE[:-1] + b"!", **whole)
    web.routes = {PATH: [start, rest, start, rest]}
    with pytest.raises(SourceChecksumMismatch, match="checksum of S3"):
        fetcher_at(web).fetch(s3_file(), tmp_path)

    web.routes = {PATH: [s3_object(PICTURE, keep=keep, **whole), s3_object(PICTURE, **whole)]}
    assert fetcher_at(web).fetch(s3_file(), tmp_path).path.read_bytes() == PICTURE


@pytest.mark.parametrize(
    "headers",
    [
        {"x_amz_server_side_encryption": "aws:kms", "ETag": f'"{"0" * 32}"'},
        {"x_amz_server_side_encryption_customer_algorithm": "AES256", "ETag": f'"{"0" * 32}"'},
        {"ETag": f'"{"0" * 32}-7"'},
        {"ETag": '"opaque"'},
    ],
)
def test_an_etag_that_is_no_md5_is_not_taken_for_one(
    headers: dict[str, Any], web: ScriptedServer, tmp_path: Path
) -> None:
    web.routes = {PATH: [s3_object(PICTURE, **headers)]}
    assert fetcher_at(web).fetch(s3_file(), tmp_path).path.read_bytes() == PICTURE


HEAD = f"HTTP/1.1 200 OK\r\nContent-Length: {len(PICTURE)}\r\nETag: {ETAG}\r\n\r\n".encode()


@pytest.mark.parametrize("step", [drip(PICTURE, HEAD), drip(HEAD)], ids=["body", "header"])
def test_an_object_that_drips_meets_the_deadline(step: Step, web: ScriptedServer, tmp_path: Path) -> None:
    web.routes = {PATH: [step]}
    with pytest.raises(SourceTimeout, match=r"within 0\.6 s"):
        fetcher_at(web, deadline=0.6).fetch(s3_file(), tmp_path)
    assert nothing_left(tmp_path)


def test_an_object_that_drips_through_tls_meets_the_deadline(
    tls_web: ScriptedServer, certificates: Path, tmp_path: Path
) -> None:
    tls_web.routes = {PATH: [drip(PICTURE, HEAD)]}
    limits = settings(deadline=0.8)
    client = s3_at(tls_web.url(""), limits, verify=str(certificates))
    with pytest.raises(SourceTimeout, match=r"within 0\.8 s"):
        make_fetcher(limits, s3_client=lambda: client).fetch(s3_file(), tmp_path)


def test_an_object_over_the_size_limit_is_not_fetched(web: ScriptedServer, tmp_path: Path) -> None:
    web.routes = {PATH: [s3_object(PICTURE)]}
    with pytest.raises(SourceTooLarge):
        fetcher_at(web, max_bytes=5000).fetch(s3_file(), tmp_path)


def test_the_record_s_checksum_is_compared(web: ScriptedServer, tmp_path: Path) -> None:
    web.routes = {PATH: [s3_object(OTHER)]}
    with pytest.raises(SourceChecksumMismatch, match="record"):
        fetcher_at(web).fetch(s3_file(md5_checksum=md5(PICTURE)), tmp_path)
    assert len(web.asked) == 2


def test_missing_credentials_are_a_reason_of_their_own(tmp_path: Path) -> None:
    class Client:
        def get_object(self, **_: Any) -> None:
            raise NoCredentialsError

    with pytest.raises(SourceForbidden, match="no AWS credentials"):
        make_fetcher(s3_client=Client).fetch(s3_file(), tmp_path)


def test_a_client_that_cannot_be_made_leaves_the_file_waiting(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="the S3 client could not be loaded"):
        make_fetcher(s3_client=no_s3).fetch(s3_file(), tmp_path)


@given(breaks=st.lists(st.integers(0, 6000), max_size=5))
@hypothesis_settings(max_examples=25, deadline=None)
def test_however_often_an_object_breaks_its_bytes_are_exact(
    breaks: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running(ScriptedServer()) as web:
        web.routes = {PATH: [*(s3_object(PICTURE, keep=keep) for keep in breaks), s3_object(PICTURE)]}
        fetched = fetcher_at(web, attempts=8).fetch(s3_file(), tmp_path_factory.mktemp("breaks"))
        assert fetched.path.read_bytes() == PICTURE
