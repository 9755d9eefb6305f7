from __future__ import annotations

import pytest

from marble_images.errors import SettingsError
from marble_images.pyramid import profiles, vips
from marble_images.pyramid.profiles import PROFILES, available, get_profile


def test_every_profile_can_be_written_with_what_is_installed() -> None:
    assert [name for name in PROFILES if available(name)] == ["deflate", "jpeg", "webp", "zstd"]
    assert get_profile("deflate") is PROFILES["deflate"]


def test_an_unknown_profile_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(SettingsError, match=r"no pyramid profile 'lzw'; there are deflate, jpeg, webp, zstd"):
        get_profile("lzw")


def test_a_profile_whose_encoder_is_missing_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "available", lambda _name: False)
    with pytest.raises(SettingsError, match=r"imagecodecs was built without .* 'deflate' needs"):
        get_profile("deflate")


@pytest.mark.parametrize("found", [(8, 17, 0), (8, 17, 1), (8, 10, 6)])
def test_a_libvips_that_damages_pictures_is_refused(found: tuple[int, int, int]) -> None:
    with pytest.raises(SettingsError, match=r"libvips \d"):
        vips.check_version(found)


def test_newer_versions_of_libvips_are_taken() -> None:
    vips.check_version((8, 17, 2))
    vips.check_version((9, 0, 0))
