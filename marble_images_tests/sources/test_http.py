"""Faults of web servers: each ends in the file, or in the error that the promise asks for."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import pytest
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
    UnsafeAddress,
)
from marble_images_tests.sources.conftest import make_fetcher, md5, nothing_left, png, settings, web_file
from marble_images_tests.sources.servers import (
    ScriptedServer,
    Step,
    chunked,
    cut,
    drip,
    good,
    packed,
    patience,
    raw,
    redirect,
    running,
    silent,
    status,
)

PICTURE = png(64, 64)
HALF = len(PICTURE) // 2
OTHER = png(64, 64, seed=2)
HTML = b"<!DOCTYPE html><html><head><title>Down for maintenance</title></head></html>"

# One for all the examples of a property: a fetcher reads the certificates of all authorities.
THREE_ATTEMPTS = make_fetcher()
FOUR_ATTEMPTS = make_fetcher(settings(attempts=4))


def fetched_bytes(web: ScriptedServer, folder: Path, **fields: str) -> bytes:
    file = make_fetcher().fetch(web_file(web.url(), **fields), folder)
    content = file.path.read_bytes()
    assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    return content


MENDED: dict[str, list[Step]] = {
    "500 once": [status(500), good(PICTURE)],
    "503 with Retry-After": [status(503, Retry_After="0"), good(PICTURE)],
    "408": [status(408), good(PICTURE)],
    "425": [status(425), good(PICTURE)],
    "429": [status(429), good(PICTURE)],
    "429 with a date": [status(429, Retry_After=formatdate(0, usegmt=True)), good(PICTURE)],
    "429 with nonsense": [status(429, Retry_After="soon"), good(PICTURE)],
    "202": [status(202, b""), good(PICTURE)],
    "no answer once": [silent, good(PICTURE)],
    "closed without an answer": [raw(b""), good(PICTURE)],
    "no HTTP": [raw(b"SSH-2.0-OpenSSH_9.6\r\n"), good(PICTURE)],
    "two lengths": [
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\n12345"),
        good(PICTURE),
    ],
    "dropped in the middle": [cut(PICTURE, HALF), good(PICTURE)],
    "reset in the middle": [cut(PICTURE, HALF, end="reset"), good(PICTURE)],
    "dropped before the first byte": [cut(PICTURE, 0), good(PICTURE)],
    "dropped, no ranges": [cut(PICTURE, HALF, ranges=False), good(PICTURE)],
    "dropped twice": [cut(PICTURE, 1000), cut(PICTURE, 2000), good(PICTURE)],
    "unfinished chunks": [chunked(PICTURE, finished=False), good(PICTURE)],
    "404 once": [status(404), good(PICTURE)],
    "404 and 503 by turns": [status(404), status(503), status(404), good(PICTURE)],
    "packed data that is cut": [packed(PICTURE, lose=20), good(PICTURE)],
    "packed data that breaks": [packed(PICTURE, keep=2000), packed(PICTURE)],
    "packed data whose rest is not called packed": [packed(PICTURE, keep=2000), packed(PICTURE, named=False)],
    "wrong Content-MD5 once": [good(OTHER, Content_MD5="AAAAAAAAAAAAAAAAAAAAAA=="), good(PICTURE)],
    "chunked": [chunked(PICTURE)],
    "packed although not asked for": [packed(PICTURE)],
    "said to be packed, but is not": [good(PICTURE, Content_Encoding="gzip")],
    "five redirects": [
        redirect("/2"),
        redirect("/3"),
        redirect("/4"),
        redirect("/5"),
        redirect("/6"),
        good(PICTURE),
    ],
    "no length and no chunks": [raw(b"HTTP/1.0 200 OK\r\n\r\n" + PICTURE)],
}


@pytest.mark.parametrize("fault", MENDED)
def test_what_another_try_mends_ends_in_the_very_bytes(
    fault: str, web: ScriptedServer, tmp_path: Path
) -> None:
    web.script = list(MENDED[fault])
    fetcher = make_fetcher(settings(read_timeout=patience(*MENDED[fault])))
    fetched = fetcher.fetch(web_file(web.url()), tmp_path)
    assert fetched.path.read_bytes() == PICTURE
    assert (fetched.size, fetched.sha256) == (len(PICTURE), hashlib.sha256(PICTURE).hexdigest())
    assert list(tmp_path.iterdir()) == [fetched.path]


WAITING: dict[str, tuple[Step, type[FileError], str]] = {
    "500 always": (status(500), SourceUnavailable, "HTTP 500"),
    "503 always": (status(503), SourceUnavailable, "HTTP 503"),
    "429 always": (status(429), SourceUnavailable, "asked too often"),
    "429, come back in a day": (status(429, Retry_After="86400"), SourceUnavailable, "HTTP 429"),
    "401": (status(401), SourceForbidden, "HTTP 401"),
    "403": (status(403), SourceForbidden, "HTTP 403"),
    "400": (status(400), SourceError, "HTTP 400"),
    "451": (status(451), SourceError, "HTTP 451"),
    "304": (status(304, b""), SourceError, "HTTP 304"),
    "no answer": (silent, SourceTimeout, "fell silent"),
    "dropped in the middle": (cut(PICTURE, HALF, ranges=False), SourceIncomplete, "fewer bytes"),
    "reset in the middle": (cut(PICTURE, HALF, end="reset", ranges=False), SourceUnavailable, "broke"),
    "a length that is too long": (
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + PICTURE),
        SourceIncomplete,
        "fewer bytes",
    ),
    "unfinished chunks": (chunked(PICTURE, finished=False), SourceUnavailable, ""),
    "packed data that is cut": (packed(PICTURE, lose=20), SourceIncomplete, "packed"),
    "another encoding": (good(PICTURE, Content_Encoding="br"), SourceError, "br"),
    "HTML with 200": (good(HTML), NotAnImage, "HTML"),
    "nothing with 200": (good(b""), NotAnImage, ""),
    "redirects in a circle": (redirect("/image.png"), SourceError, "more than 5 times"),
    "redirect without an address": (status(302, b""), SourceError, "leads nowhere"),
    "redirect to nonsense": (redirect("http://[oops/"), FileError, "no web address"),
    "redirect to a private address": (redirect("http://10.0.0.1/"), UnsafeAddress, "not public"),
    "redirect to the metadata service": (
        redirect("http://169.254.169.254/latest"),
        UnsafeAddress,
        "not public",
    ),
    "redirect to a file": (redirect("file:///etc/passwd"), UnsafeAddress, "file"),
    "redirect with a password": (redirect("http://u:p@127.0.0.1/"), UnsafeAddress, "password"),
    "wrong Content-MD5": (
        good(PICTURE, Content_MD5="AAAAAAAAAAAAAAAAAAAAAA=="),
        SourceChecksumMismatch,
        "MD5",
    ),
}


@pytest.mark.parametrize("fault", WAITING)
def test_what_nothing_mends_leaves_the_file_waiting_with_its_reason(
    fault: str, web: ScriptedServer, tmp_path: Path
) -> None:
    step, error, reason = WAITING[fault]
    web.script = [step]

    with pytest.raises(error) as caught:
        make_fetcher(settings(read_timeout=patience(step))).fetch(web_file(web.url()), tmp_path / "work")

    assert caught.value.fate is Fate.WAITS
    assert reason in caught.value.reason
    assert "\n" not in caught.value.reason
    assert nothing_left(tmp_path / "work")


@pytest.mark.parametrize("code", [404, 410])
def test_a_file_is_gone_when_the_server_says_so_twice(code: int, web: ScriptedServer, tmp_path: Path) -> None:
    web.script = [status(code)]
    with pytest.raises(SourceGone, match=f"HTTP {code} twice") as caught:
        make_fetcher().fetch(web_file(web.url()), tmp_path)
    assert caught.value.fate is Fate.REMOVED
    assert len(web.asked) == 2


def test_one_attempt_is_enough_to_confirm_that_a_file_is_gone(web: ScriptedServer, tmp_path: Path) -> None:
    web.script = [status(404)]
    with pytest.raises(SourceGone):
        make_fetcher(settings(attempts=1)).fetch(web_file(web.url()), tmp_path)


@pytest.mark.parametrize(
    ("second", "error"),
    [
        (status(403), SourceForbidden),
        (status(500), SourceUnavailable),
        (silent, SourceTimeout),
        (good(HTML), NotAnImage),
    ],
)
def test_a_second_answer_that_differs_never_confirms_that_a_file_is_gone(
    second: Step, error: type[FileError], web: ScriptedServer, tmp_path: Path
) -> None:
    web.script = [status(404), second]
    with pytest.raises(error) as caught:
        make_fetcher(settings(read_timeout=patience(second))).fetch(web_file(web.url()), tmp_path)
    assert caught.value.fate is Fate.WAITS


def test_a_file_is_not_gone_when_there_is_no_time_to_ask_again(web: ScriptedServer, tmp_path: Path) -> None:
    web.script = [status(404)]
    with pytest.raises(SourceUnavailable, match="did not confirm"):
        make_fetcher(settings(gone_pause=60, deadline=5)).fetch(web_file(web.url()), tmp_path)
    assert len(web.asked) == 1


@given(
    answers=st.lists(
        st.sampled_from([404, 410, 403, 400, 500, 503, 429, 408, 301, 200]), min_size=1, max_size=8
    )
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_only_two_answers_in_a_row_make_a_file_gone(
    answers: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    steps = {200: good(PICTURE), 301: redirect("/elsewhere", 301)}
    with running(ScriptedServer()) as web:
        web.script = [*(steps.get(code, status(code)) for code in answers), good(PICTURE)]
        folder = tmp_path_factory.mktemp("gone")
        try:
            fetched = FOUR_ATTEMPTS.fetch(web_file(web.url()), folder).path.read_bytes()
        except FileError as err:
            finals = [code for code in answers[: len(web.asked)] if code != 301]
            confirmed = len(finals) >= 2 and set(finals[-2:]) <= {404, 410}
            outcome = (err.fate is Fate.REMOVED) == confirmed and nothing_left(folder)
        else:
            outcome = fetched == PICTURE
        assert outcome


# --- time ------------------------------------------------------------------------------------------


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
DRIPS = {
    "body": drip(PICTURE, b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"),
    "body without a length": drip(PICTURE, b"HTTP/1.1 200 OK\r\n\r\n"),
    "status line": drip(b"HTTP/1.1 200 " + b"O" * 60_000),
    "header": drip(b"X-Filler: " + b"x" * 60_000, b"HTTP/1.1 200 OK\r\n"),
    "size of a chunk": drip(b"0" * 60_000, CHUNKED),
    "redirect's body": drip(PICTURE, b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 9999\r\n\r\n"),
}


@pytest.mark.parametrize("part", DRIPS)
def test_a_server_that_drips_meets_the_deadline(part: str, web: ScriptedServer, tmp_path: Path) -> None:
    web.script = [DRIPS[part]]
    with pytest.raises(SourceTimeout, match=r"did not deliver the file within 0\.6 s"):
        make_fetcher(settings(deadline=0.6)).fetch(web_file(web.url()), tmp_path)
    assert nothing_left(tmp_path)


def test_an_error_page_that_drips_is_the_error_that_it_says(web: ScriptedServer, tmp_path: Path) -> None:
    web.script = [drip(PICTURE, b"HTTP/1.1 503 Oops\r\nContent-Length: 99999\r\n\r\n")]
    with pytest.raises(SourceUnavailable, match="HTTP 503"):
        make_fetcher(settings(deadline=0.5)).fetch(web_file(web.url()), tmp_path)


def test_a_longer_retry_after_than_the_limit_is_not_waited_for(web: ScriptedServer, tmp_path: Path) -> None:
    web.script = [status(503, Retry_After="7200")]
    with pytest.raises(SourceUnavailable):
        make_fetcher().fetch(web_file(web.url()), tmp_path)
    assert len(web.asked) == 1


def test_a_refused_connection_leaves_the_file_waiting(tmp_path: Path) -> None:
    with running(ScriptedServer()) as closed:
        url = closed.url()
    with pytest.raises(SourceUnavailable, match=r"no connection to 127\.0\.0\.1"):
        make_fetcher().fetch(web_file(url), tmp_path)
    assert nothing_left(tmp_path)


# --- integrity -------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", [str.lower, str.upper, lambda text: f" {text}\n"])
def test_the_record_s_checksum_is_compared(
    written: Callable[[str], str], web: ScriptedServer, tmp_path: Path
) -> None:
    web.script = [good(OTHER), good(PICTURE)]
    assert fetched_bytes(web, tmp_path, md5_checksum=written(md5(PICTURE))) == PICTURE
    assert len(web.asked) == 2


def test_a_wrong_checksum_has_one_more_try_and_its_own_reason(web: ScriptedServer, tmp_path: Path) -> None:
    web.script = [good(OTHER)]
    with pytest.raises(SourceChecksumMismatch, match="the record says") as caught:
        make_fetcher(settings(attempts=5)).fetch(web_file(web.url(), md5_checksum=md5(PICTURE)), tmp_path)
    assert len(web.asked) == 2
    assert not caught.value.quarantine
    assert nothing_left(tmp_path)


def test_an_error_page_in_place_of_a_file_with_a_checksum_is_named_as_such(
    web: ScriptedServer, tmp_path: Path
) -> None:
    web.script = [good(HTML)]
    with pytest.raises(NotAnImage, match="HTML"):
        make_fetcher().fetch(web_file(web.url(), md5_checksum=md5(PICTURE)), tmp_path)
    assert nothing_left(tmp_path)


def test_a_packed_answer_s_checksum_is_that_of_the_file_in_it(web: ScriptedServer, tmp_path: Path) -> None:
    web.script = [packed(PICTURE)]
    assert fetched_bytes(web, tmp_path, md5_checksum=md5(PICTURE)) == PICTURE


# --- size ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [good(PICTURE), chunked(PICTURE), packed(bytes(100_000))])
def test_a_file_over_the_size_limit_is_not_fetched(step: Step, web: ScriptedServer, tmp_path: Path) -> None:
    web.script = [step]
    with pytest.raises(SourceTooLarge, match="5,000 bytes"):
        make_fetcher(settings(max_bytes=5000)).fetch(web_file(web.url()), tmp_path)
    assert len(web.asked) == 1
    assert nothing_left(tmp_path)


def test_a_stated_size_over_the_limit_is_refused_before_the_body(web: ScriptedServer, tmp_path: Path) -> None:
    web.script = [raw(b"HTTP/1.1 200 OK\r\nContent-Length: 30000000000\r\n\r\n")]
    with pytest.raises(SourceTooLarge):
        make_fetcher().fetch(web_file(web.url()), tmp_path)


# --- random schedules ------------------------------------------------------------------------------

_FAULTS: list[Callable[[random.Random], Step]] = [
    lambda _: status(500),
    lambda _: status(503, Retry_After="0"),
    lambda _: status(429),
    lambda _: status(404),
    lambda _: status(403),
    lambda rng: cut(PICTURE, rng.randrange(len(PICTURE))),
    lambda rng: cut(PICTURE, rng.randrange(len(PICTURE)), end="reset", ranges=False),
    lambda _: good(HTML),
    lambda _: good(OTHER),
    lambda _: raw(b"garbage\r\n\r\n"),
    lambda _: chunked(PICTURE, finished=False),
    lambda _: redirect("/again"),
    lambda _: packed(PICTURE, lose=8),
]


@given(seed=st.integers(0, 2**32), faults=st.integers(0, 6))
@hypothesis_settings(max_examples=60, deadline=None)
def test_under_any_faults_the_outcome_is_the_file_or_an_error_and_an_empty_folder(
    seed: int, faults: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = random.Random(seed)
    with running(ScriptedServer()) as web:
        web.script = [*(rng.choice(_FAULTS)(rng) for _ in range(faults)), good(PICTURE)]
        folder = tmp_path_factory.mktemp("random")
        try:
            file = THREE_ATTEMPTS.fetch(web_file(web.url(), md5_checksum=md5(PICTURE)), folder)
        except FileError as err:
            outcome = nothing_left(folder) and (err.fate is Fate.WAITS or len(web.asked) >= 2)
        else:
            outcome = file.path.read_bytes() == PICTURE and list(folder.iterdir()) == [file.path]
        assert outcome
