"""Photoshop PSD and PSB: the merged picture that is stored after the layers.

After Adobe's "Photoshop File Formats Specification". Pillow reads 8-bit files only, and takes every fourth
channel for transparency, which most are not.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import imagecodecs
import numpy as np
import numpy.typing as npt

from marble_images.errors import CorruptImage, TruncatedImage, UnsupportedFormat
from marble_images.formats import ImageFormat
from marble_images.pyramid.arrays import Array, new_array, row_slices, to_unsigned, to_vips
from marble_images.pyramid.decode import DECODER_ERRORS, Alpha, Picture, Space, check_size, decoding_error
from marble_images.pyramid.embedded import from_metadata
from marble_images.pyramid.model import ConvertOptions

_BITMAP, _GREY, _INDEXED, _RGB, _CMYK, _MULTICHANNEL, _DUOTONE, _LAB = 0, 1, 2, 3, 4, 7, 8, 9
_SPACES = {
    _BITMAP: Space.GREY,
    _GREY: Space.GREY,
    _INDEXED: Space.RGB,
    _RGB: Space.RGB,
    _CMYK: Space.CMYK,
    _DUOTONE: Space.GREY,
    _LAB: Space.LAB,
}
_MODE_NAMES = {
    _BITMAP: "bitmap",
    _GREY: "grey",
    _INDEXED: "palette",
    _RGB: "rgb",
    _CMYK: "cmyk",
    _MULTICHANNEL: "multichannel",
    _DUOTONE: "duotone",
    _LAB: "lab",
}
_RAW, _RLE, _ZIP, _ZIP_PREDICTED = range(4)
_PALETTE_BYTES = 768

_ALPHA_NAMES, _PROFILE, _TRANSPARENT_INDEX, _ALPHA_IDS, _VERSION = 1006, 1039, 1047, 1053, 1057
_EXIF, _XMP = 1058, 1060
_WANTED = {_ALPHA_NAMES, _PROFILE, _TRANSPARENT_INDEX, _ALPHA_IDS, _VERSION, _EXIF, _XMP}
_LARGEST_RESOURCE = 2**26
# Files of more than 8 bits keep layers, and that the merged picture has alpha, in blocks of their own.
_DEEP_LAYERS = {b"Lr16", b"Lr32", b"Layr"}
_MERGED_ALPHA = {b"Mtrn", b"Mt16", b"Mt32"}
_LONG_BLOCKS = {
    *(b"LMsk", b"Lr16", b"Lr32", b"Layr", b"Mt16", b"Mt32", b"Mtrn", b"Alph", b"FMsk", b"lnk2", b"FEid"),
    *(b"FXid", b"PxSD", b"cinf"),
}


@dataclass
class PsdHeader:
    """What a Photoshop file says before its merged picture: pixels, bits and channels."""

    channels: int
    height: int
    width: int
    depth: int
    mode: int
    large: bool
    palette: bytes = b""
    resources: dict[int, bytes] = field(default_factory=dict)
    layers: int = 0
    merged_alpha: bool = False

    @property
    def mode_name(self) -> str:
        """What the channels mean."""
        return _MODE_NAMES.get(self.mode, f"mode {self.mode}")

    @property
    def profile(self) -> bytes | None:
        """The ICC profile."""
        return self.resources.get(_PROFILE)

    @property
    def orientation(self) -> int:
        """How the picture is to be turned, as EXIF numbers it."""
        return from_metadata(self.resources.get(_EXIF), self.resources.get(_XMP))

    @property
    def transparent(self) -> bool:
        """Whether the channel after the colours is the merged picture's opacity."""
        if self.mode == _INDEXED or self.channels <= _SPACES[self.mode].bands:
            return False
        if self.merged_alpha or self.layers:
            return self.merged_alpha or self.layers < 0
        # A flat file: Photoshop's own names the channels that people saved in it.
        return not (self.resources.get(_ALPHA_NAMES) or self.resources.get(_ALPHA_IDS))


def read(path: Path, image_format: ImageFormat, options: ConvertOptions) -> Picture:
    """Decode the merged picture of a Photoshop file of 1, 8, 16 or 32 bits.

    Raises
    ------
    ImageTooLarge
        The header claims more pixels than allowed; nothing was decoded.
    UnsupportedFormat
        The file has no merged picture, or one in a space that is not known here.
    TruncatedImage, CorruptImage
        It is cut or damaged.
    """
    try:
        with path.open("rb") as file:
            psd = _read_header(file)
            _check(psd, options)
            samples = _read_samples(file, psd, path.stat().st_size)
        return _picture(samples, psd, image_format)
    except DECODER_ERRORS as problem:
        raise decoding_error(image_format, problem) from problem


