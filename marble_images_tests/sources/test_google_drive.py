"""Google Drive: file ids, tokens and the errors of its API."""

from __future__ import annotations

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from marble_images.errors import (
    Fate,
    FileError,
    NotAnImage,
    SettingsError,
    SourceChecksumMismatch,
    SourceForbidden,
    SourceGone,
    SourceTimeout,
    SourceUnavailable,
    UnusableRecord,
)
from marble_images.sources import drive_file_id
from marble_images_tests.sources.conftest import (
    ACCESS_TOKEN,
    Drive,
    make_fetcher,
    md5,
    museum_file,
    nothing_left,
    png,
    settings,
    web_file,
)
from marble_images_tests.sources.servers import (
    ScriptedServer,
    Step,
    cut,
    drip,
    good,
    patience,
    raw,
    redirect,
    silent,
    status,
)

PICTURE = png(64, 64)
ID = "1AbC_dEf-GhIjKlMnOpQrStUvWxYz0123"

FORMS = [
    "https://drive.google.com/a/nd.edu/file/d/{id}/view",
    "https://drive.google.com/a/nd.edu/file/d/{id}/view?usp=drivesdk",
    "https://drive.google.com/file/d/{id}/view",
    "https://drive.google.com/file/d/{id}/edit?usp=sharing",
    "https://drive.google.com/file/d/{id}",
    "https://drive.google.com/file/d/{id}/",
    "https://drive.google.com/file/u/1/d/{id}/preview",
    "http://drive.google.com/file/d/{id}/view#top",
    "https://DRIVE.google.com/file/d/{id}/view",
    "  https://drive.google.com/d/{id}  ",
    "https://drive.google.com/open?id={id}",
    "https://drive.google.com/a/nd.edu/open?id={id}&usp=drive_copy",
    "https://drive.google.com/uc?export=download&id={id}",
    "https://drive.google.com/uc?id={id}&export=download",
    "https://drive.google.com/a/nd.edu/uc?id={id}",
    "https://drive.google.com/thumbnail?id={id}&sz=w1000",
    "https://docs.google.com/uc?id={id}",
    "https://drive.usercontent.google.com/download?id={id}&export=download",
    "https://lh3.googleusercontent.com/d/{id}",
    "https://www.googleapis.com/drive/v3/files/{id}?alt=media",
]


@pytest.mark.parametrize("form", FORMS)
def test_the_file_id_is_found_in_every_form_of_url(form: str) -> None:
    assert drive_file_id(form.format(id=ID)) == ID


@hypothesis_settings(deadline=None)
@given(
    file_id=st.text("ABCXYZabcxyz0123456789_-", min_size=10, max_size=60),
    form=st.sampled_from(FORMS),
)
def test_any_id_is_found_as_it_is(file_id: str, form: str) -> None:
    assert drive_file_id(form.format(id=file_id)) == file_id


@pytest.mark.parametrize(
    "uri",
    [
        None,
        "",
        ID,
        "https://drive.google.com/",
        "https://drive.google.com/file/d/",
        "https://drive.google.com/file/d//view",
        "https://drive.google.com/drive/folders/1AbCdEfGhIjKlMnOpQ",
        "https://drive.google.com/open?id=",
        "https://drive.google.com/open?id=aaaaaaaaaa&id=bbbbbbbbbb",
        "https://drive.google.com/open?id=../../about",
        "https://drive.google.com/file/d/..%2f..%2fabout/view",
        "https://example.org/file/d/1AbCdEfGhIjKlMnOpQ/view",
        "https://evilgoogle.com/file/d/1AbCdEfGhIjKlMnOpQ/view",
        "https://google.com.example.org/file/d/1AbCdEfGhIjKlMnOpQ/view",
        "https://[drive.google.com/file/d/x/view",
    ],
)
def test_other_addresses_are_unusable_records(uri: str | None) -> None:
    with pytest.raises(UnusableRecord):
        drive_file_id(uri)


