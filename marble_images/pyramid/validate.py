"""Proves that a written file is a valid pyramid, as ``docs/valid-pyramid.md`` defines it.

Nothing here uses what made the picture or the file: tags are read by `tiff_tags`, tiles by `tiles`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from marble_images.errors import one_line
from marble_images.pyramid.compare import (
    BLOCK,
    CLIPPED_COLOUR,
    FULL_COLOUR,
    HALF_COLOUR,
    LOSSLESS,
    Tolerance,
    block_means,
    block_sums,
    cut_blocks,
    difference,
    explain,
    pair_sums,
    resized,
    shift_of_blocks,
    spread,
    suspicious,
    unlike_reference,
)
from marble_images.pyramid.model import Box
from marble_images.pyramid.residual import Floats, luma
from marble_images.pyramid.structure import Problem, error, layout_problems, other_problems
from marble_images.pyramid.tiff_tags import TagError, TiffTags
from marble_images.pyramid.tiles import JPEG, YCBCR, Level, Pixels, Room, TileError

__all__ = ["Problem", "validate_pyramid"]

_DPI = 300.0
# The picture that is compared with the source keeps at least so many pixels on its longer side.
_SMALL_SIDE = 256
# Two kernels on the way from the source, and JPEG of quality 90, move a mean of many pixels by less than 3;
# a picture of one pixel came back from WebP of quality 75 off by 20.
_SOURCE_TOLERANCE = 8.0
_NARROW_SOURCE_TOLERANCE = 40.0
# Fewer blocks across, and the last, cut one would weigh too much.
_SMALL_BLOCKS = 64
# Other ways of halving an odd size drift by half a pixel at the far edge.
_SHIFT_TOLERANCE = 0.75
_MOST_NAMED = 3


def validate_pyramid(
    path: Path,
    *,
    box: Box | None = None,
    profile: str | None = None,
    reference: npt.NDArray[np.uint8] | None = None,
    dpi: float | None = _DPI,
) -> list[Problem]:
    """Find everything that is wrong with a pyramid TIFF; an empty list is a valid pyramid.

    Every tile of every level is decoded, each level is compared with the one above, and the top with its
    source. Never raises, whatever the file holds: what cannot be read is an error in the list.

    Parameters
    ----------
    path
        The file.
    box
        The largest width and height that it may have; any if left out.
    profile
        Name of the profile that it must be of; any if left out.
    reference
        The source as it was decoded, shrunk: 8-bit (height, width) or (height, width, bands), sRGB or grey.
    dpi
        Pixels an inch that it must say; any, or none, if ``None``.
    """
    try:
        with TiffTags(path) as file:
            return list(_problems(file, box, profile, reference, dpi))
    except (TagError, OSError) as problem:
        return [error("file", one_line(str(problem)))]
    except Exception as problem:  # noqa: BLE001 - a validator that fails must not pass for one that agreed
        return [error("file", one_line(f"it cannot be read: {type(problem).__name__}: {problem}"))]


def _problems(
    file: TiffTags,
    box: Box | None,
    profile: str | None,
    reference: npt.NDArray[np.uint8] | None,
    dpi: float | None,
) -> Iterator[Problem]:
    pages = list(file.pages())
    if not pages:
        yield error("file", "it has no page")
        return
    layout = list(layout_problems(pages, file))
    yield from layout
    yield from other_problems(pages, box, profile, dpi)
    if not layout:
        yield from _Pixels(file, [Level.of_page(page) for page in pages], reference).problems()


class _Pixels:
    """Reads every tile once, level by level, and compares."""

    def __init__(self, file: TiffTags, levels: list[Level], reference: npt.NDArray[np.uint8] | None) -> None:
        self._file = file
        self._levels = levels
        self._reference = reference
        self._ycbcr = levels[0].photometric == YCBCR
        self._room = Room()

    def problems(self) -> Iterator[Problem]:
        above: Floats | None = None
        for i, level in enumerate(self._levels):
            sums = _Sums(level, i == 0)
            broken = list(self._read(level, i, sums))
            yield from broken
            if broken:
                # What cannot be decoded cannot be compared either; the next level starts anew.
                above = None
                continue
            if i == 0 and self._reference is not None:
                yield from self._against_source(level, sums, self._reference)
            if above is not None:
                yield from self._against_above(i, above, sums.full)
            above = sums.even

    def _read(self, level: Level, index: int, sums: _Sums) -> Iterator[Problem]:
        failures: list[str] = []
        for row in range(level.down):
            for column in range(level.across):
                try:
                    self._add(level, row, column, sums)
                except (TileError, TagError) as problem:
                    failures.append(f"tile {column}, {row} cannot be decoded: {problem}")
        yield from (error(f"level {index}", one_line(text)) for text in failures[:_MOST_NAMED])
        if len(failures) > _MOST_NAMED:
            more = len(failures) - _MOST_NAMED
            yield error(f"level {index}", f"{more} more of its tiles cannot be decoded")

    def _add(self, level: Level, row: int, column: int, sums: _Sums) -> None:
        means = level.read_means(self._file, row, column, sums.block) if sums.block > 1 else None
        if means is None:
            sums.add(row, column, level.read(self._file, row, column, self._room))
        else:
            sums.add_means(row, column, means)

    def _tolerance(self, level: Level) -> Tolerance:
        if not level.lossy:
            return LOSSLESS
        if level.compression != JPEG:
            return CLIPPED_COLOUR
        return HALF_COLOUR if self._ycbcr and level.subsampling != (1, 1) else FULL_COLOUR

    def _against_above(self, index: int, above: Floats, sums: Floats) -> Iterator[Problem]:
        level = self._levels[index]
        limit = self._tolerance(level)
        lower = block_means(sums, level.width, level.height, BLOCK)
        upper = block_means(pair_sums(above), 2 * level.width, 2 * level.height, 2 * BLOCK)
        where = f"level {index}"
        right, down = (BLOCK * blocks for blocks in shift_of_blocks(lower, upper, limit))
        if max(abs(right), abs(down)) > _SHIFT_TOLERANCE:
            yield error(
                where, f"it is shifted against level {index - 1} by {right:.1f} and {down:.1f} pixels"
            )
            return
        cut = cut_blocks(level.height, level.width, limit)
        apart = difference(lower, upper, cut, limit, self._ycbcr)
        failures = []
        per_tile = level.tile // BLOCK
        for row in range(level.down):
            for column in range(level.across):
                part = np.s_[
                    row * per_tile : (row + 1) * per_tile, column * per_tile : (column + 1) * per_tile
                ]
                if not suspicious(apart[part], lower[part], upper[part], cut[part], limit):
                    continue
                pixels = level.read(self._file, row, column)
                wrong = explain(pixels, self._above(index, row, column, pixels), limit, ycbcr=self._ycbcr)
                if wrong:
                    failures.append(f"tile {column}, {row} does not match level {index - 1}: {wrong}")
        yield from (error(where, text) for text in failures[:_MOST_NAMED])
        if len(failures) > _MOST_NAMED:
            more = len(failures) - _MOST_NAMED
            yield error(where, f"{more} more of its tiles do not match level {index - 1}")

    def _above(self, index: int, row: int, column: int, pixels: Pixels) -> Pixels:
        """The up to four tiles of the level above that a tile was made of, cut to twice its size."""
        level = self._levels[index - 1]
        height, width = 2 * pixels.shape[0], 2 * pixels.shape[1]
        joined = np.zeros((2 * level.tile, 2 * level.tile, level.bands), np.uint8)
        for i in range(-(-height // level.tile)):
            for j in range(-(-width // level.tile)):
                tile = level.read(self._file, 2 * row + i, 2 * column + j)
                top, left = i * level.tile, j * level.tile
                joined[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
        return joined[:height, :width]

    def _against_source(
        self, level: Level, sums: _Sums, reference: npt.NDArray[np.uint8]
    ) -> Iterator[Problem]:
        source = reference.reshape(*reference.shape[:2], -1)
        rows, columns = source.shape[:2]
        # Each side of the small picture is rounded to a whole pixel.
        if abs(level.width * rows - level.height * columns) > max(level.width, level.height, rows, columns):
            yield error("level 0", f"it is of another shape than its source ({columns} x {rows} when shrunk)")
            return
        top = block_means(sums.small, level.width, level.height, sums.block)
        # Half the resolution that both have: what a kernel does to the finest detail is left out.
        width = max(1, min(columns, top.shape[1]) // 2)
        height = max(1, min(rows, top.shape[0]) // 2)
        seen = resized(top, width, height, (level.width / sums.block, level.height / sums.block))
        due = resized(_bands(source, level.bands, self._ycbcr), width, height, (columns, rows))
        # In the narrowest pictures all of the codec's blocks hold padding too, which colour mixes with.
        narrow = level.lossy and min(level.width, level.height) < 2 * BLOCK
        if narrow:
            seen, due = (luma(picture, ycbcr=self._ycbcr)[..., None] for picture in (seen, due))
        grain = np.maximum(_grain(source, width, height), _grain(top.astype(np.uint8), width, height))
        tolerance = _NARROW_SOURCE_TOLERANCE if narrow else _SOURCE_TOLERANCE
        wrong = unlike_reference(seen, due, grain, tolerance)
        if wrong and self._tolerance(level).edge_luma:
            detail = self._detail(level, width, height)
            wrong = unlike_reference(seen, due, grain, _NARROW_SOURCE_TOLERANCE, detail)
        if wrong:
            yield error("level 0", f"it does not match its source: {wrong}")

    def _detail(self, level: Level, width: int, height: int) -> Floats:
        """How much the pixels differ within each block, shrunk to a size: (height, width)."""
        found = np.zeros((-(-level.height // BLOCK), -(-level.width // BLOCK)), np.float32)
        size = level.tile // BLOCK
        for row in range(level.down):
            for column in range(level.across):
                part = spread(level.read(self._file, row, column), BLOCK)
                found[
                    row * size : row * size + part.shape[0], column * size : column * size + part.shape[1]
                ] = part
        return resized(found[..., None], width, height, (level.width / BLOCK, level.height / BLOCK))[..., 0]


def _grain(picture: Pixels, width: int, height: int) -> Floats:
    """How much neighbouring pixels of a small picture differ, shrunk to a size: (height, width)."""
    rows, columns = picture.shape[:2]
    return resized(spread(picture, 2)[..., None], width, height, (columns / 2, rows / 2))[..., 0]


def _bands(source: npt.NDArray[np.uint8], bands: int, ycbcr: bool) -> Floats:
    """The source's small picture in the colours in which the pyramid is stored."""
    values = source[..., : 3 if source.shape[2] >= 3 else 1].astype(np.float32)
    if bands == 1:
        return luma(values, ycbcr=False)[..., None]
    if values.shape[2] == 1:
        values = np.repeat(values, 3, axis=2)
    if not ycbcr:
        return values
    bright = luma(values, ycbcr=False)
    blue = 128 + (values[..., 2] - bright) / 1.772
    red = 128 + (values[..., 0] - bright) / 1.402
    return np.stack([bright, blue, red], axis=2)


