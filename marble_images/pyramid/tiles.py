"""Reads the tiles of a pyramid for the validator, from the stored bytes straight to a decoder.

Not through tifffile, which laid them out, as a reader that shares the writer's code shares its mistakes; nor
through libtiff, which gives black for what it cannot decode. These decoders fail on damage.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image

from marble_images.pyramid.tiff_tags import Page, TiffTags

Pixels = npt.NDArray[np.uint8]

DEFLATE, JPEG, ZSTD, WEBP = 8, 7, 50000, 50001
COMPRESSIONS = {
    1: "none",
    5: "LZW",
    6: "old-style JPEG",
    JPEG: "JPEG",
    DEFLATE: "deflate",
    32773: "PackBits",
    32946: "deflate (obsolete tag)",
    34712: "JPEG 2000",
    34887: "LERC",
    34925: "LZMA",
    ZSTD: "Zstandard",
    WEBP: "WebP",
    50002: "JPEG XL",
}
LOSSY = {JPEG, WEBP}
HORIZONTAL = 2
YCBCR = 6


class TileError(Exception):
    """A tile cannot be decoded; the message says why."""


class Room:
    """Memory that one tile after the other is decoded into: fresh memory costs as much as decoding does."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._pixels: Pixels = np.empty((0, 0, 0), np.uint8)

    def bytes_of(self, size: int) -> bytearray:
        """So many bytes, of any content."""
        if len(self._bytes) != size:
            self._bytes = bytearray(size)
        return self._bytes

    def pixels_of(self, like: Pixels) -> Pixels:
        """An array of the same shape, of any content."""
        if self._pixels.shape != like.shape:
            self._pixels = np.empty_like(like)
        return self._pixels


