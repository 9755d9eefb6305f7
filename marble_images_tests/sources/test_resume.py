"""Downloads that break in the middle and go on, byte for byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from marble_images_tests.sources.conftest import make_fetcher, md5, png, settings, web_file
from marble_images_tests.sources.servers import (
    Exchange,
    ScriptedServer,
    Step,
    chunked,
    cut,
    good,
    running,
    status,
)

PICTURE = png(64, 64)
OTHER = png(64, 64, seed=2)
TEN_ATTEMPTS = make_fetcher(settings(attempts=10))


def fetched_bytes(web: ScriptedServer, folder: Path, **fields: str) -> bytes:
    return make_fetcher().fetch(web_file(web.url(), **fields), folder).path.read_bytes()


def test_a_broken_download_goes_on_where_it_broke(web: ScriptedServer, tmp_path: Path) -> None:
    web.script = [cut(PICTURE, 1000), cut(PICTURE, 500, end="drop"), good(PICTURE)]
    assert fetched_bytes(web, tmp_path, md5_checksum=md5(PICTURE)) == PICTURE
    assert [asked.headers["Range"] for asked in web.asked] == [None, "bytes=1000-", "bytes=1500-"]
    assert [asked.headers["If-Range"] for asked in web.asked] == [None, '"an-etag"', '"an-etag"']


def wrong_part(**changes: str) -> Step:
    """A 206 that does not fit."""

    def step(exchange: Exchange) -> None:
        sent = {
            "ETag": '"an-etag"',
            "Content-Range": f"bytes 1000-{len(PICTURE) - 1}/{len(PICTURE)}",
            "Content-Length": str(len(PICTURE) - 1000),
        }
        sent |= {name.replace("_", "-"): value for name, value in changes.items()}
        exchange.send(206, sent, PICTURE[1000:])

    return step


@pytest.mark.parametrize(
    "part",
    [
        wrong_part(ETag='"another"'),
        wrong_part(ETag="", Content_Type="image/png"),
        wrong_part(Content_Range=f"bytes 900-{len(PICTURE) - 1}/{len(PICTURE)}"),
        wrong_part(Content_Range=f"bytes 1000-{len(PICTURE) - 2}/{len(PICTURE)}"),
        wrong_part(Content_Range=f"bytes 1000-{len(PICTURE) - 1}/{len(PICTURE) + 5}"),
        wrong_part(Content_Range="nonsense"),
        wrong_part(Content_Range=f"bytes 1000-{len(PICTURE) + 4}/{len(PICTURE) + 5}"),
        status(416),
        status(500),
    ],
)
def test_a_part_that_does_not_fit_starts_the_download_anew(
    part: Step, web: ScriptedServer, tmp_path: Path
) -> None:
    web.script = [cut(PICTURE, 1000), part, good(PICTURE)]
    assert fetched_bytes(web, tmp_path) == PICTURE


def test_a_chunked_answer_that_broke_is_resumed_to_the_size_that_the_rest_tells(
    web: ScriptedServer, tmp_path: Path
) -> None:
    web.script = [
        chunked(PICTURE, finished=False, ETag='"an-etag"', Accept_Ranges="bytes"),
        cut(PICTURE, 0),
        good(PICTURE),
    ]
    assert fetched_bytes(web, tmp_path) == PICTURE
    assert web.asked[1].headers["Range"] is not None


def test_a_file_that_changed_while_it_was_read_is_read_from_its_start(
    web: ScriptedServer, tmp_path: Path
) -> None:
    web.script = [cut(PICTURE, 1000), good(OTHER, ETag='"newer"')]
    assert fetched_bytes(web, tmp_path) == OTHER


@pytest.mark.parametrize("etag", ['W/"weak"', "", '""'])
def test_without_a_strong_etag_nothing_is_resumed(etag: str, web: ScriptedServer, tmp_path: Path) -> None:
    web.script = [cut(PICTURE, 1000, etag=etag), good(PICTURE, ETag=etag)]
    assert fetched_bytes(web, tmp_path) == PICTURE
    assert web.asked[1].headers["Range"] is None


@given(
    breaks=st.lists(
        st.tuples(st.integers(0, 5000), st.sampled_from(["drop", "reset"]), st.booleans()), max_size=6
    )
)
@hypothesis_settings(max_examples=40, deadline=None)
def test_however_often_a_download_breaks_its_bytes_are_exact(
    breaks: list[tuple[int, str, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running(ScriptedServer()) as web:
        web.script = [
            *(cut(PICTURE, after, end=end, ranges=ranges) for after, end, ranges in breaks),
            good(PICTURE),
        ]
        folder = tmp_path_factory.mktemp("breaks")
        fetched = TEN_ATTEMPTS.fetch(web_file(web.url()), folder)
        assert fetched.path.read_bytes() == PICTURE
        assert fetched.sha256 == hashlib.sha256(PICTURE).hexdigest()


def test_tries_that_get_further_do_not_use_up_the_attempts(
    web: ScriptedServer, large_picture: bytes, tmp_path: Path
) -> None:
    pieces = len(large_picture) // (1 << 20)
    assert pieces >= 3
    web.script = [*(cut(large_picture, (1 << 20) + 100) for _ in range(pieces)), good(large_picture)]

    fetched = make_fetcher(settings(attempts=2)).fetch(web_file(web.url()), tmp_path)

    assert fetched.path.read_bytes() == large_picture
    assert len(web.asked) == pieces + 1
