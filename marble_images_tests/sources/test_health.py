"""Hosts that are down: what they cost the files that come after."""

from __future__ import annotations

from pathlib import Path

import pytest

from marble_images.errors import SourceForbidden, SourceUnavailable
from marble_images.sources import HostHealth, SourceFetcher
from marble_images.sources.health import FAILURES_IN_A_ROW
from marble_images_tests.sources.conftest import make_fetcher, settings, web_file
from marble_images_tests.sources.servers import ScriptedServer, good, redirect, silent, status

ATTEMPTS = 4


def fails(fetcher: SourceFetcher, url: str, folder: Path, times: int = 1) -> None:
    for number in range(times):
        with pytest.raises(SourceUnavailable):
            fetcher.fetch(web_file(url), folder / str(number))


def bring_down(fetcher: SourceFetcher, web: ScriptedServer, folder: Path) -> None:
    web.script = [status(503)]
    fails(fetcher, web.url(), folder, FAILURES_IN_A_ROW)


@pytest.fixture
def fetcher() -> SourceFetcher:
    return make_fetcher(settings(attempts=ATTEMPTS, read_timeout=0.3))


@pytest.mark.parametrize("step", [status(500), status(503), silent])
def test_after_some_files_a_host_that_is_down_gets_one_try_a_file(
    fetcher: SourceFetcher, web: ScriptedServer, tmp_path: Path, step: object
) -> None:
    web.script = [step]  # type: ignore[list-item]
    fails(fetcher, web.url(), tmp_path, FAILURES_IN_A_ROW)
    assert len(web.asked) == FAILURES_IN_A_ROW * ATTEMPTS
    fails(fetcher, web.url(), tmp_path, 5)
    assert len(web.asked) == FAILURES_IN_A_ROW * ATTEMPTS + 5


def test_one_file_that_it_delivers_gives_the_next_ones_all_their_tries_again(
    fetcher: SourceFetcher, web: ScriptedServer, picture: bytes, tmp_path: Path
) -> None:
    bring_down(fetcher, web, tmp_path)
    web.script = [good(picture)]
    fetcher.fetch(web_file(web.url()), tmp_path / "good")
    before = len(web.asked)
    web.script = [status(500), status(500), good(picture)]
    fetcher.fetch(web_file(web.url()), tmp_path / "again")
    assert len(web.asked) == before + 3


def test_an_answer_that_refuses_one_file_shows_that_the_host_works(
    fetcher: SourceFetcher, web: ScriptedServer, tmp_path: Path
) -> None:
    bring_down(fetcher, web, tmp_path)
    web.script = [status(403)]
    with pytest.raises(SourceForbidden):
        fetcher.fetch(web_file(web.url()), tmp_path / "one")
    before = len(web.asked)
    web.script = [status(500)]
    fails(fetcher, web.url(), tmp_path)
    assert len(web.asked) == before + ATTEMPTS


def test_throttling_is_no_outage(fetcher: SourceFetcher, web: ScriptedServer, tmp_path: Path) -> None:
    web.script = [status(429)]
    fails(fetcher, web.url(), tmp_path, FAILURES_IN_A_ROW + 2)
    assert len(web.asked) == (FAILURES_IN_A_ROW + 2) * ATTEMPTS


def test_another_host_keeps_its_tries(
    fetcher: SourceFetcher, web: ScriptedServer, other_web: ScriptedServer, tmp_path: Path
) -> None:
    bring_down(fetcher, web, tmp_path)
    other_web.script = [status(503)]
    fails(fetcher, other_web.url(), tmp_path)
    assert len(other_web.asked) == ATTEMPTS


def test_it_is_the_storage_behind_a_redirect_that_is_down(
    fetcher: SourceFetcher, web: ScriptedServer, other_web: ScriptedServer, picture: bytes, tmp_path: Path
) -> None:
    web.script = [redirect(other_web.url())]
    other_web.script = [status(503)]
    fails(fetcher, web.url(), tmp_path, FAILURES_IN_A_ROW + 2)
    assert len(other_web.asked) == FAILURES_IN_A_ROW * ATTEMPTS + 2
    web.script = [status(500), good(picture)]
    fetcher.fetch(web_file(web.url()), tmp_path / "good")


def test_what_one_fetcher_found_another_that_shares_its_knowledge_knows(
    web: ScriptedServer, tmp_path: Path
) -> None:
    health = HostHealth()
    first, second = (make_fetcher(settings(attempts=ATTEMPTS), health=health) for _ in range(2))
    bring_down(first, web, tmp_path)
    before = len(web.asked)
    fails(second, web.url(), tmp_path)
    assert len(web.asked) == before + 1
    health.forget()
    fails(second, web.url(), tmp_path)
    assert len(web.asked) == before + 1 + ATTEMPTS