class _Sums:
    """Sums of the blocks of one level, gathered tile by tile.

    Attributes
    ----------
    full
        Of the whole level.
    even
        Of what the next level is made of: an odd last row or column is left out, as libvips does.
    small, block
        Of the whole level in blocks of ``block`` pixels, so small that it keeps 256 pixels; top level only.
    """

    def __init__(self, level: Level, top: bool) -> None:
        self._level = level
        self.full = _zeros(level.width, level.height, BLOCK, level.bands)
        self._cut = (level.height & ~1 or 1, level.width & ~1 or 1)
        self._odd = self._cut != (level.height, level.width)
        self.even = _zeros(self._cut[1], self._cut[0], BLOCK, level.bands) if self._odd else self.full
        self.block = BLOCK
        longer, shorter = max(level.width, level.height), min(level.width, level.height)
        while self.block > 1 and (longer < self.block * _SMALL_SIDE or shorter < self.block * _SMALL_BLOCKS):
            self.block //= 2
        if not top:
            self.block = BLOCK
        self._halvings = (BLOCK // self.block).bit_length() - 1
        self._separate = self.block != BLOCK
        self.small = (
            _zeros(level.width, level.height, self.block, level.bands) if self._separate else self.full
        )

    def add_means(self, row: int, column: int, means: Pixels) -> None:
        """Add one tile, cut to whole blocks of 8 pixels, as means of blocks of `block` pixels."""
        sums = means.astype(np.float32) * np.float32(self.block**2)
        if self._separate:
            _place(self.small, sums, row, column, self._level.tile // self.block)
        for _ in range(self._halvings):
            sums = pair_sums(sums)
        for whole in (self.full, self.even) if self._odd else (self.full,):
            _place(whole, sums, row, column, self._level.tile // BLOCK)

    def add(self, row: int, column: int, pixels: Pixels) -> None:
        """Add one tile."""
        sums = block_sums(pixels, BLOCK)
        _place(self.full, sums, row, column, self._level.tile // BLOCK)
        if self._separate:
            _place(self.small, block_sums(pixels, self.block), row, column, self._level.tile // self.block)
        if self._odd:
            height = self._cut[0] - row * self._level.tile
            width = self._cut[1] - column * self._level.tile
            if height < 1 or width < 1:
                return
            if height < pixels.shape[0] or width < pixels.shape[1]:
                sums = block_sums(pixels[:height, :width], BLOCK)
            _place(self.even, sums, row, column, self._level.tile // BLOCK)


def _zeros(width: int, height: int, block: int, bands: int) -> Floats:
    return np.zeros((-(-height // block), -(-width // block), bands), np.float32)


def _place(whole: Floats, part: Floats, row: int, column: int, size: int) -> None:
    top, left = row * size, column * size
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
