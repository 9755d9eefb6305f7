"""Turns tiles of pixels into what is stored of them, by profile; libvips and libtiff have no part in it.

libvips hands tiles to zlib, which takes three to six times as long as libdeflate for more bytes. From quality
90 on it stores JPEG as RGB: more than twice the bytes of YCbCr at full resolution, for the same difference to
the eye. Its packages for Python have no Zstandard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from marble_images.pyramid.profiles import Profile

Pixels = npt.NDArray[np.uint8]

# Above so many bits a sample noise is most of what there is to store, and the least effort finds all but 3 %
# of what can be saved; below, level 4 takes up to 7 % off in at most twice the time. See docs/performance.md.
_NOISY_BITS = 2.5
_NOISY_LEVEL, _LEVEL = 1, 4
_SAMPLED_ROWS = 16


@dataclass(frozen=True)
class Encoder:
    """How the tiles of one pyramid are stored.

    Attributes
    ----------
    encode
        From a tile's part of the picture, (at most tile, at most tile, bands), to the bytes of a whole tile.
        What sticks out of the picture repeats its last row and column, which costs next to no bytes.
    tags
        What tifffile is to write of it, by the names of its arguments.
    """

    encode: Callable[[Pixels], bytes]
    tags: Mapping[str, Any]


def encoder(profile: Profile, tile: int, bands: int) -> Encoder:
    """The encoder of a profile, for square tiles of a side in pixels and 1 or 3 bands."""
    return _ENCODERS[profile.name](profile, tile, bands)


def _deflate(_profile: Profile, tile: int, _bands: int) -> Encoder:
    def encode(pixels: Pixels) -> bytes:
        differences = _differences(pixels, tile)
        level = _NOISY_LEVEL if _bits(differences) > _NOISY_BITS else _LEVEL
        return bytes(imagecodecs.deflate_encode(differences.tobytes(), level=level))

    return Encoder(encode, {"compression": "adobe_deflate", "predictor": "horizontal"})


def _zstd(profile: Profile, tile: int, _bands: int) -> Encoder:
    def encode(pixels: Pixels) -> bytes:
        return bytes(imagecodecs.zstd_encode(_differences(pixels, tile).tobytes(), level=profile.level))

    return Encoder(encode, {"compression": "zstd", "predictor": "horizontal"})


def _webp(profile: Profile, tile: int, _bands: int) -> Encoder:
    def encode(pixels: Pixels) -> bytes:
        return bytes(imagecodecs.webp_encode(_whole(pixels, tile), level=profile.quality, lossless=False))

    return Encoder(encode, {"compression": "webp"})


def _jpeg(profile: Profile, tile: int, bands: int) -> Encoder:
    options: dict[str, Any] = (
        {} if bands == 1 else {"colorspace": "RGB", "outcolorspace": "YCBCR", "subsampling": "444"}
    )

    def whole(pixels: Pixels) -> bytes:
        pixels = _whole(pixels, tile)
        stored = pixels if bands == 3 else pixels[:, :, 0]
        return bytes(imagecodecs.jpeg8_encode(stored, level=profile.quality, **options))

    segments = _segments(whole(np.zeros((tile, tile, bands), np.uint8)))
    header = _START + b"".join(segments)
    # Tables that all tiles share are stored once (TIFF Technical Note 2).
    tables = _START + b"".join(s for s in segments if s[:2] in _TABLES) + _END
    frame = _START + b"".join(s for s in segments if s[:2] in _FRAMES)

    def encode(pixels: Pixels) -> bytes:
        data = whole(pixels)
        if not data.startswith(header):
            raise RuntimeError("two JPEG tiles of one size have different headers")
        return frame + data[len(header) :]

    tags: dict[str, Any] = {"compression": "jpeg", "jpegtables": tables}
    if bands == 3:
        tags |= {"photometric": "ycbcr", "subsampling": (1, 1)}
    return Encoder(encode, tags)


_START, _END, _SCAN = b"\xff\xd8", b"\xff\xd9", b"\xff\xda"
_TABLES = {b"\xff\xdb", b"\xff\xc4"}
_FRAMES = {bytes([0xFF, marker]) for marker in (0xC0, 0xC1, 0xC2)}


def _segments(stream: bytes) -> list[bytes]:
    """The marker segments of a JPEG stream from its start to its scan, without either (ITU-T T.81, B.1.1)."""
    found, at = [], len(_START)
    while stream[at : at + 2] != _SCAN:
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        found.append(stream[at:end])
        at = end
    return found


def _whole(pixels: Pixels, tile: int) -> Pixels:
    height, width, _ = pixels.shape
    if (height, width) == (tile, tile):
        return np.ascontiguousarray(pixels)
    padded: Pixels = np.pad(pixels, ((0, tile - height), (0, tile - width), (0, 0)), mode="edge")
    return padded


def _differences(pixels: Pixels, tile: int) -> Pixels:
    """The horizontal predictor's: each pixel less the one to its left (TIFF 6.0, section 14)."""
    # numpy takes a fifth of imagecodecs' time, and a last column that repeats has no differences.
    height, width, bands = pixels.shape
    whole = (height, width) == (tile, tile)
    differences: Pixels = (np.empty if whole else np.zeros)((tile, tile, bands), np.uint8)
    differences[:height, 0] = pixels[:, 0]
    np.subtract(pixels[:, 1:], pixels[:, :-1], out=differences[:height, 1:width])
    differences[height:] = differences[height - 1]
    return differences


def _bits(differences: Pixels) -> float:
    """Entropy of a sample of rows, in bits a value: a lower bound of what Huffman codes need."""
    counts = np.bincount(differences[::_SAMPLED_ROWS].ravel())
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


_ENCODERS: Mapping[str, Callable[[Profile, int, int], Encoder]] = {
    "deflate": _deflate,
    "jpeg": _jpeg,
    "webp": _webp,
    "zstd": _zstd,
}
