"""The sizes of pyramids: how a picture fits a box, its tiles and its levels."""

from __future__ import annotations

from marble_images.pyramid.model import Box

TILE = 512
SMALL_TILE = 256
_LARGEST_WITH_SMALL_TILE = 128


def fit(width: int, height: int, box: Box) -> tuple[int, int]:
    """The size, in pixels, at which a picture fits a box: never enlarged, its aspect kept to a pixel.

    Integer arithmetic, so that the limiting side is met exactly and the other is rounded to the nearest.
    """
    if width < 1 or height < 1:
        raise ValueError(f"a picture must be at least 1 x 1, not {width} x {height}")
    if width <= box.width and height <= box.height:
        return width, height
    if width * box.height >= height * box.width:
        return box.width, _scaled(height, box.width, width)
    return _scaled(width, box.height, height), box.height


def _scaled(length: int, target: int, source: int) -> int:
    return max(1, (2 * length * target + source) // (2 * source))


def tile_size(width: int, height: int) -> int:
    """The side of a tile in pixels: 512, or 256 where no side of the picture is longer than 128.

    libvips, and every IIIF server that reads with it, refuses a TIFF whose tile is larger than twice the
    longer side rounded up to 256.
    """
    return SMALL_TILE if max(width, height) <= _LARGEST_WITH_SMALL_TILE else TILE


def level_sizes(width: int, height: int, tile: int) -> list[tuple[int, int]]:
    """Sizes of all levels, the largest first: level n is ``floor(width / 2^n)`` by ``floor(height / 2^n)``.

    The last level is the first that fits a tile, or the last that has a pixel on each side: a level of
    0 pixels cannot be, and one rounded up to 1 pixel would not be where the IIIF server expects it.
    """
    sizes = [(width, height)]
    while (width > tile or height > tile) and width > 1 and height > 1:
        width, height = width // 2, height // 2
        sizes.append((width, height))
    return sizes
