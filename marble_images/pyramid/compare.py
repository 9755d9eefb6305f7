"""Says whether two pictures are the same picture, one shrunk from the other.

Pictures are compared as means of blocks, so that a level is read once and kept small. Where means differ by
more than storing them can explain, the tile is looked at pixel by pixel: another shrink kernel or the
colour resolution of a lossy format explains a difference where the picture has fine detail, and only there.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from marble_images.pyramid.residual import (
    Floats,
    clipped_colour,
    luma,
    may_show_something_else,
    shows_something_else,
)
from marble_images.pyramid.tiles import Pixels

Mask = npt.NDArray[np.bool_]

BLOCK = 8
"""Side of a block, in pixels of the smaller picture."""

# Other kernels leave block means correlated by 0.89 and more, even on noise; nearest neighbour does not.
_ALIKE = 0.8
_WINDOW = 16
# A shift moves the blocks along every edge; a lossy codec is now and then far off in a single one.
_FEW = 0.01


def block_sums(pixels: Pixels, block: int) -> Floats:
    """Sums of blocks of ``block`` x ``block`` pixels; the last row and column may be of smaller blocks.

    (height, width, bands) becomes (ceil(height / block), ceil(width / block), bands).
    """
    return pixels.astype(np.float32) if block == 1 else _sum_blocks(pixels, block, np.uint16)


def _sum_blocks(values: npt.NDArray[np.unsignedinteger], block: int, kind: type) -> Floats:
    height, width, bands = values.shape
    whole = height // block * block
    lines = values.reshape(height, width * bands)
    rows = lines[:whole].reshape(-1, block, width * bands).sum(axis=1, dtype=kind)
    if whole < height:
        rows = np.concatenate([rows, lines[whole:].sum(axis=0, dtype=kind)[None]])
    # Along a row a product with ones is ten times quicker than numpy's sum over so few numbers.
    whole = width // block * block
    sums = rows[:, : whole * bands].reshape(len(rows), -1, block * bands).astype(np.float32)
    sums = sums @ _ones(block, bands)
    if whole == width:
        return sums
    rest = rows[:, whole * bands :].reshape(len(rows), -1, bands).sum(axis=1, dtype=np.float32)
    return np.concatenate([sums, rest[:, None]], axis=1)


@functools.lru_cache(maxsize=16)
def _ones(block: int, bands: int) -> Floats:
    """The matrix that adds up the pixels of a block, each band by itself."""
    return np.tile(np.eye(bands, dtype=np.float32), (block, 1))


def block_lengths(length: int, block: int) -> Floats:
    """How many pixels of ``length`` each block covers."""
    starts = np.arange(0, length, block)
    return np.minimum(block, length - starts).astype(np.float32)


def block_means(sums: Floats, width: int, height: int, block: int) -> Floats:
    """Means of blocks from their sums."""
    areas = np.outer(block_lengths(height, block), block_lengths(width, block))
    return (sums / areas[..., None]).astype(np.float32)


def pair_sums(sums: Floats) -> Floats:
    """Sums of 2 x 2 neighbouring blocks."""
    height, width, bands = sums.shape
    padded = np.zeros((height + height % 2, width + width % 2, bands), np.float32)
    padded[:height, :width] = sums
    # Slices: numpy is ten times as slow at sums along short axes.
    rows = padded[::2] + padded[1::2]
    paired: Floats = rows[:, ::2] + rows[:, 1::2]
    return paired


def most_of_bands(values: Floats) -> Floats:
    """The largest of each pixel's bands: (rows, columns)."""
    return functools.reduce(np.maximum, np.moveaxis(values, 2, 0))


@dataclass(frozen=True)
class Tolerance:
    """By how much means of blocks may differ, in 8-bit values, for how the pictures are stored.

    Attributes
    ----------
    block
        Of a whole block.
    edge
        Of a block that the picture's right or lower edge cuts, where the padding of the tile bleeds in.
    edge_luma
        Whether only brightness counts in those: stored at half resolution, colour mixes with the padding.
    mean
        Of the mean of a whole tile.
    noise
        Root of the mean square of such differences.
    mean_detail
        Share of the contrast within blocks, or for WebP of the colour of clipped pixels, by which the mean of
        a tile moves when something is clipped.
    """

    block: float
    edge: float
    mean: float
    noise: float
    mean_detail: float = 0.05
    edge_luma: bool = False

    def of_mean(self, cut: Mask) -> float:
        """By how much the mean of a tile may differ, of whose blocks some are cut."""
        return self.mean + (self.edge - self.mean) * float(cut.mean())