@hypothesis_settings(deadline=None)
@given(st.text(max_size=100))
def test_any_text_has_an_id_or_is_refused(text: str) -> None:
    try:
        found = drive_file_id(f"https://drive.google.com/{text}")
    except UnusableRecord:
        found = "none"
    assert found.replace("_", "").replace("-", "").isalnum()
    assert found.isascii()


def drive_error(code: int, reason: str, **headers: str) -> Step:
    """An error as the Drive API words it."""
    error = {
        "code": code,
        "message": "File not found: x.",
        "errors": [{"domain": "global", "reason": reason, "message": "m"}],
    }
    return status(code, json.dumps({"error": error}).encode(), Content_Type="application/json", **headers)


def base64_md5(body: bytes) -> str:
    return base64.b64encode(bytes.fromhex(md5(body))).decode()


MENDED: dict[str, list[Step]] = {
    "rate limit": [drive_error(403, "rateLimitExceeded"), good(PICTURE)],
    "user rate limit": [drive_error(403, "userRateLimitExceeded"), good(PICTURE)],
    "429": [drive_error(429, "rateLimitExceeded", Retry_After="0"), good(PICTURE)],
    "500": [drive_error(500, "backendError"), good(PICTURE)],
    "503": [status(503), good(PICTURE)],
    "not found once": [drive_error(404, "notFound"), good(PICTURE)],
    "broken in the middle": [cut(PICTURE, 1000), good(PICTURE)],
    "reset in the middle": [cut(PICTURE, 1000, end="reset"), good(PICTURE)],
    "token refused once": [drive_error(401, "authError"), good(PICTURE)],
    "wrong bytes once": [good(png(64, 64, seed=3)), good(PICTURE)],
    "right x-goog-hash": [good(PICTURE, x_goog_hash=f"crc32c=AAAAAA==,md5={base64_md5(PICTURE)}")],
}
WAITING: dict[str, tuple[Step, type[FileError], str]] = {
    "rate limit always": (drive_error(403, "rateLimitExceeded"), SourceUnavailable, "asked too often"),
    "403": (drive_error(403, "insufficientFilePermissions"), SourceForbidden, "insufficientFilePermissions"),
    "403 without a reason": (status(403, b"{}"), SourceForbidden, "no reason"),
    "403 page": (status(403, b"<html>"), SourceForbidden, "no reason"),
    "401 always": (drive_error(401, "authError"), SourceForbidden, "refuses the service account"),
    "404 without a reason": (status(404, b"not json"), SourceUnavailable, "does not say"),
    "404 of another kind": (drive_error(404, "teamDriveNotFound"), SourceUnavailable, "teamDriveNotFound"),
    "500 always": (drive_error(500, "internalError"), SourceUnavailable, "HTTP 500"),
    "400": (drive_error(400, "badRequest"), FileError, "HTTP 400"),
    "no answer": (silent, SourceTimeout, "fell silent"),
    "drip": (drip(PICTURE, b"HTTP/1.1 200 OK\r\n\r\n"), SourceTimeout, "did not deliver"),
    "HTML with 200": (good(b"<!DOCTYPE html><html></html>"), NotAnImage, "HTML"),
    "no HTTP": (raw(b"hello"), SourceUnavailable, "broke"),
    "wrong bytes": (good(png(64, 64, seed=3)), SourceChecksumMismatch, "record"),
    "redirect to a private address": (redirect("http://10.0.0.1/"), FileError, "not public"),
}


@pytest.mark.parametrize("fault", MENDED)
def test_what_another_try_mends_ends_in_the_very_bytes(fault: str, drive: Drive, tmp_path: Path) -> None:
    drive.server.script = list(MENDED[fault])
    fetched = drive.fetcher().fetch(museum_file(md5_checksum=md5(PICTURE)), tmp_path)
    assert fetched.path.read_bytes() == PICTURE


@pytest.mark.parametrize("fault", WAITING)
def test_what_nothing_mends_leaves_the_file_waiting_with_its_reason(
    fault: str, drive: Drive, tmp_path: Path
) -> None:
    step, error, reason = WAITING[fault]
    drive.server.script = [step]
    with pytest.raises(error) as caught:
        drive.fetcher(read_timeout=patience(step), deadline=3).fetch(
            museum_file(md5_checksum=md5(PICTURE)), tmp_path
        )
    assert caught.value.fate is Fate.WAITS
    assert reason in caught.value.reason
    assert nothing_left(tmp_path)


