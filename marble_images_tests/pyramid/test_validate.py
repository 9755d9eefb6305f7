"""No valid pyramid is refused, whatever its picture, size and profile, and whoever wrote it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import pyvips
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from marble_images.pyramid.model import Box
from marble_images.pyramid.profiles import PROFILES, available
from marble_images.pyramid.tiff_tags import MAX_PAGES
from marble_images.pyramid.validate import validate_pyramid
from marble_images.pyramid.write import write_pyramid
from marble_images_tests.pyramid.pyramids import (
    OTHER_JPEGS,
    PICTURES,
    WRITERS,
    Array,
    colour_stripes,
    levels_of,
    noise,
    photograph,
    reference_of,
    write_levels,
)

SIZES = ((1100, 701), (1024, 600), (513, 515), (129, 127), (128, 40), (1, 1), (3, 2), (1, 1500), (700, 9))
WRITABLE = [name for name in PROFILES if available(name)]


def as_vips(picture: Array) -> pyvips.Image:
    height, width, bands = picture.shape
    image = pyvips.Image.new_from_memory(
        np.ascontiguousarray(picture).tobytes(), width, height, bands, "uchar"
    )
    return image.copy(interpretation="srgb" if bands == 3 else "b-w")


@pytest.mark.parametrize("profile", WRITABLE)
@pytest.mark.parametrize("make", PICTURES, ids=lambda make: make.__name__)
def test_what_our_writer_makes_is_valid(
    tmp_path: Path, make: Callable[[int, int], Array], profile: str
) -> None:
    for width, height in SIZES[2:] if profile == "webp" else SIZES:
        picture = make(width, height)
        path = tmp_path / "pyramid.tif"
        write_pyramid(as_vips(picture), path, PROFILES[profile], description="", dpi=300)
        problems = validate_pyramid(
            path, box=Box(width, height), profile=profile, reference=reference_of(picture)
        )
        assert not problems, (width, height)


@pytest.mark.parametrize("profile", WRITERS)
@pytest.mark.parametrize("make", PICTURES, ids=lambda make: make.__name__)
def test_what_another_writer_makes_is_valid(
    tmp_path: Path, make: Callable[[int, int], Array], profile: str
) -> None:
    for width, height in SIZES[2:4] if profile == "webp" else SIZES[1:4]:
        picture = make(width, height)
        path = write_levels(tmp_path / "pyramid.tif", levels_of(picture), profile)
        assert not validate_pyramid(path, profile=profile, reference=reference_of(picture)), (width, height)


@pytest.mark.parametrize("stored", OTHER_JPEGS)
@pytest.mark.parametrize("make", PICTURES, ids=lambda make: make.__name__)
def test_jpegs_that_are_stored_in_other_ways_are_valid(
    tmp_path: Path, make: Callable[[int, int], Array], stored: str
) -> None:
    picture = make(1024, 600)
    path = write_levels(tmp_path / "pyramid.tif", levels_of(picture), "jpeg", **OTHER_JPEGS[stored])
    assert not validate_pyramid(path, profile="jpeg", reference=reference_of(picture))


# Stripes of one pixel are another picture when an odd size is halved by a factor that is not exactly two.
@pytest.mark.parametrize(
    "kernel",
    [
        "BOX",
        "LANCZOS",
        *(pytest.param(k, marks=pytest.mark.slow) for k in ("BILINEAR", "HAMMING", "BICUBIC")),
    ],
)
@pytest.mark.parametrize("make", [p for p in PICTURES if p is not colour_stripes], ids=lambda m: m.__name__)
def test_other_ways_of_halving_are_valid(
    tmp_path: Path, make: Callable[[int, int], Array], kernel: str
) -> None:
    picture = make(1101, 703)
    levels = levels_of(picture)
    for i in range(1, len(levels)):
        size = (levels[i].shape[1], levels[i].shape[0])
        bands = levels[i - 1].transpose(2, 0, 1)
        smaller = [Image.fromarray(band).resize(size, Image.Resampling[kernel]) for band in bands]
        levels[i] = np.stack([np.asarray(band) for band in smaller], axis=2)
    path = write_levels(tmp_path / "pyramid.tif", levels)
    assert not validate_pyramid(path, reference=reference_of(picture))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.integers(1, 1300),
    height=st.integers(1, 1300),
    make=st.sampled_from(PICTURES),
    profile=st.sampled_from([name for name in WRITABLE if name != "webp"]),
)
def test_any_size_is_valid(
    tmp_path: Path, width: int, height: int, make: Callable[[int, int], Array], profile: str
) -> None:
    picture = make(width, height)
    path = tmp_path / "pyramid.tif"
    write_pyramid(as_vips(picture), path, PROFILES[profile], description="", dpi=300)
    assert not validate_pyramid(path, profile=profile, reference=reference_of(picture))


@pytest.mark.slow
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.integers(1, 1300),
    height=st.integers(1, 1300),
    make=st.sampled_from(PICTURES),
    profile=st.sampled_from(sorted(WRITABLE)),
)
def test_any_size_of_any_profile_is_valid(
    tmp_path: Path, width: int, height: int, make: Callable[[int, int], Array], profile: str
) -> None:
    picture = make(width, height)
    path = tmp_path / "pyramid.tif"
    write_pyramid(as_vips(picture), path, PROFILES[profile], description="", dpi=300)
    assert not validate_pyramid(path, profile=profile, reference=reference_of(picture))


def test_a_grey_reference_of_two_dimensions_is_taken(tmp_path: Path) -> None:
    picture = photograph(600, 400)[..., :1]
    path = write_levels(tmp_path / "pyramid.tif", levels_of(picture))
    assert not validate_pyramid(path, reference=reference_of(picture)[..., 0])


def test_a_pyramid_that_fits_the_box_exactly_is_valid_and_one_pixel_more_is_not(tmp_path: Path) -> None:
    path = write_levels(tmp_path / "pyramid.tif", levels_of(photograph(843, 560)))
    assert not validate_pyramid(path, box=Box(843, 560))
    for box in (Box(842, 560), Box(843, 559)):
        assert [p.where for p in validate_pyramid(path, box=box)] == ["level 0"]


def test_a_pyramid_is_read_in_both_byte_orders(tmp_path: Path) -> None:
    picture = photograph(700, 300)
    path = tmp_path / "pyramid.tif"
    with tifffile.TiffWriter(path, byteorder=">") as tiff:
        for i, level in enumerate(levels_of(picture)):
            tiff.write(
                level,
                photometric="rgb",
                tile=(512, 512),
                compression="adobe_deflate",
                resolution=(300, 300),
                resolutionunit="INCH",
                subfiletype=int(i > 0),
                metadata=None,
            )
    assert path.read_bytes()[:2] == b"MM"
    assert not validate_pyramid(path, reference=reference_of(picture))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"II*", "too short"),
        (b"<html>not a tiff</html>", "not a TIFF"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "not a TIFF"),
        (b"II+\0" + bytes(20), "BigTIFF"),
        (b"II*\0\0\0\0\0", "no page"),
        (b"II*\0\xff\xff\xff\xff", "past the end"),
        (b"II*\0\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0", "loop"),
    ],
)
def test_what_is_no_pyramid_is_one_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file.tif"
    path.write_bytes(content)
    (problem,) = validate_pyramid(path)
    assert problem.kind == "error"
    assert message in problem.message


def test_a_missing_file_and_a_folder_are_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none.tif", tmp_path):
        (problem,) = validate_pyramid(path)
        assert (problem.kind, problem.where) == ("error", "file")


def test_a_chain_of_too_many_pages_is_an_error(tmp_path: Path) -> None:
    pages = b"".join(
        b"\0\0" + (8 + 6 * (i + 1) if i < MAX_PAGES else 0).to_bytes(4, "little")
        for i in range(MAX_PAGES + 1)
    )
    path = tmp_path / "file.tif"
    path.write_bytes(b"II*\0\x08\0\0\0" + pages)
    (problem,) = validate_pyramid(path)
    assert "more than 64 pages" in problem.message


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_never_raise(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "pyramid.tif"
    if not path.exists():
        write_levels(path, levels_of(noise(60, 50)), "jpeg")
    content = bytearray(path.read_bytes())
    # The tags are at either end of so small a file; its middle is the tile.
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.one_of(st.integers(0, 400), st.integers(0, len(content) - 1)))
        content[at] = data.draw(st.integers(0, 255))
    broken = tmp_path / "broken.tif"
    broken.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    for problem in validate_pyramid(broken, reference=reference_of(noise(60, 50))):
        assert "\n" not in problem.message


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tail=st.binary(max_size=200))
def test_any_bytes_after_a_tiff_header_are_an_error(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "file.tif"
    path.write_bytes(b"II*\0\x08\0\0\0" + tail)
    assert any(problem.kind == "error" for problem in validate_pyramid(path))


def test_an_open_file_is_not_left_behind(tmp_path: Path) -> None:
    path = write_levels(tmp_path / "pyramid.tif", levels_of(noise(20, 20)))
    before = psutil.Process().num_fds()
    for _ in range(20):
        validate_pyramid(path)
        validate_pyramid(tmp_path / "none.tif")
    assert psutil.Process().num_fds() == before
