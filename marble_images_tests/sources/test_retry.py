"""How often and how long something is tried again."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from marble_images.errors import SettingsError, SourceGone, SourceUnavailable
from marble_images.sources import FetchSettings
from marble_images.sources.deadline import Deadline
from marble_images.sources.retry import TryAgain, Why, keep_trying, retry_after
from marble_images_tests.sources.conftest import settings


class Failing:
    """Fails as it is told, then succeeds."""

    def __init__(self, *faults: TryAgain) -> None:
        self.faults = list(faults)
        self.calls: list[float] = []

    def __call__(self) -> str:
        self.calls.append(time.monotonic())
        if self.faults:
            raise self.faults.pop(0)
        return "done"


def transient(after: float | None = None) -> TryAgain:
    return TryAgain(SourceUnavailable("down"), after=after)


def gone() -> TryAgain:
    return TryAgain(SourceUnavailable("perhaps gone"), Why.GONE, confirmed=SourceGone("gone"))


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_so_many_attempts_and_no_more(attempts: int) -> None:
    failing = Failing(*(transient() for _ in range(attempts)))
    with pytest.raises(SourceUnavailable, match="down"):
        keep_trying(failing, settings(attempts=attempts), Deadline(10))
    assert len(failing.calls) == attempts


def test_a_server_s_pause_is_kept() -> None:
    failing = Failing(transient(after=0.3))
    assert keep_trying(failing, settings(), Deadline(10)) == "done"
    assert failing.calls[1] - failing.calls[0] >= 0.3


def test_the_pause_before_a_file_is_called_gone_is_kept() -> None:
    failing = Failing(gone(), gone())
    with pytest.raises(SourceGone):
        keep_trying(failing, settings(gone_pause=0.2), Deadline(10))
    assert failing.calls[1] - failing.calls[0] >= 0.2


def test_a_pause_that_ends_after_the_deadline_is_not_begun() -> None:
    failing = Failing(transient(after=5))
    with pytest.raises(SourceUnavailable):
        keep_trying(failing, settings(), Deadline(1))
    assert len(failing.calls) == 1


def test_answers_in_between_do_not_confirm_that_a_file_is_gone() -> None:
    failing = Failing(gone(), transient(), gone(), transient())
    assert keep_trying(failing, settings(attempts=3), Deadline(10)) == "done"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("", None), ("0", 0), (" 120 ", 120), ("soon", None), ("-5", None), ("1.5", None)],
)
def test_a_pause_in_seconds_is_read(header: str | None, seconds: float | None) -> None:
    assert retry_after(header) == seconds


def test_a_pause_until_a_date_is_read() -> None:
    assert retry_after(formatdate(time.time() + 100, usegmt=True)) == pytest.approx(100, abs=5)
    assert retry_after(formatdate(time.time() - 100, usegmt=True)) == 0


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"deadline": -1}, {"max_bytes": 0}, {"gone_pause": -1}, {"read_timeout": 0}]
)
def test_limits_that_cannot_be_met_are_wrong_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        FetchSettings(**wrong)  # type: ignore[arg-type]
