"""What only imagecodecs or a few lines read: JPEG-LS, lossless and 12-bit JPEG, Radiance HDR, PAM and PFM."""

from __future__ import annotations

import re
from pathlib import Path

import imagecodecs
import numpy as np

from marble_images.errors import CorruptImage, ImageError, TruncatedImage, UnsupportedFormat
from marble_images.formats import ImageFormat
from marble_images.pyramid.arrays import Array, to_unsigned, to_vips
from marble_images.pyramid.decode import DECODER_ERRORS, Alpha, Picture, Space, check_size, decoding_error
from marble_images.pyramid.decode_jpeg import EOI, JPEG_LS, parse_headers
from marble_images.pyramid.model import ConvertOptions

_PAM_HEADER = re.compile(rb"P7\s(?:[^\n]*\n)*?ENDHDR\s*?\n")
_PAM_FIELD = re.compile(rb"^\s*(WIDTH|HEIGHT|DEPTH|MAXVAL)\s+(\d{1,10})\s*$", re.MULTILINE)
_PFM_HEADER = re.compile(rb"(P[Ff])\s+(\d{1,10})\s+(\d{1,10})\s+([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s")
_RADIANCE_SIZE = re.compile(rb"^([-+])Y (\d{1,10}) ([-+])X (\d{1,10})$", re.MULTILINE)
_HEADER_BYTES = 65536


def read_unusual_jpeg(
    path: Path, image_format: ImageFormat, options: ConvertOptions, refusal: ImageError | None
) -> Picture:
    """Decode JPEG-LS, lossless JPEG, and JPEG of 9 to 16 bits; anything else keeps its refusal.

    Raises
    ------
    TruncatedImage, CorruptImage
        It is cut or damaged.
    UnsupportedFormat
        It has neither 1 nor 3 components.
    """
    if refusal is not None and not isinstance(refusal, UnsupportedFormat):
        raise refusal
    data = path.read_bytes()
    headers = parse_headers(data)
    frame = headers.frame
    check_size(frame.width, frame.height, options)
    if frame.components not in (1, 3):
        raise UnsupportedFormat(f"{image_format} images of {frame.components} components are not read")
    if data.find(EOI, headers.scan_at) < 0:
        raise TruncatedImage(f"the {image_format} file is truncated")
    decode = imagecodecs.jpegls_decode if frame.marker == JPEG_LS else imagecodecs.jpeg_decode
    try:
        array = decode(data)
    except DECODER_ERRORS as problem:
        raise decoding_error(image_format, problem) from problem
    return _picture(array, image_format, 2.0**frame.precision - 1)


def read_radiance(path: Path, image_format: ImageFormat, options: ConvertOptions) -> Picture:
    """Decode a Radiance HDR picture: linear light, of which 1 is white and all above it too."""
    data = path.read_bytes()
    size = _RADIANCE_SIZE.search(data, 0, _HEADER_BYTES)
    if size is None:
        raise UnsupportedFormat("Radiance HDR images that are stored by columns are not read")
    height, width = int(size[2]), int(size[4])
    check_size(width, height, options)
    if b"FORMAT=32-bit_rle_xyze" in data[: size.start()]:
        raise UnsupportedFormat("Radiance HDR images in XYZ are not read")
    try:
        array = np.asarray(imagecodecs.rgbe_decode(data), np.float32).reshape(height, width, 3)
    except DECODER_ERRORS as problem:
        raise decoding_error(image_format, problem) from problem
    upright = array[:: 1 if size[1] == b"-" else -1, :: 1 if size[3] == b"+" else -1]
    return Picture(to_vips(upright), Space.LINEAR, image_format, width, height)


def read_netpbm(
    path: Path, image_format: ImageFormat, options: ConvertOptions, refusal: ImageError | None
) -> Picture:
    """Decode PAM and PFM, the netpbm formats that Pillow knows only partly; others keep their refusal."""
    data = path.read_bytes()
    if data[:2] == b"P7":
        return _read_pam(data, image_format, options)
    if data[:2] in (b"PF", b"Pf"):
        return _read_pfm(data, image_format, options)
    raise refusal or UnsupportedFormat(f"{image_format} images of this kind are not read")


def _read_pam(data: bytes, image_format: ImageFormat, options: ConvertOptions) -> Picture:
    header = _PAM_HEADER.match(data, 0, _HEADER_BYTES)
    values = {key: int(value) for key, value in _PAM_FIELD.findall(header[0])} if header else {}
    if header is None or len(values) < 4:
        raise CorruptImage("the PAM file has a damaged header")
    width, height, depth = values[b"WIDTH"], values[b"HEIGHT"], values[b"DEPTH"]
    largest = values[b"MAXVAL"]
    check_size(width, height, options)
    if not 1 <= depth <= 4 or not 1 <= largest <= 65535:
        raise UnsupportedFormat(f"PAM images of {depth} bands and values up to {largest} are not read")
    array = _raw(data, header.end(), (height, width, depth), ">u2" if largest > 255 else "u1")
    return _picture(array, image_format, float(largest))


def _read_pfm(data: bytes, image_format: ImageFormat, options: ConvertOptions) -> Picture:
    header = _PFM_HEADER.match(data)
    if header is None:
        raise CorruptImage("the PFM file has a damaged header")
    width, height = int(header[2]), int(header[3])
    check_size(width, height, options)
    bands = 3 if header[1] == b"PF" else 1
    order = "<" if float(header[4]) < 0 else ">"
    # Rows are stored from the bottom to the top.
    array = _raw(data, header.end(), (height, width, bands), f"{order}f4")[::-1]
    scaled, maximum, warnings = to_unsigned(array, bands)
    return _picture(scaled, image_format, maximum, warnings)


def _raw(data: bytes, at: int, shape: tuple[int, int, int], dtype: str) -> Array:
    count = shape[0] * shape[1] * shape[2]
    if len(data) - at < count * np.dtype(dtype).itemsize:
        raise TruncatedImage("the PNM file is truncated")
    array = np.frombuffer(data, dtype, count, at).reshape(shape)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _picture(
    array: Array, image_format: ImageFormat, maximum: float, warnings: tuple[str, ...] = ()
) -> Picture:
    bands = array[:, :, np.newaxis] if array.ndim == 2 else array
    height, width, count = bands.shape
    return Picture(
        image=to_vips(bands),
        space=Space.GREY if count < 3 else Space.RGB,
        format=image_format,
        width=width,
        height=height,
        alpha=Alpha.STRAIGHT if count in (2, 4) else Alpha.NONE,
        maximum=maximum,
        warnings=warnings,
    )