def test_a_file_that_drive_does_not_find_twice_is_gone(drive: Drive, tmp_path: Path) -> None:
    drive.server.script = [drive_error(404, "notFound")]
    with pytest.raises(SourceGone, match="notFound"):
        drive.fetcher().fetch(museum_file(), tmp_path)


def test_another_host_s_answer_never_makes_a_file_of_drive_gone(
    drive: Drive, other_web: ScriptedServer, tmp_path: Path
) -> None:
    drive.server.script = [redirect(other_web.url())]
    other_web.script = [drive_error(404, "notFound")]
    fetcher = make_fetcher(settings(drive_api_url=drive.api), google_credentials=lambda: drive.credentials)
    with pytest.raises(SourceUnavailable):
        fetcher.fetch(museum_file(), tmp_path)


def test_a_wrong_x_goog_hash_is_a_checksum_mismatch(drive: Drive, tmp_path: Path) -> None:
    drive.server.script = [good(PICTURE, x_goog_hash=f"crc32c=AAAAAA==,md5={base64_md5(b'other')}")]
    with pytest.raises(SourceChecksumMismatch, match="MD5"):
        drive.fetcher().fetch(museum_file(), tmp_path)


# --- tokens ----------------------------------------------------------------------------------------


def test_many_threads_share_one_token(drive: Drive, tmp_path: Path) -> None:
    drive.server.script = [good(PICTURE)]
    fetcher, together = drive.fetcher(), threading.Barrier(8)

    def fetch(number: int) -> bytes:
        together.wait(5)
        return fetcher.fetch(museum_file(), tmp_path / str(number)).path.read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(fetch, range(8))) == [PICTURE] * 8
    assert drive.tokens == 1


def test_a_refused_token_is_renewed_once_and_only_by_the_thread_that_needs_it(
    drive: Drive, tmp_path: Path
) -> None:
    drive.server.script = [good(PICTURE), drive_error(401, "authError"), good(PICTURE), good(PICTURE)]
    fetcher = drive.fetcher()
    for number in range(3):
        fetcher.fetch(museum_file(), tmp_path / str(number))
    sent = [asked.headers["Authorization"][-1] for asked in drive.server.asked if asked.method == "GET"]
    assert sent == ["1", "1", "2", "2"]
    assert drive.tokens == 2


def test_an_expired_token_is_renewed(drive: Drive, tmp_path: Path) -> None:
    def short_lived(exchange: Any) -> None:
        body = json.dumps({"access_token": "t", "expires_in": 1, "token_type": "Bearer"}).encode()
        exchange.send(200, {"Content-Length": str(len(body)), "Content-Type": "application/json"}, body)

    drive.server.routes["/token"] = [short_lived]
    drive.server.script = [good(PICTURE)]
    fetcher = drive.fetcher()
    fetcher.fetch(museum_file(), tmp_path / "1")
    fetcher.fetch(museum_file(), tmp_path / "2")
    assert [asked.target for asked in drive.server.asked].count("/token") == 2


def test_a_token_never_follows_a_redirect_to_another_host(
    drive: Drive, other_web: ScriptedServer, tmp_path: Path
) -> None:
    drive.server.script = [redirect(other_web.url(host="127.0.0.1"))]
    other_web.script = [good(PICTURE)]
    limits = settings(drive_api_url=drive.api)
    fetcher = make_fetcher(limits, google_credentials=lambda: drive.credentials)
    assert fetcher.fetch(museum_file(), tmp_path).path.read_bytes() == PICTURE
    assert other_web.asked[0].headers["Authorization"] is None


