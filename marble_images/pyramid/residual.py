"""Says whether what WebP changes explains how a tile differs from the level above.

WebP comes back as RGB that was clipped, with colour at half resolution, so means of blocks may be far apart
in a tile that is right. Brightness is stored at full resolution: what differs in it is the codec's noise and
no more. How much noise that is depends on the picture, and is found by encoding that very picture again.
"""

from __future__ import annotations

from collections.abc import Iterator

import imagecodecs
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# No profile stores WebP with less; more quality brings less noise.
_QUALITY = 75
# WebP stores brightness in units of 16 pixels; in those that padding shares, anything may happen.
_UNIT = 16
_WINDOW = 64
_WINDOW_BLOCKS = 8
# Standard deviation of how far block means of brightness are off within a window. Measured over noise, line
# art, checkerboards, stripes of one pixel, photographs and flat pictures: valid tiles stay below 0.8, tiles
# that show something else are above 0.95.
_SUSPICIOUS = 0.9
# What pixels are off, as a multiple of what coding costs, in which rounding to whole values counts as 1.
# Measured as before: valid tiles stay below 1.0, tiles of another picture are above 1.8.
_EXPLAINED = 1.4


def luma(pixels: Floats, *, ycbcr: bool) -> Floats:
    """Brightness of a picture: its first band, or the weighted mean of red, green and blue."""
    if ycbcr or pixels.shape[-1] == 1:
        return pixels[..., 0]
    return pixels @ np.array([0.299, 0.587, 0.114], np.float32)


def may_show_something_else(lower: Floats, upper: Floats) -> bool:
    """Whether means of blocks, (rows, columns, bands) in RGB, call for a look at the tile's pixels."""
    if not lower.size:
        return False
    off = luma(lower - upper, ycbcr=False)
    return any(float(part.std()) > _SUSPICIOUS for part in _windows(off, _WINDOW_BLOCKS))


def shows_something_else(lower: Floats, halved: Floats) -> bool:
    """Whether a decoded tile differs from the halved level above by more than coding that again does.

    Both are RGB, (height, width, bands), without what is padding.
    """
    rounded = np.clip(halved + 0.5, 0, 255).astype(np.uint8)
    height, width = (side // _UNIT * _UNIT for side in halved.shape[:2])
    if not height or not width:
        return False
    coded = imagecodecs.webp_encode(rounded, level=_QUALITY, lossless=False, method=2)
    again = imagecodecs.webp_decode(coded)[..., :3].astype(np.float32)
    off, cost = (luma(pixels - halved, ycbcr=False)[:height, :width] for pixels in (lower, again))
    return any(
        float(part.std()) > _EXPLAINED * (float(noise.std()) + 1)
        for part, noise in zip(_windows(off, _WINDOW), _windows(cost, _WINDOW), strict=True)
    )


def clipped_colour(pixels: npt.NDArray[np.uint8]) -> float:
    """How colourful the pixels are that may have been clipped, 0 to 255; averaged over all pixels."""
    most, least = pixels.max(axis=2), pixels.min(axis=2)
    return float(np.where((most == 255) | (least == 0), most - least, 0).mean())


def _windows(values: Floats, side: int) -> Iterator[Floats]:
    """Squares of a picture; those at its end are smaller only if there is but one."""
    rows, columns = (_starts(length, side) for length in values.shape)
    for top in rows:
        for left in columns:
            yield values[top : top + side, left : left + side]


def _starts(length: int, side: int) -> list[int]:
    last = max(0, length - side)
    return sorted({*range(0, last, side), last})
