"""JPEG XL becomes what it shows, or is refused: never in wrong colours, never half."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from marble_images.errors import CorruptImage, ImageError, ImageTooLarge, TruncatedImage, UnsupportedFormat
from marble_images.pyramid.convert import make_pyramid
from marble_images.pyramid.jpegxl_header import HeaderError, read_header
from marble_images.pyramid.model import ConvertOptions
from marble_images_tests.pyramid.images import Array, patches, rgb

GREY = rgb()[..., 1]
ALPHA = np.full((*GREY.shape, 1), 255, np.uint8)
ALPHA[:, 48:] = 0
ON_WHITE = rgb().copy()
ON_WHITE[:, 48:] = 255


def converted(data: bytes, tmp_path: Path, **options: Any) -> Array:
    source, target = tmp_path / "source", tmp_path / "pyramid.tif"
    source.write_bytes(data)
    made = make_pyramid(source, target, ConvertOptions(**options))
    assert made.source_format == "JPEG XL"
    written: Array = tifffile.imread(target, key=0)
    return written


def encoded(pixels: Array, **options: Any) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(pixels, **{"lossless": True, **options}))


def in_srgb(data: bytes) -> bytes:
    """The same samples, said to be of sRGB's curve: the encoder says linear light of all but 8 bits."""
    old = read_header(data)
    if old.curve == "sRGB":
        return data
    value = int.from_bytes(data, "little")
    for at in range(16, 1000):
        # The standard's numbers 8 and 13 are stored as 6 and 11 in four bits.
        if (value >> at) & 15 == 6:
            changed = (value ^ (6 << at) ^ (11 << at)).to_bytes(len(data), "little")
            with contextlib.suppress(HeaderError):
                if read_header(changed) == replace(old, curve="sRGB"):
                    return changed
    raise AssertionError("the curve was not found")


@pytest.mark.parametrize(
    ("pixels", "options", "due"),
    [
        (rgb(), {}, rgb()),
        (rgb(), {"usecontainer": True}, rgb()),
        (rgb(), {"lossless": False, "distance": 0.1}, rgb()),
        (rgb().astype(np.uint16) * 257, {}, rgb()),
        (rgb().astype(np.uint16) * 4, {"bitspersample": 10}, np.uint8(rgb() * (4 * 255 / 1023) + 0.5)),
        (rgb().astype(np.float32) / 255, {}, rgb()),
        (GREY, {}, GREY),
        (GREY.astype(np.uint16) * 257, {}, GREY),
        (np.concatenate([rgb(), ALPHA], axis=2), {}, ON_WHITE),
        (np.concatenate([rgb(), ALPHA], axis=2).astype(np.uint16) * 257, {}, ON_WHITE),
        (np.stack([rgb(), rgb()[::-1]]), {}, rgb()),
    ],
    ids=[
        *("8 bit", "boxes", "lossy", "16 bit", "10 bit", "float", "grey", "grey 16 bit"),
        *("alpha", "alpha 16 bit", "animation"),
    ],
)
def test_the_picture_is_that_of_the_file(
    pixels: Array, options: dict[str, object], due: Array, tmp_path: Path
) -> None:
    written = converted(in_srgb(encoded(pixels, **options)), tmp_path)
    assert written.shape == due.shape
    assert np.abs(patches(written) - patches(due)).max() <= 2


def test_a_cut_file_is_refused_wherever_it_was_cut(tmp_path: Path) -> None:
    data = encoded(np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8))
    for length in (2, 5, 20, len(data) // 2, len(data) - 1):
        with pytest.raises((TruncatedImage, CorruptImage)):
            converted(data[:length], tmp_path)


def test_linear_light_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormat, match="colours unlike sRGB's"):
        converted(encoded(rgb().astype(np.float32) / 255), tmp_path)


def test_its_size_is_checked_before_it_is_decoded(tmp_path: Path) -> None:
    with pytest.raises(ImageTooLarge, match="96 x 64"):
        converted(encoded(rgb()), tmp_path, max_pixels=6000)


def header(*fields: tuple[int, int]) -> bytes:
    """A codestream's first bytes, from fields of (value, bits); zeros follow."""
    value = at = 0
    for number, bits in fields:
        value |= number << at
        at += bits
    return b"\xff\x0a" + value.to_bytes(at // 8 + 1, "little") + bytes(100)


SIZE = ((1, 1), (7, 5), (0, 3), (11, 5))  # 64 high, 96 wide, both in units of 8
PLAIN = ((0, 1), (0, 1), (0, 1), (0, 2), (1, 1))  # not the default, nothing extra, 8 bits, 16-bit buffers


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        (((0, 2), (1, 1), (0, 1), (1, 1), (0, 2)), "colour profile"),
        (((0, 2), (1, 1), (0, 1), (0, 1), (0, 2), (2, 2), (0, 4)), "colour profile"),
        (
            ((0, 2), (1, 1), (0, 1), (0, 1), (0, 2), (1, 2), (2, 2), (9, 4), (0, 1), (2, 2), (11, 4)),
            "profile",
        ),
        (((1, 2), (0, 1), (1, 2), (0, 1), (0, 2), (0, 2), (0, 2), (0, 1), (1, 1)), "other channels"),
    ],
    ids=["an ICC profile", "a white point of its own", "other primaries", "a depth channel"],
)
def test_what_would_come_out_in_wrong_colours_is_refused(
    rest: tuple[tuple[int, int], ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedFormat, match=message):
        converted(header(*SIZE, *PLAIN, *rest), tmp_path)


@pytest.mark.parametrize(
    ("orientation", "shown"), [(1, (96, 64)), (4, (96, 64)), (5, (64, 96)), (8, (64, 96))]
)
def test_the_size_is_that_of_the_upright_picture(orientation: int, shown: tuple[int, int]) -> None:
    extra = ((0, 1), (1, 1), (orientation - 1, 3), (0, 3), (0, 1), (0, 2), (1, 1), (0, 2), (1, 1), (1, 1))
    found = read_header(header(*SIZE, *extra))
    assert (found.width, found.height, found.curve) == (*shown, "sRGB")


@given(data=st.binary(max_size=300))
def test_any_bytes_are_a_header_or_an_error(data: bytes) -> None:
    for start in (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n"):
        with contextlib.suppress(HeaderError):
            assert read_header(start + data).height > 0


def test_damaged_bytes_are_refused_or_decoded_but_nothing_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    data = bytearray(encoded(rgb()))
    for _ in range(60):
        damaged = bytearray(data)
        damaged[int(rng.integers(2, len(data)))] ^= int(rng.integers(1, 256))
        with contextlib.suppress(ImageError):
            converted(bytes(damaged), tmp_path, max_pixels=10_000_000)
