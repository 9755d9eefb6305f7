"""FITS, after the FITS standard 4.0: the first image of a file, plain, of any of its six sample types."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from marble_images.errors import CorruptImage, TruncatedImage, UnsupportedFormat
from marble_images.formats import ImageFormat
from marble_images.pyramid.arrays import Array, to_unsigned, to_vips
from marble_images.pyramid.decode import DECODER_ERRORS, Picture, Space, check_size, decoding_error
from marble_images.pyramid.model import ConvertOptions

_BLOCK, _CARD = 2880, 80
_MOST_BLOCKS, _MOST_UNITS = 1000, 100
_TYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
# What BZERO says where integers have no sign, or bytes one.
_UNSIGNED = {16: 2.0**15, 32: 2.0**31, 64: 2.0**63}
_VALUE = re.compile(rb"=\s*('(?:[^']|'')*'|[^/]*)")
_COLOURS = 3


@dataclass(frozen=True)
class _Unit:
    """A header, and where its data begin."""

    cards: dict[bytes, bytes]
    at: int

    def number(self, name: bytes, default: int = 0) -> int:
        return int(self.cards.get(name, b"%d" % default))

    def real(self, name: bytes, default: float) -> float:
        return float(self.cards.get(name, b"%r" % default).upper().replace(b"D", b"E"))

    @property
    def axes(self) -> tuple[int, ...]:
        return tuple(self.number(b"NAXIS%d" % axis) for axis in range(1, self.number(b"NAXIS") + 1))

    @property
    def size(self) -> int:
        """Bytes of the data, padded."""
        count = int(np.prod([max(0, side) for side in self.axes], dtype=object)) if self.axes else 0
        values = self.number(b"GCOUNT", 1) * (self.number(b"PCOUNT") + count)
        return -(-values * abs(self.number(b"BITPIX")) // 8 // _BLOCK) * _BLOCK


def read(path: Path, image_format: ImageFormat, options: ConvertOptions) -> Picture:
    """Decode the first image: three planes are colours, of other stacks the first plane is shown.

    Raises
    ------
    ImageTooLarge
        The header claims more pixels than allowed; nothing was decoded.
    UnsupportedFormat
        It holds tables or compressed images only.
    TruncatedImage, CorruptImage
        It is cut or damaged.
    """
    try:
        with path.open("rb") as file:
            return _picture(file, _first_image(file), path.stat().st_size, image_format, options)
    except DECODER_ERRORS as problem:
        raise decoding_error(image_format, problem) from problem


def _first_image(file: BinaryIO) -> _Unit:
    at = 0
    for _ in range(_MOST_UNITS):
        unit = _read_unit(file, at)
        if unit is None:
            break
        kind = unit.cards.get(b"XTENSION", b"IMAGE")
        if kind.strip(b"' ") == b"IMAGE" and len(unit.axes) >= 2 and all(unit.axes):
            return unit
        at = unit.at + unit.size
    raise UnsupportedFormat("FITS files without a plain picture are not read")


def _read_unit(file: BinaryIO, at: int) -> _Unit | None:
    """The header at a position, ``None`` at the end of the file."""
    file.seek(at)
    cards: dict[bytes, bytes] = {}
    for index in range(_MOST_BLOCKS):
        block = file.read(_BLOCK)
        if not block and not index:
            return None
        for start in range(0, len(block), _CARD):
            card = block[start : start + _CARD]
            name = card[:8].strip()
            if name == b"END":
                return _Unit(cards, at + (index + 1) * _BLOCK)
            value = _VALUE.match(card, 8)
            if value:
                cards.setdefault(name, value[1].strip())
        if len(block) < _BLOCK:
            break
    raise TruncatedImage("the FITS file is truncated: its header has no end")


def _picture(
    file: BinaryIO, unit: _Unit, size: int, image_format: ImageFormat, options: ConvertOptions
) -> Picture:
    bits = unit.number(b"BITPIX")
    if bits not in _TYPES:
        raise CorruptImage(f"the FITS file says {bits} bits a sample")
    width, height, *more = unit.axes
    check_size(width, height, options)
    colour = more == [_COLOURS]
    planes = _COLOURS if colour else 1
    dtype = np.dtype(_TYPES[bits])
    if size - unit.at < width * height * planes * dtype.itemsize:
        raise TruncatedImage("the FITS file is truncated")
    stored = np.memmap(file, dtype, "r", unit.at, (planes, height, width))
    # Rows are stored from the bottom to the top.
    samples = np.moveaxis(stored[:, ::-1], 0, 2)
    blank = unit.cards.get(b"BLANK")
    plain, nodata = _physical(samples, unit, bits, None if blank is None else float(blank))
    unsigned, maximum, warnings = to_unsigned(plain, planes, nodata=nodata)
    return Picture(
        image=to_vips(unsigned),
        space=Space.RGB if colour else Space.GREY,
        format=image_format,
        width=width,
        height=height,
        maximum=maximum,
        pages=1 if colour or not more else more[0],
        warnings=warnings,
    )


def _physical(samples: Array, unit: _Unit, bits: int, blank: float | None) -> tuple[Array, float | None]:
    """The samples in their own unit, by BZERO and BSCALE, and the one that stands for nothing."""
    zero, scale = unit.real(b"BZERO", 0.0), unit.real(b"BSCALE", 1.0)
    if scale == 1.0 and zero == _UNSIGNED.get(bits):
        # Adding half of the range to a signed integer is turning its highest bit around.
        unsigned = samples.astype(f"u{bits // 8}") ^ np.array(1 << (bits - 1), f"u{bits // 8}")
        return unsigned, None if blank is None else blank + zero
    if (zero, scale) == (0.0, 1.0):
        return samples.astype(samples.dtype.newbyteorder("=")), blank
    values = samples.astype(np.float64)
    if blank is not None:
        values[samples == blank] = np.nan
    return values * scale + zero, None
