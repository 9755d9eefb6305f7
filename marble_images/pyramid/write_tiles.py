"""Writes the levels of a pyramid, tile by tile; tifffile lays out the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from marble_images.pyramid.arrays import new_array
from marble_images.pyramid.encoders import Encoder
from marble_images.pyramid.vips import VipsImage

Pixels = npt.NDArray[np.uint8]

# So much is left for the directories; they are written before the tiles are counted.
_LARGEST_DATA = 2**32 - 2**20


class DataTooLarge(Exception):
    """The tiles do not fit into a classic TIFF."""


def write_levels(
    image: VipsImage,
    path: Path,
    encoder: Encoder,
    *,
    tile: int,
    levels: Sequence[tuple[int, int]],
    description: str,
    dpi: float,
) -> None:
    """Write a pyramid, without the tag Orientation.

    Parameters
    ----------
    image
        8-bit, 1 or 3 bands.
    encoder
        How its tiles are stored.
    tile
        Side of a tile in pixels.
    levels
        Width and height of each level, the largest first; each is the halves of the one before.
    description
        The tag ImageDescription of the first level.
    dpi
        Pixels an inch.

    Raises
    ------
    DataTooLarge
        They would be more than 4 GiB.
    """
    rows: Iterator[Pixels] = _rows_of_image(image, tile)
    left = _LARGEST_DATA
    with tifffile.TiffWriter(path, byteorder="<") as file:
        for number, (width, height) in enumerate(levels):
            following = levels[number + 1] if number + 1 < len(levels) else None
            smaller = new_array((following[1], following[0], image.bands), np.uint8) if following else None
            tiles = _Tiles(rows, tile, smaller, left, encoder.encode)
            file.write(
                iter(tiles),
                shape=(height, width, image.bands) if image.bands > 1 else (height, width),
                dtype=np.uint8,
                tile=(tile, tile),
                subfiletype=1 if number else 0,
                description=None if number else description,
                resolution=(dpi, dpi),
                resolutionunit="inch",
                software=False,
                metadata=None,
                **{"photometric": "rgb" if image.bands > 1 else "minisblack", **encoder.tags},
            )
            left = tiles.left
            if smaller is not None:
                rows = _rows_of_array(smaller, tile)


class _Tiles:
    """The stored tiles of a level, while they are made; fills the level below on the way."""

    def __init__(
        self,
        rows: Iterator[Pixels],
        tile: int,
        smaller: Pixels | None,
        left: int,
        encode: Callable[[Pixels], bytes],
    ) -> None:
        self._rows = rows
        self._encode = encode
        self._tile = tile
        self._smaller = smaller
        self.left = left

    def __iter__(self) -> Iterator[bytes]:
        for number, row in enumerate(self._rows):
            if self._smaller is not None:
                half = halved(row)
                top = number * self._tile // 2
                self._smaller[top : top + len(half)] = half
            for start in range(0, row.shape[1], self._tile):
                data = self._encode(row[:, start : start + self._tile])
                self.left -= len(data)
                if self.left < 0:
                    raise DataTooLarge
                yield data


def _rows_of_image(image: VipsImage, tile: int) -> Iterator[Pixels]:
    """Rows of tiles: (at most ``tile``, width, bands) each."""
    for top in range(0, image.height, tile):
        part = image.crop(0, top, image.width, min(tile, image.height - top))
        yield part.numpy().reshape(part.height, part.width, part.bands)


def _rows_of_array(pixels: Pixels, tile: int) -> Iterator[Pixels]:
    for top in range(0, len(pixels), tile):
        yield pixels[top : top + tile]


def halved(pixels: Pixels) -> Pixels:
    """Means of 2 x 2 pixels, rounded to the nearest; an odd last row or column is left out."""
    height, width, bands = pixels.shape
    even = pixels[: height & ~1, : width & ~1]
    if not even.size:
        return np.empty((height // 2, width // 2, bands), np.uint8)
    reduced = Image.fromarray(even if bands == 3 else even[:, :, 0]).reduce(2)
    return np.asarray(reduced).reshape(height // 2, width // 2, bands)
