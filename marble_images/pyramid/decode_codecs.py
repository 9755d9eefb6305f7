"""What only imagecodecs or a few lines read: JPEG-LS, lossless and 12-bit JPEG, Radiance HDR, PAM and PFM."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import imagecodecs
import numpy as np

from marble_images.errors import CorruptImage, ImageError, TruncatedImage, UnsupportedFormat
from marble_images.formats import ImageFormat
from marble_images.pyramid.arrays import Array, to_unsigned, to_vips
from marble_images.pyramid.decode import DECODER_ERRORS, Alpha, Picture, Space, check_size, decoding_error
from marble_images.pyramid.decode_jpeg import EOI, JPEG_LS, parse_headers
from marble_images.pyramid.fallback import read_pillow
from marble_images.pyramid.model import ConvertOptions

_PAM_HEADER = re.compile(rb"P7\s(?:[^\n]*\n)*?ENDHDR\s*?\n")
_PAM_FIELD = re.compile(rb"^\s*(WIDTH|HEIGHT|DEPTH|MAXVAL)\s+(\d{1,10})\s*$", re.MULTILINE)
_PFM_HEADER = re.compile(rb"(P[Ff])\s+(\d{1,10})(\s+)(\d{1,10})\s+([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s")
_RADIANCE_SIZE = re.compile(rb"^([-+])Y (\d{1,10}) ([-+])X (\d{1,10})$", re.MULTILINE)
_HEADER_BYTES = 65536
_SUN_HEADER = struct.Struct(">8I")
_SUN_OLD, _SUN_STANDARD, _SUN_RUNS, _SUN_RGB = range(4)


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
        # By the format's own description and by its writers, these are turned in different ways.
        raise UnsupportedFormat("Radiance HDR images that are stored by columns are not read")
    height, width = int(size[2]), int(size[4])
    check_size(width, height, options)
    if b"FORMAT=32-bit_rle_xyze" in data[: size.start()]:
        raise UnsupportedFormat("Radiance HDR images in XYZ are not read")
    # The decoder knows no order of rows and pixels but the usual one.
    usual = b"%b-Y %d +X %d%b" % (data[: size.start()], height, width, data[size.end() :])
    try:
        array = np.asarray(imagecodecs.rgbe_decode(usual), np.float32).reshape(height, width, 3)
    except DECODER_ERRORS as problem:
        raise decoding_error(image_format, problem) from problem
    upright = array[:: 1 if size[1] == b"-" else -1, :: 1 if size[3] == b"+" else -1]
    return Picture(to_vips(upright), Space.LINEAR, image_format, width, height)


def read_sun(path: Path, image_format: ImageFormat, options: ConvertOptions) -> Picture:
    """Decode a Sun raster of 32 bits, of which Pillow takes the wrong three bytes; others it reads right."""
    data = path.read_bytes()
    if len(data) < _SUN_HEADER.size:
        raise TruncatedImage("the Sun raster file is truncated")
    _, width, height, depth, _, kind, _, colours = _SUN_HEADER.unpack_from(data)
    if depth != 32 or kind not in (_SUN_OLD, _SUN_STANDARD, _SUN_RUNS, _SUN_RGB):
        return read_pillow(path, image_format, options)
    check_size(width, height, options)
    size = 4 * width * height
    body = data[_SUN_HEADER.size + colours :]
    if kind == _SUN_RUNS:
        # No escape of three bytes stands for more than 256.
        body = _unpack_runs(body, size) if size <= 86 * len(body) else b""
    if len(body) < size:
        raise TruncatedImage("the Sun raster file is truncated")
    pixels = np.frombuffer(body, np.uint8, size).reshape(height, width, 4)
    # The first byte is nothing; then blue, green, red, or the other way round.
    return _picture(pixels[:, :, 1:] if kind == _SUN_RGB else pixels[:, :, :0:-1], image_format, 255.0)


def _unpack_runs(body: bytes, size: int) -> bytes:
    """Runs of a byte: 128, a count less one, and the byte; 128 and 0 are a single 128."""
    out = bytearray()
    at = 0
    while len(out) < size and at < len(body):
        mark = body.find(b"\x80", at)
        mark = len(body) if mark < 0 else mark
        out += body[at:mark]
        count = body[mark + 1] if mark + 1 < len(body) else 0
        value = b"\x80" if count == 0 else body[mark + 2 : mark + 3]
        out += value * (count + 1) if mark < len(body) else b""
        at = mark + (2 if count == 0 else 3)
    return bytes(out)


def read_netpbm(path: Path, image_format: ImageFormat, options: ConvertOptions) -> Picture:
    """Decode PAM and PFM, the netpbm formats that Pillow knows only partly; others through Pillow."""
    data = path.read_bytes()
    if data[:2] == b"P7":
        return _read_pam(data, image_format, options)
    if data[:2] in (b"PF", b"Pf"):
        return _read_pfm(data, image_format, options)
    return read_pillow(path, image_format, options)


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
    width, height = int(header[2]), int(header[4])
    check_size(width, height, options)
    bands = 3 if header[1] == b"PF" else 1
    order = "<" if float(header[5]) < 0 else ">"
    array = _raw(data, header.end(), (height, width, bands), f"{order}f4")
    # Rows are stored from the bottom to the top, save by Photoshop, which writes each side on its own line.
    if b"\n" not in header[3]:
        array = array[::-1]
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