# Measured as the largest difference between a level and the exact mean of the one above, over noise, line
# art, checkerboards, stripes of one pixel, photographs and flat pictures of odd and even sizes.
LOSSLESS = Tolerance(1.0, 1.0, 0.6, 0.3)  # 0.5: the mean of four is rounded
# 2.1, at edges 7, tiles 0.7: JPEG of quality 90, in RGB and in YCbCr at full resolution.
FULL_COLOUR = Tolerance(3.0, 12.0, 0.8, 0.5)
# 5.3, edges 13, tiles 1.4: JPEG of quality 75, compared as the YCbCr that is stored, before it is clipped.
HALF_COLOUR = Tolerance(8.0, 24.0, 1.8, 1.0, edge_luma=True)
# 18, edges 20, tiles 0.7, and 37 where colours that alternate from pixel to pixel are clipped: WebP of
# quality 75 and 90, which only comes as RGB.
CLIPPED_COLOUR = Tolerance(20.0, 28.0, 2.0, 1.5, mean_detail=0.5, edge_luma=True)
# Share of the contrast within a block by which another kernel moves its mean: 0.1 where a side is even and
# 0.3 where half a pixel of drift comes in; 0.4 in blocks that are cut. Clipped colour moves it by 0.36.
_DETAIL_SHARE = 0.35
_DETAIL_SHARE_CUT = 0.5


