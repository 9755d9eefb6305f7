"""BMP whose colours are cut out of 16 or 32 bits by masks of any kind, of which Pillow knows a few only."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from marble_images.errors import CorruptImage, ImageError, TruncatedImage, UnsupportedFormat
from marble_images.formats import ImageFormat
from marble_images.pyramid.arrays import Array, new_array, row_slices, to_vips
from marble_images.pyramid.decode import Alpha, Picture, Space, check_size
from marble_images.pyramid.model import ConvertOptions

# Microsoft's BITMAPINFOHEADER and its successors; masks follow the first or are within the others.
_FILE_HEADER, _INFO_HEADER = 14, 40
_HEADERS = {40, 52, 56, 108, 124}
_WITH_ALPHA_MASK = 56
_BITFIELDS, _ALPHA_BITFIELDS = 3, 6


def read_masked(
    path: Path, image_format: ImageFormat, options: ConvertOptions, refusal: ImageError | None
) -> Picture:
    """Decode a BMP with masks; anything else keeps its refusal.

    Raises
    ------
    TruncatedImage, CorruptImage
        It is cut, or its masks make no sense.
    """
    data = path.read_bytes()
    if len(data) < _FILE_HEADER + _INFO_HEADER + 16 or data[:2] != b"BM":
        raise refusal or UnsupportedFormat(f"{image_format} images of this kind are not read")
    offset, header, width, height, _, bits, compression = struct.unpack_from("<IIiiHHI", data, 10)
    masked = compression in (_BITFIELDS, _ALPHA_BITFIELDS) and bits in (16, 32) and header in _HEADERS
    if not masked:
        raise refusal or UnsupportedFormat(f"{image_format} images of this kind are not read")
    check_size(width, abs(height), options)
    has_alpha = header >= _WITH_ALPHA_MASK or compression == _ALPHA_BITFIELDS
    masks = struct.unpack_from("<4I", data, _FILE_HEADER + _INFO_HEADER)[: 4 if has_alpha else 3]
    row = (width * bits + 31) // 32 * 4
    if len(data) < offset + row * abs(height):
        raise TruncatedImage("the BMP file is truncated")
    stored = np.frombuffer(data, np.uint8, row * abs(height), offset).reshape(abs(height), row)
    words = stored[:, : width * bits // 8].view("<u2" if bits == 16 else "<u4")
    # Rows are stored from the bottom to the top, save with a negative height.
    samples = _cut_out(words[::-1] if height > 0 else words, masks)
    # Writers that know no opacity leave it 0 throughout.
    opaque = samples.shape[2] < 4 or not samples[:, :, 3].any()
    return Picture(
        image=to_vips(samples[:, :, :3] if opaque else samples),
        space=Space.RGB,
        format=image_format,
        width=width,
        height=abs(height),
        alpha=Alpha.NONE if opaque else Alpha.STRAIGHT,
    )


def _cut_out(words: Array, masks: tuple[int, ...]) -> Array:
    """The bits under each mask, stretched over 0 to 255."""
    out = new_array((*words.shape, len(masks)), np.uint8)
    for band, mask in enumerate(masks):
        shift = (mask & -mask).bit_length() - 1 if mask else 0
        largest = mask >> shift
        if largest & (largest + 1) or (not mask and band < 3 and not any(masks[:3])):
            raise CorruptImage("the BMP file has masks that make no sense")
        for rows in row_slices(out):
            values = (words[rows].astype(np.uint64) & np.uint64(mask)) >> np.uint64(shift)
            out[rows, :, band] = (values * 255 + largest // 2) // max(1, largest)
    return out