def test_the_resource_key_of_an_older_link_is_sent_on(drive: Drive, tmp_path: Path) -> None:
    drive.server.script = [good(PICTURE)]
    uri = "https://drive.google.com/file/d/an-old-file/view?usp=sharing&resourcekey=0-AbCdEf_g"
    drive.fetcher().fetch(web_file(uri, "Museum"), tmp_path)
    assert drive.server.asked[-1].headers["X-Goog-Drive-Resource-Keys"] == "an-old-file/0-AbCdEf_g"


INVALID_GRANT = status(400, b'{"error": "invalid_grant", "error_description": "marked-description"}')


@pytest.mark.parametrize(
    ("token_answer", "error"),
    [
        (INVALID_GRANT, SourceForbidden),
        (status(401, b'{"error": "unauthorized_client"}'), SourceForbidden),
        (raw(b""), SourceUnavailable),
        (status(200, b"{}", Content_Type="application/json"), SourceForbidden),
        (status(200, b"<html>", Content_Type="text/html"), FileError),
        (redirect("http://10.0.0.1/"), FileError),
    ],
)
def test_a_token_server_that_fails_leaves_the_file_waiting(
    token_answer: Step, error: type[FileError], drive: Drive, tmp_path: Path
) -> None:
    drive.server.routes["/token"] = [token_answer]
    with pytest.raises(error) as caught:
        drive.fetcher(attempts=2).fetch(museum_file(), tmp_path)
    assert caught.value.fate is Fate.WAITS
    assert "marked" not in f"{caught.value.reason} {caught.value.detail}"


def test_a_token_server_that_drips_meets_the_deadline(drive: Drive, tmp_path: Path) -> None:
    drive.server.routes["/token"] = [drip(b"HTTP/1.1 200 OK\r\n")]
    with pytest.raises(SourceTimeout, match="token server"):
        drive.fetcher(deadline=0.5).fetch(museum_file(), tmp_path)


def broken(info: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**info, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    "changes",
    [{"private_key": "marked-private-key"}, {"client_email": None}, {"token_uri": None}, {"private_key": 7}],
)
def test_credentials_that_cannot_be_used_are_named_and_not_told(
    changes: dict[str, Any], drive: Drive, tmp_path: Path
) -> None:
    drive.credentials = broken(drive.credentials, **changes)
    with pytest.raises(SourceForbidden, match="credentials cannot be used") as caught:
        drive.fetcher().fetch(museum_file(), tmp_path)
    assert "marked" not in f"{caught.value.reason} {caught.value.detail}"


def test_credentials_that_cannot_be_loaded_are_asked_for_again(drive: Drive, tmp_path: Path) -> None:
    drive.server.script = [good(PICTURE)]
    failures: list[Exception] = [RuntimeError("marked-secret"), SettingsError("SSM parameter /x is missing")]

    def load() -> dict[str, Any]:
        if failures:
            raise failures.pop(0)
        return drive.credentials

    fetcher = make_fetcher(settings(drive_api_url=drive.api), google_credentials=load)
    with pytest.raises(SourceUnavailable, match="could not be loaded") as caught:
        fetcher.fetch(museum_file(), tmp_path)
    assert "marked" not in f"{caught.value.reason} {caught.value.detail}"
    with pytest.raises(SourceForbidden, match="/x is missing"):
        fetcher.fetch(museum_file(), tmp_path)
    assert fetcher.fetch(museum_file(), tmp_path).path.read_bytes() == PICTURE


def test_new_credentials_are_loaded_after_google_refused_the_old(drive: Drive, tmp_path: Path) -> None:
    drive.server.routes["/token"] = [INVALID_GRANT, drive.give_token]
    drive.server.script = [good(PICTURE)]
    loaded = []

    def load() -> dict[str, Any]:
        loaded.append(1)
        return drive.credentials

    fetcher = make_fetcher(settings(drive_api_url=drive.api), google_credentials=load)
    with pytest.raises(SourceForbidden):
        fetcher.fetch(museum_file(), tmp_path)
    assert fetcher.fetch(museum_file(), tmp_path).path.read_bytes() == PICTURE
    assert len(loaded) == 2
    assert drive.server.asked[-1].headers["Authorization"] == f"Bearer {ACCESS_TOKEN}-1"
