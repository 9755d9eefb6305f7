"""A valid pyramid whose picture is broken in any one way is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marble_images_tests.pyramid.pyramids import (
    OTHER_JPEGS,
    Array,
    dark,
    errors,
    grey_noise,
    levels_of,
    line_art,
    noise,
    photograph,
    reference_of,
    where,
    write_levels,
)

WIDTH, HEIGHT = 1100, 1057
# WebP is slow to write, and Zstandard differs from deflate in its decoder only.
WRITTEN = ["deflate", "jpeg", *(pytest.param(name, marks=pytest.mark.slow) for name in ("webp", "zstd"))]
SHOWN = (photograph, noise, grey_noise, line_art)


# The levels are changed, then written anew, so the file itself is sound.


def black_level(levels: list[Array], at: int) -> None:
    levels[at] = np.zeros_like(levels[at])


def white_level(levels: list[Array], at: int) -> None:
    levels[at] = np.full_like(levels[at], 255)


def mean_level(levels: list[Array], at: int) -> None:
    levels[at] = np.full_like(levels[at], int(levels[at].mean()))


def another_picture(levels: list[Array], at: int) -> None:
    height, width, bands = levels[at].shape
    levels[at] = np.random.default_rng(99).integers(0, 256, (height, width, bands), dtype=np.uint8)


def mirrored(levels: list[Array], at: int) -> None:
    levels[at] = levels[at][:, ::-1]


def upside_down(levels: list[Array], at: int) -> None:
    levels[at] = levels[at][::-1, ::-1]


def grey_from_the_middle(levels: list[Array], at: int) -> None:
    levels[at] = levels[at].copy()
    levels[at][len(levels[at]) // 2 :] = 128


def shifted_right(levels: list[Array], at: int) -> None:
    levels[at] = np.roll(levels[at], 3, axis=1)


def shifted_up(levels: list[Array], at: int) -> None:
    levels[at] = np.roll(levels[at], -2, axis=0)


def inverted(levels: list[Array], at: int) -> None:
    levels[at] = 255 - levels[at]


def darker(levels: list[Array], at: int) -> None:
    levels[at] = np.maximum(levels[at].astype(np.int16) - 20, 0).astype(np.uint8)


def cropped_and_enlarged(levels: list[Array], at: int) -> None:
    height, width = levels[at].shape[:2]
    rows, columns = np.arange(height) * 9 // 10, np.arange(width) * 9 // 10
    levels[at] = levels[at][rows][:, columns]


def two_rows_swapped_by_tiles(levels: list[Array], at: int) -> None:
    height = len(levels[at]) // 2
    levels[at] = np.concatenate([levels[at][height:], levels[at][:height]])


PIXEL_MUTATIONS: tuple[Callable[[list[Array], int], None], ...] = (
    *(black_level, white_level, mean_level, another_picture, mirrored, upside_down, grey_from_the_middle),
    *(shifted_right, shifted_up, inverted, darker, cropped_and_enlarged, two_rows_swapped_by_tiles),
)


@pytest.mark.parametrize("profile", WRITTEN)
@pytest.mark.parametrize("mutate", PIXEL_MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_a_level_that_does_not_match_is_caught(
    tmp_path: Path, mutate: Callable[[list[Array], int], None], profile: str
) -> None:
    for make in SHOWN:
        levels = levels_of(make(WIDTH, HEIGHT))
        for at in (1, 2):
            changed = list(levels)
            mutate(changed, at)
            path = write_levels(tmp_path / "broken.tif", changed, profile)
            assert f"level {at}" in where(errors(path)), (make.__name__, at)


@pytest.mark.parametrize("stored", OTHER_JPEGS)
@pytest.mark.parametrize("mutate", PIXEL_MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_a_level_that_does_not_match_is_caught_in_jpegs_of_other_writers(
    tmp_path: Path, mutate: Callable[[list[Array], int], None], stored: str
) -> None:
    for make in (photograph, line_art):
        levels = levels_of(make(WIDTH, HEIGHT))
        mutate(levels, 1)
        path = write_levels(tmp_path / "broken.tif", levels, "jpeg", **OTHER_JPEGS[stored])
        assert "level 1" in where(errors(path)), make.__name__


# Three pixels of the top are less than one of the source's small picture.
@pytest.mark.parametrize(
    "mutate", [m for m in PIXEL_MUTATIONS if not m.__name__.startswith("shifted")], ids=lambda m: m.__name__
)
def test_a_whole_pyramid_of_a_damaged_picture_is_caught_by_its_source(
    tmp_path: Path, mutate: Callable[[list[Array], int], None]
) -> None:
    for make in (photograph, line_art):
        picture = make(WIDTH, HEIGHT)
        damaged = [picture]
        mutate(damaged, 0)
        path = write_levels(tmp_path / "broken.tif", levels_of(damaged[0]))
        assert not errors(path)
        assert where(errors(path, reference=reference_of(picture))) == {"level 0"}, make.__name__


def test_swapped_colours_are_caught_by_the_source(tmp_path: Path) -> None:
    picture = photograph(WIDTH, HEIGHT)
    path = write_levels(tmp_path / "broken.tif", levels_of(picture[..., ::-1]))
    assert errors(path, reference=reference_of(picture))


def test_a_picture_of_another_shape_is_caught_by_the_source(tmp_path: Path) -> None:
    picture = photograph(WIDTH, HEIGHT)
    path = write_levels(tmp_path / "broken.tif", levels_of(picture.transpose(1, 0, 2)))
    assert "another shape" in errors(path, reference=reference_of(picture))[0].message


def test_levels_with_swapped_pictures_are_caught(tmp_path: Path) -> None:
    levels = levels_of(photograph(1100, 1100))
    side = len(levels[2])
    swapped = [levels[0], levels[2].repeat(2, axis=0).repeat(2, axis=1)[:550, :550], levels[1][:side, :side]]
    assert {"level 2"} <= where(errors(write_levels(tmp_path / "broken.tif", swapped)))


def test_levels_in_another_order_are_caught(tmp_path: Path) -> None:
    first, second, third = levels_of(photograph(1100, 1100))
    for levels in ([second, first, third], [first, third, second], [third, second, first]):
        assert errors(write_levels(tmp_path / "broken.tif", levels))


@pytest.mark.parametrize("profile", WRITTEN)
@pytest.mark.parametrize("make", [photograph, noise, dark, line_art], ids=lambda make: make.__name__)
def test_one_zeroed_tile_anywhere_is_caught(
    tmp_path: Path, make: Callable[[int, int], Array], profile: str
) -> None:
    levels = levels_of(make(WIDTH, HEIGHT))
    for level, row, column in ((0, 0, 0), (0, 2, 2), (0, 1, 2), (1, 0, 1), (1, 1, 1), (2, 0, 0)):
        changed = [pixels.copy() for pixels in levels]
        changed[level][512 * row : 512 * (row + 1), 512 * column : 512 * (column + 1)] = 0
        path = write_levels(tmp_path / "broken.tif", changed, profile)
        assert errors(path), (level, row, column)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.integers(513, 1600),
    height=st.integers(513, 1600),
    value=st.sampled_from([0, 255]),
    data=st.data(),
)
def test_a_black_or_white_tile_anywhere_in_any_size_is_caught(
    tmp_path: Path, width: int, height: int, value: int, data: st.DataObject
) -> None:
    levels = levels_of(noise(width, height))
    level = data.draw(st.integers(0, len(levels) - 1))
    row = data.draw(st.integers(0, (levels[level].shape[0] - 1) // 512))
    column = data.draw(st.integers(0, (levels[level].shape[1] - 1) // 512))
    tile = np.s_[512 * row : 512 * (row + 1), 512 * column : 512 * (column + 1)]
    before = levels[level][tile].copy()
    levels[level] = levels[level].copy()
    levels[level][tile] = value
    if 0 in before[::2, ::2].shape or before.shape[0] < 2 or before.shape[1] < 2:
        # An odd last row or column of its own is in no other level.
        return
    assert errors(write_levels(tmp_path / "broken.tif", levels))


def test_two_tiles_in_each_others_place_are_caught(tmp_path: Path) -> None:
    path = write_levels(tmp_path / "broken.tif", levels_of(noise(WIDTH, HEIGHT)))
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        offsets, counts = page.tags[324], page.tags[325]
    data = bytearray(path.read_bytes())
    for tag, size in ((offsets, 4), (counts, 4)):
        first, second = tag.valueoffset, tag.valueoffset + size
        data[first : first + size], data[second : second + size] = (
            data[second : second + size],
            data[first : first + size],
        )
    path.write_bytes(data)
    assert where(errors(path)) == {"level 1"}