def _take(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise TruncatedImage("the Photoshop file is truncated")
    return data


def _number(file: BinaryIO, size: int = 4) -> int:
    return int.from_bytes(_take(file, size), "big")


def read_header(path: Path) -> PsdHeader:
    """Read what lies before the merged picture.

    Raises
    ------
    TruncatedImage
        It is cut before the picture.
    """
    with path.open("rb") as file:
        return _read_header(file)


def _read_header(file: BinaryIO) -> PsdHeader:
    _, version, channels, height, width, depth, mode = struct.unpack(">4sH6xHIIHH", _take(file, 26))
    psd = PsdHeader(channels, height, width, depth, mode, version == 2)
    size = _number(file)
    psd.palette = _take(file, _PALETTE_BYTES) if mode == _INDEXED and size >= _PALETTE_BYTES else b""
    file.seek(size - len(psd.palette), 1)
    _read_resources(file, psd)
    _read_layers(file, psd)
    return psd


def _check(psd: PsdHeader, options: ConvertOptions) -> None:
    mode, depth, channels = psd.mode, psd.depth, psd.channels
    check_size(psd.width, psd.height, options)
    if mode == _MULTICHANNEL:
        raise UnsupportedFormat("Photoshop images of spot colours (multichannel) are not read")
    if mode not in _SPACES:
        raise CorruptImage(f"the Photoshop file says that its mode is {mode}")
    if (depth == 1) != (mode == _BITMAP) or depth not in (1, 8, 16, 32) or (mode == _INDEXED and depth != 8):
        raise CorruptImage(f"the Photoshop file says {depth} bits in the mode {mode}")
    if channels < (1 if mode == _INDEXED else _SPACES[mode].bands):
        raise CorruptImage(f"the Photoshop file says {channels} channels in the mode {mode}")
    if depth == 32 and mode not in (_GREY, _RGB):
        raise UnsupportedFormat("Photoshop images of 32 bits that are neither grey nor RGB are not read")
    if psd.resources.get(_VERSION, b"\0\0\0\0\1")[4:5] == b"\0":
        raise UnsupportedFormat("the Photoshop file was saved without its merged picture")


def _read_resources(file: BinaryIO, psd: PsdHeader) -> None:
    end = _number(file)
    end += file.tell()
    while file.tell() + 12 <= end:
        file.seek(4, 1)
        kind = _number(file, 2)
        name = _number(file, 1)
        # Padded so that it is even together with its length.
        file.seek(name + (name + 1) % 2, 1)
        size = _number(file)
        if kind in _WANTED and size <= _LARGEST_RESOURCE:
            psd.resources[kind] = _take(file, size)
            file.seek(size % 2, 1)
        else:
            file.seek(size + size % 2, 1)
    file.seek(end)


def _read_layers(file: BinaryIO, psd: PsdHeader) -> None:
    wide = 8 if psd.large else 4
    end = _number(file, wide)
    end += file.tell()
    if file.tell() + wide <= end:
        size = _number(file, wide)
        after = file.tell() + size
        psd.layers = int.from_bytes(_take(file, 2), "big", signed=True) if size >= 2 else 0
        file.seek(after)
        if file.tell() + 4 <= end:
            file.seek(_number(file), 1)
        for kind, data in _blocks(file, end, psd.large):
            if kind in _MERGED_ALPHA:
                psd.merged_alpha = True
            elif kind in _DEEP_LAYERS and len(data) == 2:
                psd.layers = int.from_bytes(data, "big", signed=True)
    file.seek(end)


def _blocks(file: BinaryIO, end: int, large: bool) -> Iterator[tuple[bytes, bytes]]:
    """Names and first two bytes of the blocks of additional layer information; damage ends them."""
    while file.tell() + 12 <= end:
        signature, kind = _take(file, 4), _take(file, 4)
        if signature not in (b"8BIM", b"8B64"):
            return
        size = _number(file, 8 if large and kind in _LONG_BLOCKS else 4)
        at = file.tell()
        yield kind, file.read(min(2, size))
        file.seek(at + size + -size % 4)


def _read_samples(file: BinaryIO, psd: PsdHeader, size: int) -> Array:
    """The merged picture's colour channels and its alpha, shape (height, width, channels)."""
    count = (1 if psd.mode == _INDEXED else _SPACES[psd.mode].bands) + psd.transparent
    row = (psd.width + 7) // 8 if psd.depth == 1 else psd.width * psd.depth // 8
    compression = _number(file, 2)
    if compression == _RLE:
        rows = _packed_rows(file, psd, count, row)
    elif compression in (_RAW, _ZIP):
        if compression == _RAW and size - file.tell() < row * psd.height * count:
            raise TruncatedImage("the Photoshop file is truncated")
        rows = _plain_rows(file, psd, count, row, compression == _ZIP)
    else:
        if compression == _ZIP_PREDICTED:
            raise UnsupportedFormat("Photoshop images compressed as ZIP with prediction are not read")
        raise CorruptImage("the Photoshop file is damaged", detail=f"compression {compression}")
    dtype = np.dtype({1: "u1", 8: "u1", 16: ">u2", 32: ">f4"}[psd.depth])
    out = new_array((psd.height, psd.width, count), dtype.newbyteorder("="))
    for index, data in enumerate(rows):
        line = np.frombuffer(data, dtype)
        if psd.depth == 1:
            line = 1 - np.unpackbits(line, count=psd.width)
        out[index % psd.height, :, index // psd.height] = line
    return out


def _plain_rows(file: BinaryIO, psd: PsdHeader, count: int, row: int, zipped: bool) -> Iterator[bytes]:
    unpack = zlib.decompressobj()
    for _ in range(count * psd.height):
        if not zipped:
            yield _take(file, row)
            continue
        data = b""
        while len(data) < row:
            packed = unpack.unconsumed_tail or file.read(2**16)
            more = unpack.decompress(packed, row - len(data))
            if not more and not packed:
                raise TruncatedImage("the Photoshop file is truncated")
            data += more
        yield data


def _packed_rows(file: BinaryIO, psd: PsdHeader, count: int, row: int) -> Iterator[bytes]:
    kind = np.dtype(">u4" if psd.large else ">u2")
    table = _take(file, kind.itemsize * psd.channels * psd.height)
    for size in np.frombuffer(table, kind, count * psd.height):
        data = imagecodecs.packbits_decode(_take(file, int(size)), out=row)
        if len(data) != row:
            raise CorruptImage("the Photoshop file is damaged")
        yield bytes(data)


def _picture(samples: Array, psd: PsdHeader, image_format: ImageFormat) -> Picture:
    space, maximum = _SPACES[psd.mode], 2.0**psd.depth - 1
    warnings: tuple[str, ...] = ()
    alpha = Alpha.STRAIGHT if psd.transparent else Alpha.NONE
    profile = psd.profile
    if psd.mode == _INDEXED:
        samples, alpha = _expand(samples, psd)
    elif psd.depth == 32:
        samples = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=0.0)
        np.clip(samples, 0.0, 1.0, out=samples)
        if psd.transparent:
            _unblend(samples, 1.0, 1.0)
        if profile is None:
            return _linear(samples, psd, image_format)
        samples, maximum, warnings = to_unsigned(samples, space.bands)
    else:
        if psd.transparent:
            middle = (maximum + 1) / 2
            _unblend(samples, maximum, [maximum, middle, middle] if space is Space.LAB else maximum)
        if space is Space.CMYK:
            # Stored as light, 0 is full ink.
            samples[:, :, :4] = samples.dtype.type(maximum) - samples[:, :, :4]
    if space is Space.LAB:
        samples, alpha, maximum = _lab(samples, maximum), Alpha.NONE, 1.0
    return Picture(
        image=to_vips(samples),
        space=space,
        format=image_format,
        width=psd.width,
        height=psd.height,
        alpha=alpha,
        maximum=maximum,
        orientation=psd.orientation,
        profile=profile,
        warnings=warnings,
    )


def _unblend(samples: Array, maximum: float, white: npt.ArrayLike) -> None:
    """Take the white out that Photoshop mixes into what is not opaque, in place."""
    behind = np.asarray(white, np.float64)
    for rows in row_slices(samples):
        part = samples[rows].astype(np.float64)
        opacity = part[:, :, -1:] / maximum
        straight = (part[:, :, :-1] - (1 - opacity) * behind) / np.maximum(opacity, 1e-6)
        rounding = 0.0 if samples.dtype.kind == "f" else 0.5
        samples[rows, :, :-1] = np.clip(straight, 0, maximum) + rounding


def _linear(samples: Array, psd: PsdHeader, image_format: ImageFormat) -> Picture:
    """32 bits without a profile: linear light of sRGB's primaries, on white where it is not opaque."""
    if psd.transparent:
        opacity = samples[:, :, -1:]
        samples = samples[:, :, :-1] * opacity + (1 - opacity)
    colours = np.repeat(samples, 3, axis=2) if samples.shape[2] == 1 else samples
    return Picture(
        to_vips(colours), Space.LINEAR, image_format, psd.width, psd.height, orientation=psd.orientation
    )


def _expand(samples: Array, psd: PsdHeader) -> tuple[Array, Alpha]:
    if len(psd.palette) < _PALETTE_BYTES:
        raise CorruptImage("the Photoshop file lacks its palette")
    colours = np.frombuffer(psd.palette, np.uint8).reshape(3, 256).T
    data = psd.resources.get(_TRANSPARENT_INDEX, b"")
    index = int.from_bytes(data[:2], "big") if len(data) >= 2 else 256
    if index > 255:
        return colours[samples[:, :, 0]], Alpha.NONE
    opacity = np.full((256, 1), 255, np.uint8)
    opacity[index] = 0
    return np.concatenate([colours, opacity], axis=1)[samples[:, :, 0]], Alpha.STRAIGHT


def _lab(samples: Array, maximum: float) -> Array:
    """L from 0 to 100, a and b from -128 to 127; transparent parts are white."""
    out = new_array((*samples.shape[:2], 3), np.float32)
    step = (maximum + 1) / 256
    for rows in row_slices(samples):
        part = samples[rows].astype(np.float32)
        lab = np.stack(
            [part[:, :, 0] * (100 / maximum), part[:, :, 1] / step - 128, part[:, :, 2] / step - 128], axis=2
        )
        if samples.shape[2] > 3:
            opacity = part[:, :, 3:] / maximum
            lab = lab * opacity + np.array([100, 0, 0], np.float32) * (1 - opacity)
        out[rows] = lab
    return out