@dataclass(frozen=True)
class Level:
    """What is needed to decode one level: a page whose structure was found sound.

    Attributes
    ----------
    width, height, tile
        Pixels; tiles are square.
    bands
        Samples a pixel, 1 or 3, 8 bits each.
    compression, photometric, predictor
        Values of those TIFF tags.
    offsets, counts
        Where each tile lies in the file and its bytes, row by row.
    tables
        JPEG tables that its tiles share.
    subsampling
        Pixels across and down that share one value of colour, where the photometric is YCbCr.
    """

    width: int
    height: int
    tile: int
    bands: int
    compression: int
    photometric: int
    predictor: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    tables: bytes
    subsampling: tuple[int, ...]

    @property
    def across(self) -> int:
        """Tiles in a row."""
        return -(-self.width // self.tile)

    @property
    def down(self) -> int:
        """Tiles in a column."""
        return -(-self.height // self.tile)

    @property
    def room(self) -> int:
        """Bytes to decompress a tile into; one more than due shows a stream that is longer."""
        return self.tile * self.tile * self.bands + 1

    @property
    def lossy(self) -> bool:
        """Whether its compression changes pixels."""
        return self.compression in LOSSY

    @classmethod
    def of_page(cls, page: Page) -> Level:
        """Read a page's tags.

        Raises
        ------
        TagError
            A tag holds something else than it must.
        """
        return cls(
            width=page.integer(256, 0),
            height=page.integer(257, 0),
            tile=page.integer(322, 0),
            bands=page.integer(277, 1),
            compression=page.integer(259, 1),
            photometric=page.integer(262, 0),
            predictor=page.integer(317, 1),
            offsets=page.integers(324),
            counts=page.integers(325),
            tables=page.data(347),
            subsampling=page.integers(530) or (2, 2),
        )

    def read(self, file: TiffTags, row: int, column: int, room: Room | None = None) -> Pixels:
        """Decode one tile, without its padding: (height, width, bands); YCbCr stays YCbCr.

        With a ``room``, what is returned may be overwritten by the next tile that is decoded into it.

        Raises
        ------
        TagError
            It lies outside the file.
        TileError
            It cannot be decoded, or not to the size that it must have.
        """
        try:
            pixels = _DECODERS[self.compression](self, self._data(file, row, column), room or Room())
        except (RuntimeError, ValueError, TypeError) as error:
            raise TileError(str(error)) from error
        height, width = self.visible(row, column)
        return pixels[:height, :width]

    def read_means(self, file: TiffTags, row: int, column: int, block: int) -> Pixels | None:
        """Decode a JPEG tile to the means of its blocks of 8, 4 or 2 pixels, faster than `read`.

        ``None`` for what cannot be had in that way: other compressions, and tiles in whose blocks of 8
        pixels there is padding.

        Raises
        ------
        TagError, TileError
            As `read`.
        """
        height, width = self.visible(row, column)
        if self.compression != JPEG or height % _JPEG_BLOCK or width % _JPEG_BLOCK:
            return None
        data = _whole_jpeg(self, self._data(file, row, column))
        try:
            with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
                mode = "L" if self.bands == 1 else "YCbCr" if self.photometric == YCBCR else "RGB"
                # Without an Adobe marker libjpeg takes three bands for RGB only by these names.
                named = [component[0] for component in image.layer]
                if image.size != (self.tile, self.tile) or (mode == "RGB" and bytes(named) != b"RGB"):
                    return None
                image.draft(mode, (self.tile // block, self.tile // block))
                means = np.asarray(image)
        except (OSError, ValueError, SyntaxError) as error:
            raise TileError(str(error)) from error
        means = means.reshape(*means.shape[:2], -1)
        side = self.tile // block
        return means[: height // block, : width // block] if means.shape == (side, side, self.bands) else None

    def visible(self, row: int, column: int) -> tuple[int, int]:
        """Height and width of the part of a tile that is not padding."""
        return min(self.tile, self.height - row * self.tile), min(self.tile, self.width - column * self.tile)

    def _data(self, file: TiffTags, row: int, column: int) -> bytes:
        index = row * self.across + column
        return file.read(self.offsets[index], self.counts[index])

    def shaped(self, raw: bytes | bytearray | memoryview, room: Room) -> Pixels:
        """Decompressed bytes as pixels, the predictor undone."""
        if len(raw) != self.tile * self.tile * self.bands:
            raise TileError(f"it holds {len(raw)} bytes instead of {self.tile * self.tile * self.bands}")
        pixels = np.frombuffer(raw, np.uint8).reshape(self.tile, self.tile, self.bands)
        if self.predictor != HORIZONTAL:
            return pixels
        return imagecodecs.delta_decode(pixels, axis=-2, out=room.pixels_of(pixels))


def _deflate(level: Level, data: bytes, room: Room) -> Pixels:
    # libdeflate checks the stream's Adler-32.
    return level.shaped(imagecodecs.deflate_decode(data, out=room.bytes_of(level.room)), room)


def _zstd(level: Level, data: bytes, room: Room) -> Pixels:
    return level.shaped(imagecodecs.zstd_decode(data, out=room.bytes_of(level.room)), room)


def _jpeg(level: Level, data: bytes, _room: Room) -> Pixels:
    space = None if level.bands == 1 else "YCBCR" if level.photometric == YCBCR else "RGB"
    whole = _whole_jpeg(level, data)
    return _exact(level, imagecodecs.jpeg8_decode(whole, colorspace=space, outcolorspace=space))


def _whole_jpeg(level: Level, data: bytes) -> bytes:
    # libjpeg makes up what is missing with no more than a warning: a stream that was cut must be seen here.
    if not data.startswith(_START) or not data.rstrip(b"\0").endswith(_END):
        raise TileError("its JPEG stream has no start or no end")
    tables = level.tables.rstrip(b"\0")
    return tables.removesuffix(_END) + data.removeprefix(_START) if tables.startswith(_START) else data


_JPEG_BLOCK = 8
_START, _END = b"\xff\xd8", b"\xff\xd9"


def _webp(level: Level, data: bytes, _room: Room) -> Pixels:
    return _exact(level, imagecodecs.webp_decode(data))


def _exact(level: Level, pixels: Pixels) -> Pixels:
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if pixels.dtype != np.uint8 or pixels.shape != (level.tile, level.tile, level.bands):
        raise TileError(f"it decodes to {' x '.join(map(str, pixels.shape))} {pixels.dtype.name}")
    return pixels


_DECODERS: dict[int, Callable[[Level, bytes, Room], Pixels]] = {
    DEFLATE: _deflate,
    ZSTD: _zstd,
    JPEG: _jpeg,
    WEBP: _webp,
}
