"""A valid pyramid whose bytes or tags are broken in any one way is refused."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import ImageCms

from marble_images.pyramid.model import Box
from marble_images.pyramid.validate import validate_pyramid
from marble_images_tests.pyramid.pyramids import (
    WRITERS,
    colour_stripes,
    errors,
    grey_noise,
    halved,
    levels_of,
    noise,
    photograph,
    where,
    write_levels,
)


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
