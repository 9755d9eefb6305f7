from __future__ import annotations

from pathlib import Path

from marble_images.errors import FileError
from marble_images.failures import failure_reasons, meaning_of, page

PAGE = Path(__file__).parents[1] / "docs" / "failures.md"


def codes(error: type[FileError]) -> set[str]:
    return {error.code}.union(*(codes(kind) for kind in error.__subclasses__()))


def test_the_page_is_the_one_that_the_code_gives() -> None:
    assert PAGE.read_text() == page(), "run `make pages`"


def test_every_code_has_a_meaning_and_advice() -> None:
    reasons = failure_reasons()
    assert codes(FileError) - reasons.keys() == {"file", "image"}
    for reason in reasons.values():
        assert reason.meaning
        assert reason.advice
        assert "|" not in reason.meaning + reason.advice


def test_a_code_that_nobody_knows_has_no_meaning() -> None:
    assert meaning_of("no-such-code") == ""
