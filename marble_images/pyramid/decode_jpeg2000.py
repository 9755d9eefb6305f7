"""JPEG 2000: 8 bits through Pillow, all other depths through imagecodecs.

Pillow brings every depth to 8 bits by shifts: of 12 or 16 bits white comes out as black, of 1 to 7 bits it is
not quite white.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from pathlib import Path

import imagecodecs
import numpy as np

from marble_images.errors import CorruptImage, TruncatedImage, UnsupportedFormat
from marble_images.formats import ImageFormat
from marble_images.pyramid.arrays import Array, new_array, row_slices, to_vips
from marble_images.pyramid.decode import DECODER_ERRORS, Alpha, Picture, Space, check_size, decoding_error
from marble_images.pyramid.embedded import of_jpeg2000
from marble_images.pyramid.fallback import read_pillow
from marble_images.pyramid.model import ConvertOptions

_CMYK = 12
# Bilevel (two ways), CMYK, sRGB, grey and sYCC, by ISO/IEC 15444-1 and -2.
_SPACES = {0, _CMYK, 15, 16, 17, 18}
# Start of codestream, and the segment of sizes that must follow.
_CODESTREAM = b"\xff\x4f\xff\x51"
_SIZES = struct.Struct(">4xHHIIIIIIIIH")
_SIGNED = 0x80
_DEEPEST = 16


@dataclass(frozen=True)
class _Header:
    """Size and components as the codestream's header says: bits, whether signed, and sampling steps."""

    width: int
    height: int
    components: tuple[tuple[int, bool, int, int], ...]

    @property
    def bytes_only(self) -> bool:
        return all((bits, signed) == (8, False) for bits, signed, _, _ in self.components)


def read(path: Path, image_format: ImageFormat, options: ConvertOptions) -> Picture:
    """Decode a JP2 or a bare codestream.

    Raises
    ------
    ImageTooLarge
        The header claims more pixels than allowed; nothing was decoded.
    UnsupportedFormat
        Its colours are in a space that has no profile in the file and is not known here, or its components
        differ in depth, or in size where they are not of 8 bits.
    TruncatedImage, CorruptImage
        It is cut or damaged.
    """
    try:
        space, profile = of_jpeg2000(path)
        header = _read_header(path)
    except DECODER_ERRORS as problem:
        raise decoding_error(image_format, problem) from problem
    check_size(header.width, header.height, options)
    if space is not None and space not in _SPACES:
        raise UnsupportedFormat(f"JPEG 2000 images of the colour space {space} are not read")
    if header.bytes_only:
        return replace(read_pillow(path, image_format, options), profile=profile)
    return _read_deep(path, header, image_format, space, profile)


def _read_header(path: Path) -> _Header:
    data = path.read_bytes()
    at = data.find(_CODESTREAM)
    if at < 0 or len(data) < at + _SIZES.size:
        raise TruncatedImage("the JPEG 2000 file is truncated: it has no picture header")
    _, _, right, bottom, left, top, *_, count = _SIZES.unpack_from(data, at)
    table = data[at + _SIZES.size : at + _SIZES.size + 3 * count]
    if len(table) < 3 * count:
        raise TruncatedImage("the JPEG 2000 file is truncated: it has no picture header")
    components = tuple(
        ((depth & ~_SIGNED) + 1, bool(depth & _SIGNED), across, down)
        for depth, across, down in struct.iter_unpack("3B", table)
    )
    return _Header(right - left, bottom - top, components)


def _read_deep(
    path: Path, header: _Header, image_format: ImageFormat, space: int | None, profile: bytes | None
) -> Picture:
    if len({(bits, signed) for bits, signed, _, _ in header.components}) > 1:
        raise UnsupportedFormat("JPEG 2000 images whose components differ in depth are not read")
    if any((across, down) != (1, 1) for _, _, across, down in header.components):
        raise UnsupportedFormat(
            "JPEG 2000 images of other than 8 bits, with components of different sizes, are not read"
        )
    try:
        array = np.asarray(imagecodecs.jpeg2k_decode(path.read_bytes(), numthreads=1))
    except DECODER_ERRORS as problem:
        raise decoding_error(image_format, problem) from problem
    if array.ndim == 2:
        array = array[:, :, np.newaxis]
    if array.shape[:2] != (header.height, header.width) or array.shape[2] not in (1, 2, 3, 4):
        raise CorruptImage("the JPEG 2000 file is damaged", detail=f"it decodes to {array.shape}")
    # The colours of a palette have a depth of their own, which fills the type.
    expanded = array.shape[2] != len(header.components)
    bits, signed = (8 * array.dtype.itemsize, False) if expanded else header.components[0][:2]
    cmyk = space == _CMYK and array.shape[2] == 4
    unsigned, bits = _unsigned(array, bits, signed)
    return Picture(
        image=to_vips(unsigned),
        space=Space.CMYK if cmyk else Space.GREY if array.shape[2] < 3 else Space.RGB,
        format=image_format,
        width=header.width,
        height=header.height,
        alpha=Alpha.STRAIGHT if array.shape[2] in (2, 4) and not cmyk else Alpha.NONE,
        maximum=2.0**bits - 1,
        profile=profile,
    )


def _unsigned(array: Array, bits: int, signed: bool) -> tuple[Array, int]:
    """Samples from 0 on, of 16 bits at most, and how many bits they have."""
    kept = min(bits, _DEEPEST)
    offset = 2 ** (bits - 1) if signed else 0
    out = new_array(array.shape, np.uint8 if kept <= 8 else np.uint16)
    for rows in row_slices(array):
        out[rows] = np.clip((array[rows].astype(np.int64) + offset) >> (bits - kept), 0, 2**kept - 1)
    return out, kept
