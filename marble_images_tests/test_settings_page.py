from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from marble_images.pyramid.profiles import PROFILES
from marble_images.settings import Settings
from marble_images.settings_page import table, written_anew

README = Path(__file__).parents[1] / "README.md"
ROW = re.compile(r"^\| `([A-Z0-9_]+)` \| (?:`(.*)`|required|) \| (.+) \|$", re.M)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_readme_has_every_setting_as_it_is() -> None:
    page = README.read_text(encoding="utf-8")
    assert page == written_anew(page), "run python -m marble_images.settings_page README.md"
    assert {name.lower() for name, _, _ in ROW.findall(page)} == set(Settings.model_fields)


def test_each_default_that_is_shown_is_what_no_value_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    unset = Settings.load()
    for name, default, _ in ROW.findall(table()):
        if default:
            monkeypatch.setenv(name, default)
            assert Settings.load() == unset, name
            monkeypatch.delenv(name)
        else:
            assert not getattr(unset, name.lower()), name
    assert not any(name.upper() in os.environ for name in Settings.model_fields)


def test_each_number_says_what_it_counts() -> None:
    units = r"\b(bytes|seconds|pixels|days|tries|files|conversions|hour|minute|share)\b"
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, (int, float)) and not isinstance(field.default, bool):
            assert re.search(units, field.description or ""), name


def test_a_page_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks"):
        written_anew("# A page")


def test_the_profiles_that_there_are_are_named() -> None:
    said = Settings.model_fields["profile"].description or ""
    assert set(re.findall(r"`(\w+)`", said)) == set(PROFILES)
