"""BMPs with masks that Pillow does not know, and bitmaps without a file header, become right pyramids."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from marble_images.errors import CorruptImage, TruncatedImage
from marble_images.formats import ImageFormat, identify
from marble_images.pyramid.convert import make_pyramid
from marble_images_tests.pyramid.images import HEIGHT, WIDTH, Array, alpha, on_white, rgb


def masked(
    masks: tuple[int, ...], bits: int, *, topdown: bool = False, opacity: Array | None = None
) -> tuple[bytes, Array]:
    """A BMP of the test picture with these masks, and the samples that its bits hold, as 8 bits."""
    picture = rgb() if opacity is None else np.dstack([rgb(), opacity])
    words = np.zeros((HEIGHT, WIDTH), np.uint64)
    truth = np.zeros_like(picture)
    for band in range(picture.shape[2]):
        shift = (masks[band] & -masks[band]).bit_length() - 1
        largest = masks[band] >> shift
        levels = np.rint(picture[:, :, band].astype(float) * largest / 255).astype(np.uint64)
        words |= levels << np.uint64(shift)
        truth[:, :, band] = np.rint(levels.astype(float) * 255 / largest)
    rows = words.astype("<u2" if bits == 16 else "<u4")
    header = 56 if len(masks) == 4 else 40
    offset = 14 + header + (0 if header == 56 else 12)
    pixels = (rows if topdown else rows[::-1]).tobytes()
    down = -HEIGHT if topdown else HEIGHT
    info = struct.pack("<IiiHHIIiiII", header, WIDTH, down, 1, bits, 3, len(pixels), 0, 0, 0, 0)
    file_header = struct.pack("<2sIHHI", b"BM", offset + len(pixels), 0, 0, offset)
    return file_header + info + struct.pack(f"<{len(masks)}I", *masks) + pixels, truth


def converted(data: bytes, tmp_path: Path) -> Array:
    (tmp_path / "source").write_bytes(data)
    make_pyramid(tmp_path / "source", tmp_path / "pyramid.tif")
    return tifffile.imread(tmp_path / "pyramid.tif", key=0)


@pytest.mark.parametrize("topdown", [False, True])
@pytest.mark.parametrize(
    ("masks", "bits"),
    [
        ((0xF00, 0x0F0, 0x00F), 16),
        ((0x060, 0x01C, 0x001), 16),
        ((0x7FF00000, 0x000FFC00, 0x000003FF), 32),
        ((0x3FF, 0xFFC00, 0x7FF00000), 32),
    ],
)
def test_colours_are_cut_out_by_any_masks(
    masks: tuple[int, ...], bits: int, topdown: bool, tmp_path: Path
) -> None:
    data, truth = masked(masks, bits, topdown=topdown)
    assert np.abs(converted(data, tmp_path).astype(int) - truth).max() <= 1


def test_opacity_has_a_mask_of_its_own(tmp_path: Path) -> None:
    data, truth = masked((0x0F00, 0x00F0, 0x000F, 0xF000), 16, opacity=alpha())
    expected = on_white(truth[:, :, :3], truth[:, :, 3])
    assert np.abs(converted(data, tmp_path).astype(int) - expected).max() <= 1


def test_opacity_that_is_nowhere_is_none(tmp_path: Path) -> None:
    data, truth = masked((0x0F00, 0x00F0, 0x000F, 0xF000), 16, opacity=np.zeros_like(alpha()))
    assert np.abs(converted(data, tmp_path).astype(int) - truth[:, :, :3]).max() <= 1


def test_masks_with_holes_are_refused(tmp_path: Path) -> None:
    data, _ = masked((0xF00, 0x0F0, 0x00F), 16)
    with pytest.raises(CorruptImage):
        converted(data.replace(struct.pack("<I", 0xF00), struct.pack("<I", 0xD00), 1), tmp_path)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises((TruncatedImage, CorruptImage)):
        converted(masked((0xF00, 0x0F0, 0x00F), 16)[0][:-100], tmp_path)


def test_a_bitmap_without_its_file_header_is_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(rgb()).save(buffer, "DIB")
    assert identify(buffer.getvalue()[:4096]) is ImageFormat.BMP
    assert np.array_equal(converted(buffer.getvalue(), tmp_path), rgb())
