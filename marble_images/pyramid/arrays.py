"""Decoded samples as numpy arrays: room for them, their ranges, and their way into libvips."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from marble_images.errors import UnsupportedFormat
from marble_images.pyramid.vips import VipsImage, pyvips

Array = npt.NDArray[Any]

# Larger arrays live in a temporary file that has no name, so that they do not count as memory.
_MEMORY_BYTES = 256 * 2**20
_BAND_PIXELS = 2**20

# Resampling overshoots: floats this far outside still count as 0..1 or 0..255.
_OVERSHOOT = 0.05

# What is darker than this share of a range throughout is not of that range.
_USED = 0.25
_NOTHING = 3.4e38

_FORMATS = {"uint8": "uchar", "uint16": "ushort", "float32": "float"}


def new_array(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """An array for decoded samples, in memory or, if it is large, in a temporary file.

    Raises
    ------
    OSError
        There is no room for the file.
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size <= _MEMORY_BYTES:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile(prefix="marble-images-") as file:
        # Reserved, since to write to a map of a full disk ends the process. The map outlives the file object.
        os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)


def row_slices(array: Array) -> Iterator[slice]:
    """Slices of rows of about a million samples each, so that arithmetic needs little memory."""
    row = max(1, int(np.prod(array.shape[1:], dtype=np.int64)))
    step = max(1, _BAND_PIXELS // row)
    for start in range(0, array.shape[0], step):
        yield slice(start, min(start + step, array.shape[0]))


def to_vips(array: Array) -> VipsImage:
    """An array of shape (height, width, bands) and type uint8, uint16 or float32 as a libvips image."""
    height, width, bands = array.shape
    contiguous = np.ascontiguousarray(array)
    return pyvips.Image.new_from_memory(contiguous.data, width, height, bands, _FORMATS[array.dtype.name])


def to_unsigned(
    array: Array, colours: int, *, bits: int | None = None, nodata: float | None = None
) -> tuple[Array, float, tuple[str, ...]]:
    """Samples of any real type as uint8 or uint16.

    8 and 16-bit unsigned samples stay as they are. Floats that use 0 to 1 or 0 to 255 are taken so, others
    are scaled from minimum to maximum. So are signed and 32 or 64-bit integers, unless they are of 0 to 255,
    or use the upper part of a type of 16 bits or more that has no sign, which is then what is scaled.

    Parameters
    ----------
    array
        Shape (height, width, bands).
    colours
        So many bands are colour; the range is theirs, and the alpha band after them is scaled with it.
    bits
        Significant bits of unsigned samples, where the file says so.
    nodata
        The sample value that stands for no measurement: black, and no part of the range that is scaled.

    Returns
    -------
    The samples, the value of full intensity, and warnings.

    Raises
    ------
    UnsupportedFormat
        The samples are complex numbers.
    """
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "c":
        raise UnsupportedFormat("images of complex numbers are not read")
    if kind == "b":
        return array.astype(np.uint8), 1.0, ()
    if kind == "i" and size == 1:
        # Writers that have no unsigned bytes say so; a picture of negative light there is not.
        return array.view(np.uint8), 255.0, ("signed bytes were taken as unsigned",)
    if kind == "u" and size <= 2:
        native = array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
        return native, float(2 ** (bits or 8 * size) - 1), ()
    low, high = _range(array[:, :, :colours], nodata)
    bottom, top, warnings = _scale_of(array.dtype, low, high, bits)
    return _scaled(array, bottom, top, nodata), 65535.0, warnings


def _is_measured(samples: Array, nodata: float | None) -> npt.NDArray[np.bool_]:
    """Which samples are numbers that mean something."""
    measured = np.ones(samples.shape, bool)
    if samples.dtype.kind == "f":
        # The largest float of 32 bits, of either sign, is what programs write for nothing.
        measured = np.isfinite(samples) & (np.abs(samples, dtype=np.float64) < _NOTHING)
    return measured if nodata is None else measured & (samples != nodata)


def _range(array: Array, nodata: float | None) -> tuple[float, float]:
    """Smallest and largest sample that is a measurement."""
    low, high = np.inf, -np.inf
    for rows in row_slices(array):
        part = array[rows]
        measured = part[_is_measured(part, nodata)]
        if measured.size:
            low, high = min(low, float(measured.min())), max(high, float(measured.max()))
    return (low, high) if low <= high else (0.0, 0.0)


def _scale_of(
    dtype: np.dtype[Any], low: float, high: float, bits: int | None
) -> tuple[float, float, tuple[str, ...]]:
    """The sample values of black and white, and a warning where they are a guess."""
    if dtype.kind == "f":
        for top in (1.0, 255.0):
            within = low >= -_OVERSHOOT * top and high <= top * (1 + _OVERSHOOT)
            if within and high > _USED * top:
                return 0.0, top, ()
    elif low >= 0:
        full = float(2 ** (bits or 8 * dtype.itemsize) - 1)
        if dtype.kind == "u" and high > _USED * full:
            return 0.0, full, ()
        fuller = (65535.0,) if dtype.itemsize > 2 and high > _USED * 65535 else ()
        for top in (255.0, *fuller):
            if high <= top:
                return 0.0, top, (f"{dtype.name} samples were taken to be of 0 to {top:.0f}",)
    warning = f"{dtype.name} samples were scaled from their minimum {low:g} to their maximum {high:g}"
    return low, max(high, low + 1.0) if high == low else high, (warning,)


def _scaled(array: Array, bottom: float, top: float, nodata: float | None) -> Array:
    out = new_array(array.shape, np.uint16)
    for rows in row_slices(array):
        # Divided before it is subtracted from, so that the largest doubles do not overflow.
        with np.errstate(invalid="ignore"):
            part = np.nan_to_num(array[rows].astype(np.float64), nan=bottom, posinf=top, neginf=bottom)
        if nodata is not None:
            part[array[rows] == nodata] = bottom
        share = (part - bottom) / (top - bottom) if np.isfinite(top - bottom) else part / top / 2 + 0.5
        out[rows] = np.clip(share * 65535.0 + 0.5, 0, 65535).astype(np.uint16)
    return out