def cut_blocks(height: int, width: int, limit: Tolerance) -> Mask:
    """Which blocks of a picture share a block of the codec with padding, from its size in pixels."""
    cut = np.ones((-(-height // BLOCK), -(-width // BLOCK)), np.bool_)
    # Colour at half resolution is coded in blocks of 16 pixels.
    unit = 2 * BLOCK if limit.edge_luma else BLOCK
    cut[: height // unit * unit // BLOCK, : width // unit * unit // BLOCK] = False
    return cut


def difference(lower: Floats, upper: Floats, cut: Mask, limit: Tolerance, ycbcr: bool) -> Floats:
    """How far each block of ``lower`` is from ``upper``, as a multiple of what is tolerated.

    Parameters
    ----------
    lower, upper
        Means of the same blocks of both pictures: (rows, columns, bands).
    cut
        Which blocks share a block of the codec with padding.
    """
    apart = most_of_bands(np.abs(lower - upper))
    if limit.edge_luma and cut.any():
        bright = np.abs(luma(lower, ycbcr=ycbcr) - luma(upper, ycbcr=ycbcr))
        apart = np.where(cut, bright, apart)
    return apart / np.where(cut, np.float32(limit.edge), np.float32(limit.block))


def shift_of_blocks(lower: Floats, upper: Floats, limit: Tolerance) -> tuple[float, float]:
    """Estimate by how many blocks ``lower`` is shifted against ``upper``: (right, down).

    Least squares of the difference on the picture's gradient, exact for shifts well below the size of what
    is pictured; (0, 0) unless a shift explains at least half of a difference above the compression's.
    """
    if min(lower.shape[:2]) < 5:
        return 0.0, 0.0
    inner = np.s_[1:-2, 1:-2]
    down, right = (np.gradient(upper, axis=axis)[inner].ravel() for axis in (0, 1))
    apart = (lower - upper)[inner].ravel().astype(np.float64)
    if np.sqrt(np.mean(apart**2)) < 2 * limit.noise:
        return 0.0, 0.0
    basis = np.stack([right, down, np.ones_like(right)], axis=1).astype(np.float64)
    solution, *_ = np.linalg.lstsq(basis.T @ basis, basis.T @ apart, rcond=1e-9)
    left_over = np.sum((apart - basis @ solution) ** 2)
    if left_over > 0.5 * np.sum((apart - apart.mean()) ** 2):
        return 0.0, 0.0
    return -float(solution[0]), -float(solution[1])


def explain(lower: Pixels, upper: Pixels, limit: Tolerance, *, ycbcr: bool) -> str | None:
    """Compare a tile with the same part of the level above, pixel by pixel.

    Parameters
    ----------
    lower
        (height, width, bands)
    upper
        (2 x height, 2 x width, bands)

    Returns
    -------
    What is wrong, or ``None`` if detail too fine for the smaller picture explains the difference.
    """
    height, width = lower.shape[:2]
    small = block_means(block_sums(lower, BLOCK), width, height, BLOCK)
    large = block_means(block_sums(upper, 2 * BLOCK), 2 * width, 2 * height, 2 * BLOCK)
    halved = pair_sums(upper.astype(np.float32)) / np.float32(4)
    clipped = limit is CLIPPED_COLOUR
    # What a pixel differs from the next is all that is lost with half the colour resolution.
    detail = _fine_detail(upper, halved) if clipped else spread(upper, 2 * BLOCK)
    cut = cut_blocks(height, width, limit)
    share = np.where(cut | clipped, np.float32(_DETAIL_SHARE_CUT), np.float32(_DETAIL_SHARE))
    apart = difference(small, large, cut, limit, ycbcr)
    wrong = apart > 1 + share * _widest(detail) / limit.block
    if wrong.any():
        most = np.abs(small - large).max(axis=2)[wrong].max()
        return f"{_percent(wrong)} of it differs by up to {most:.0f}"
    lost = limit.mean_detail * (max(map(clipped_colour, (lower, upper))) if clipped else float(detail.mean()))
    offset = np.abs((small - large).mean(axis=(0, 1))).max()
    if offset > limit.of_mean(cut) + lost:
        return f"it is off by {offset:.1f} throughout"
    # The colours of cut blocks are those of the padding, too, where they are stored at half resolution.
    inner = np.s_[: height // 16 * 2, : width // 16 * 2] if limit.edge_luma else np.s_[:, :]
    same = (
        not shows_something_else(lower.astype(np.float32), halved)
        if clipped
        else _alike(small[inner], large[inner], 2 * limit.noise)
    )
    if not same:
        return "it shows something else"
    if limit is not LOSSLESS and np.mean(apart > 1) < _FEW:
        return None
    bright = luma(lower.astype(np.float32), ycbcr=ycbcr)
    right, down = _shift_of_pixels(bright, luma(halved, ycbcr=ycbcr), limit)
    return f"it is shifted by {right} and {down} pixels" if right or down else None


def suspicious(apart: Floats, lower: Floats, upper: Floats, cut: Mask, limit: Tolerance) -> bool:
    """Whether a tile needs a look at its pixels: a block is too far off, or the tile is on the whole."""
    offset = np.abs((lower - upper).mean(axis=(0, 1))).max()
    if (apart > 1).any() or offset > limit.of_mean(cut):
        return True
    if limit is not CLIPPED_COLOUR:
        return False
    whole = ~cut
    rows, columns = whole[:, 0].sum(), whole[0].sum()
    return may_show_something_else(lower[:rows, :columns], upper[:rows, :columns])


def spread(pixels: Pixels, block: int) -> Floats:
    """Standard deviation within each block, the largest of its bands: (rows, columns)."""
    height, width = pixels.shape[:2]
    values = pixels.astype(np.uint16)
    means = block_means(block_sums(pixels, block), width, height, block)
    second = block_means(_sum_blocks(values * values, block, np.uint32), width, height, block)
    return most_of_bands(np.sqrt(np.maximum(second - means**2, 0)))


def _fine_detail(upper: Pixels, halved: Floats) -> Floats:
    """Standard deviation within each 2 x 2 pixels, its root mean square in each block: (rows, columns)."""
    within = most_of_bands(pair_sums(upper.astype(np.float32) ** 2) / np.float32(4) - halved**2)
    height, width = within.shape
    rows = np.add.reduceat(within, np.arange(0, height, BLOCK), axis=0)
    sums = np.add.reduceat(rows, np.arange(0, width, BLOCK), axis=1)
    return np.sqrt(np.maximum(block_means(sums[..., None], width, height, BLOCK)[..., 0], 0))


def _widest(values: Floats) -> Floats:
    """The largest value among each block and its eight neighbours: kernels reach across blocks."""
    padded = np.pad(values, 1, mode="edge")
    rows, columns = values.shape
    shifted = [padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    return np.max(shifted, axis=0)


def _alike(lower: Floats, upper: Floats, visible: float) -> bool:
    """Whether windows of blocks that show something show the same; means alone cannot tell noise apart."""
    for top in range(0, len(lower), _WINDOW):
        for left in range(0, lower.shape[1], _WINDOW):
            part = np.s_[top : top + _WINDOW, left : left + _WINDOW]
            a, b = (picture[part] - picture[part].mean(axis=(0, 1)) for picture in (lower, upper))
            if a[..., 0].size >= _WINDOW and b.std() > visible and correlation(a, b) < _ALIKE:
                return False
    return True


def correlation(a: Floats, b: Floats) -> float:
    """Pearson's correlation of two pictures; 0 if one of them is flat."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt(np.sum(a * a) * np.sum(b * b)))
    return float(np.sum(a * b)) / scale if scale > 0 else 0.0


def _shift_of_pixels(lower: Floats, upper: Floats, limit: Tolerance) -> tuple[int, int]:
    """By how many pixels ``lower`` is shifted against ``upper``, (right, down), (0, 0) if it is not.

    Cross-correlation of the edges: a shift must match clearly better than no shift does. Half a pixel of
    drift, which other ways of halving an odd size bring, matches about as well at 0 as at 1.
    """
    if min(lower.shape) < 32:
        return 0, 0
    reach = 12
    window = np.outer(np.hanning(lower.shape[0] - 1), np.hanning(lower.shape[1] - 1))
    spectra = []
    for picture in (lower, upper):
        edges = (picture[1:, 1:] - picture[:-1, 1:]) + 1j * (picture[1:, 1:] - picture[1:, :-1])
        edges = (edges - edges.mean()) * window
        norm = np.sqrt(np.sum(np.abs(edges) ** 2))
        if norm < 1e-6:
            return 0, 0
        spectra.append(np.fft.fft2(edges / norm))
    match = np.fft.ifft2(spectra[0] * spectra[1].conj()).real
    near = np.roll(match, (reach, reach), axis=(0, 1))[: 2 * reach + 1, : 2 * reach + 1]
    still = float(match[0, 0])
    best = float(near.max())
    row, column = np.unravel_index(near.argmax(), near.shape)
    at = (int(column) - reach, int(row) - reach)
    if best < 0.3 or still > 0.7 * best:
        return 0, 0
    inner = lower[reach:-reach, reach:-reach]
    rows, columns = inner.shape
    moved = upper[reach - at[1] :, reach - at[0] :][:rows, :columns]
    before = float(np.sqrt(np.mean((inner - upper[reach:-reach, reach:-reach]) ** 2)))
    after = float(np.sqrt(np.mean((inner - moved) ** 2)))
    return at if before > limit.block and after < 0.7 * before else (0, 0)


def resized(means: Floats, width: int, height: int, box: tuple[float, float]) -> Floats:
    """Shrink a picture, (rows, columns, bands), with a Lanczos kernel; ``box`` is what of it is covered."""
    bands = [
        Image.fromarray(np.ascontiguousarray(means[..., i])).resize(
            (width, height), Image.Resampling.LANCZOS, box=(0, 0, *box)
        )
        for i in range(means.shape[2])
    ]
    return np.stack([np.asarray(b) for b in bands], axis=2)


def unlike_reference(
    top: Floats, reference: Floats, grain: Floats, tolerance: float, detail: Floats | None = None
) -> str | None:
    """Compare a picture with its source; both are small, of one size, (rows, columns, bands).

    Parameters
    ----------
    grain
        How much the source's pixels differ within each of those, (rows, columns): where they do, a little
        comes through every kernel, in another pattern from each.
    tolerance
        By how much a pixel may differ where nothing is near that differs from it; half of it on the whole.
    detail
        How much of the pyramid's own detail each of those pixels stands for, (rows, columns): what is lost
        when colour is stored at half resolution. ``None`` where colour is stored whole.

    Returns
    -------
    What is wrong, or ``None``.
    """
    apart = np.abs(top - reference).max(axis=2)
    contrast = _widest(reference.max(axis=2)) + _widest(-reference.min(axis=2))
    lost = np.zeros_like(apart) if detail is None else _widest(detail)
    wrong = apart > tolerance + contrast / 2 + _GRAIN_SHARE * _widest(grain) + lost
    if wrong.mean() > 0.02 or _dense(wrong):
        return f"{_percent(wrong)} of it differs by up to {apart[wrong].max():.0f}"
    offset = np.abs((top - reference).mean(axis=(0, 1))).max()
    if offset > tolerance / 2 + _GRAIN_SHARE / 2 * grain.mean() + lost.mean():
        return f"it is off by {offset:.1f} throughout"
    seen = reference.std(axis=(0, 1)).max()
    if seen > tolerance + _GRAIN_SHARE * grain.mean() and correlation(top, reference) < 0.5:
        return "it shows something else"
    return None


# Stripes of one pixel, halved with a Lanczos kernel from 257 and from 256 pixels: 0.21, their mean 0.13.
_GRAIN_SHARE = 0.3


def _dense(wrong: Mask) -> bool:
    """Whether some window is wrong in more than a third of it, such as one tile of many."""
    height, width = wrong.shape
    for top in range(0, height, _WINDOW // 2):
        for left in range(0, width, _WINDOW // 2):
            part = wrong[top : top + _WINDOW // 2, left : left + _WINDOW // 2]
            if part.size >= 4 and part.mean() > 1 / 3:
                return True
    return False


def _percent(mask: Mask) -> str:
    share = 100 * float(mask.mean())
    return f"{share:.0f} %" if share >= 1 else f"{share:.2g} %"
