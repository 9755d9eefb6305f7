"""A valid pyramid that is broken in any one way is refused: the validator of the validator."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ImageCms

from marble_images.pyramid.model import Box
from marble_images.pyramid.validate import Problem, validate_pyramid
from marble_images_tests.pyramid.pyramids import (
    WRITERS,
    Array,
    colour_stripes,
    dark,
    grey_noise,
    halved,
    levels_of,
    line_art,
    noise,
    photograph,
    reference_of,
    write_levels,
)

WIDTH, HEIGHT = 1100, 1057
# WebP is slow to write, and Zstandard differs from deflate in its decoder only.
WRITTEN = ["deflate", "jpeg", *(pytest.param(name, marks=pytest.mark.slow) for name in ("webp", "zstd"))]
SHOWN = (photograph, noise, grey_noise, line_art)


def errors(path: Path, **options: Any) -> list[Problem]:
    return [p for p in validate_pyramid(path, **options) if p.kind == "error"]


def where(problems: list[Problem]) -> set[str]:
    return {problem.where for problem in problems}


# --- pixels: the levels are changed, then written anew, so the file itself is sound -------------------


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
    # Half the colour resolution leaves too little of a small level of noise or of thin lines to tell one
    # from another.
    for make in (photograph,) if profile == "webp" else SHOWN:
        levels = levels_of(make(WIDTH, HEIGHT))
        for at in (1, 2):
            changed = list(levels)
            mutate(changed, at)
            path = write_levels(tmp_path / "broken.tif", changed, profile)
            assert f"level {at}" in where(errors(path)), (make.__name__, at)


@pytest.mark.parametrize("mutate", PIXEL_MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_a_level_that_does_not_match_is_caught_where_colour_has_half_the_resolution(
    tmp_path: Path, mutate: Callable[[list[Array], int], None]
) -> None:
    for make in (photograph, line_art):
        levels = levels_of(make(WIDTH, HEIGHT))
        mutate(levels, 1)
        path = write_levels(tmp_path / "broken.tif", levels, "jpeg", compressionargs={"level": 75})
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


# --- the file: bytes and tags -------------------------------------------------------------------------


@pytest.fixture(scope="module", params=sorted(WRITERS))
def valid(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("valid") / f"{request.param}.tif"
    write_levels(path, levels_of(photograph(700, 620)), request.param)
    assert not validate_pyramid(path)
    return path


@pytest.mark.parametrize("percent", [10, 50, 90, 99])
def test_a_file_that_was_cut_is_caught(valid: Path, tmp_path: Path, percent: int) -> None:
    data = valid.read_bytes()
    broken = tmp_path / "broken.tif"
    broken.write_bytes(data[: len(data) * percent // 100])
    assert errors(broken)


def test_a_file_that_lacks_its_last_byte_is_caught(valid: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tif"
    broken.write_bytes(valid.read_bytes()[:-1])
    assert errors(broken)


@pytest.mark.parametrize("level", [0, 1])
def test_the_bytes_of_a_tile_in_zeros_are_caught(valid: Path, tmp_path: Path, level: int) -> None:
    with tifffile.TiffFile(valid) as tiff:
        page = tiff.pages[level]
        assert isinstance(page, tifffile.TiffPage)
        offset, count = page.dataoffsets[-1], page.databytecounts[-1]
    data = bytearray(valid.read_bytes())
    data[offset : offset + count] = bytes(count)
    broken = tmp_path / "broken.tif"
    broken.write_bytes(data)
    assert where(errors(broken)) == {f"level {level}"}


def test_a_tile_cut_short_is_caught(valid: Path, tmp_path: Path) -> None:
    for part in (0, 1, 2, 50, 95):
        data = bytearray(valid.read_bytes())
        with tifffile.TiffFile(valid) as tiff:
            counts = tiff.pages.first.tags[325]
            (count,) = struct.unpack_from("<I", data, counts.valueoffset)
        struct.pack_into("<I", data, counts.valueoffset, count * part // 100)
        broken = tmp_path / "broken.tif"
        broken.write_bytes(data)
        assert "level 0" in where(errors(broken)), part


def test_a_tile_outside_the_file_is_caught(valid: Path, tmp_path: Path) -> None:
    data = bytearray(valid.read_bytes())
    with tifffile.TiffFile(valid) as tiff:
        at = tiff.pages.first.tags[324].valueoffset
    for offset in (0, 4, len(data) - 10, 2**32 - 1):
        struct.pack_into("<I", data, at, offset)
        broken = tmp_path / "broken.tif"
        broken.write_bytes(data)
        assert "lie outside the file" in errors(broken)[0].message


TAGS = {
    "width": (256, 699),
    "height": (257, 630),
    "compression": (259, 5),
    "compression unknown": (259, 4711),
    "photometric": (262, 0),
    "photometric palette": (262, 3),
    "samples": (277, 4),
    "planar": (284, 2),
    "resolution unit": (296, 1),
    "tile width": (322, 256),
    "tile height": (323, 1024),
    "bits of one band": (258, 16),
}


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("name", TAGS)
def test_a_wrong_tag_value_is_caught(valid: Path, tmp_path: Path, name: str, level: int) -> None:
    code, value = TAGS[name]
    data = bytearray(valid.read_bytes())
    with tifffile.TiffFile(valid) as tiff:
        page = tiff.pages[level]
        assert isinstance(page, tifffile.TiffPage)
        tag = page.tags[code]
        assert tag.value != value
        struct.pack_into("<I" if tag.dtype == 4 else "<H", data, tag.valueoffset, value)
    broken = tmp_path / "broken.tif"
    broken.write_bytes(data)
    assert errors(broken)


ADOBE_LIKE = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()

OPTIONS: dict[str, dict[str, Any]] = {
    "an orientation tag": {"extratags": [(274, "H", 1, 6, False)]},
    "another resolution": {"resolution": (72, 72)},
    "no resolution": {"resolution": None},
    "a profile of another space": {"iccprofile": ADOBE_LIKE},
    "a broken profile": {"iccprofile": b"not a profile at all" * 10},
    "another compression": {"compression": "lzw"},
    "no compression": {"compression": None, "predictor": None},
    "strips": {"tile": None},
    "small tiles": {"tile": (256, 256)},
    "planes": {"planarconfig": "separate"},
    "BigTIFF": {"bigtiff": True},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_file_written_with_something_wrong_is_caught(tmp_path: Path, name: str) -> None:
    levels = levels_of(photograph(700, 620))
    pixels = [np.moveaxis(level, 2, 0) for level in levels] if name == "planes" else levels
    if name == "planes":
        path = tmp_path / "broken.tif"
        with tifffile.TiffWriter(path) as tiff:
            for i, plane in enumerate(pixels):
                tiff.write(
                    plane,
                    photometric="rgb",
                    planarconfig="separate",
                    tile=(512, 512),
                    compression="adobe_deflate",
                    resolution=(300, 300),
                    resolutionunit="INCH",
                    subfiletype=int(i > 0),
                    metadata=None,
                )
    else:
        path = write_levels(tmp_path / "broken.tif", levels, **OPTIONS[name])
    assert errors(path)


def test_an_orientation_tag_of_1_is_harmless(tmp_path: Path) -> None:
    options: dict[str, Any] = {"extratags": [(274, "H", 1, 1, False)]}
    assert not validate_pyramid(write_levels(tmp_path / "pyramid.tif", levels_of(noise(600, 50)), **options))


def test_an_srgb_profile_is_harmless_and_an_rgb_profile_on_grey_is_not(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    colour, grey = levels_of(noise(600, 50)), levels_of(grey_noise(600, 50))
    assert not validate_pyramid(write_levels(tmp_path / "pyramid.tif", colour, iccprofile=srgb))
    assert errors(write_levels(tmp_path / "broken.tif", grey, iccprofile=srgb))


def test_an_extra_page_is_caught(tmp_path: Path) -> None:
    levels = levels_of(photograph(700, 620))
    for extra in (halved(levels[-1]), levels[0], levels[-1]):
        assert "file" in where(errors(write_levels(tmp_path / "broken.tif", [*levels, extra])))


def test_a_missing_level_is_caught(tmp_path: Path) -> None:
    levels = levels_of(photograph(1100, 1100))
    for kept in (levels[:1], levels[:2], [levels[0], levels[2]]):
        assert "file" in where(errors(write_levels(tmp_path / "broken.tif", kept)))


@pytest.mark.parametrize(("code", "value"), [(330, 8), (266, 2), (338, 0), (339, 3)])
def test_a_tag_that_a_pyramid_has_not_is_caught(tmp_path: Path, code: int, value: int) -> None:
    options: dict[str, Any] = {"extratags": [(65000, "I", 1, value, False)]}
    path = write_levels(tmp_path / "broken.tif", levels_of(photograph(300, 200)), **options)
    assert not errors(path)
    data = path.read_bytes()
    found = data.index(struct.pack("<HHI", 65000, 4, 1))
    path.write_bytes(data[:found] + struct.pack("<H", code) + data[found + 2 :])
    assert where(errors(path)) == {"level 0"}


def test_a_level_rounded_up_is_caught(tmp_path: Path) -> None:
    levels = levels_of(photograph(1101, 703))
    levels[1] = np.pad(levels[1], ((0, 1), (0, 1), (0, 0)), mode="edge")
    assert "level 1" in where(errors(write_levels(tmp_path / "broken.tif", levels)))


def test_alpha_16_bits_and_floats_are_caught(tmp_path: Path) -> None:
    picture = photograph(300, 200)
    alpha = np.concatenate([picture, picture[..., :1]], axis=2)
    options: dict[str, Any] = {
        "photometric": "rgb",
        "tile": (512, 512),
        "compression": "adobe_deflate",
        "metadata": None,
    }
    for pixels in (alpha, picture.astype(np.uint16) * 257, picture.astype(np.float32) / 255):
        path = tmp_path / "broken.tif"
        extra: dict[str, Any] = {"extrasamples": ["unassalpha"]} if pixels.shape[2] == 4 else {}
        tifffile.imwrite(path, pixels, resolution=(300, 300), resolutionunit="INCH", **options, **extra)
        assert "level 0" in where(errors(path))


def test_the_wrong_profile_is_caught(tmp_path: Path) -> None:
    for profile in WRITERS:
        path = write_levels(tmp_path / "pyramid.tif", levels_of(photograph(300, 200)), profile)
        for claimed in WRITERS:
            assert bool(errors(path, profile=claimed)) == (claimed != profile)


def test_a_pyramid_outside_its_box_is_caught(tmp_path: Path) -> None:
    path = write_levels(tmp_path / "pyramid.tif", levels_of(photograph(300, 200)))
    assert where(errors(path, box=Box(299, 4000))) == {"level 0"}


def test_levels_stored_in_different_ways_are_caught(tmp_path: Path) -> None:
    first, second = levels_of(colour_stripes(700, 300))
    path = tmp_path / "broken.tif"
    with tifffile.TiffWriter(path) as tiff:
        for level, compression in ((first, "adobe_deflate"), (second, "zstd")):
            tiff.write(
                level,
                photometric="rgb",
                tile=(512, 512),
                compression=compression,
                resolution=(300, 300),
                resolutionunit="INCH",
                subfiletype=int(level is second),
                metadata=None,
            )
    assert "file" in where(errors(path))
