"""Judges the tags of a pyramid TIFF: the first half of ``docs/valid-pyramid.md``."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

from marble_images.pyramid.geometry import level_sizes, tile_size
from marble_images.pyramid.model import Box
from marble_images.pyramid.tiff_tags import Page, TagError, TiffTags
from marble_images.pyramid.tiles import COMPRESSIONS, DEFLATE, HORIZONTAL, JPEG, WEBP, YCBCR, ZSTD, Level

TAG_OF_PROFILE = {"deflate": DEFLATE, "jpeg": JPEG, "webp": WEBP, "zstd": ZSTD}
"""Compression, by the name of the profile: this page's own list, so that a slip in the writer's shows."""

_MIN_IS_BLACK, _RGB = 1, 2
_PHOTOMETRICS = {
    0: "min is white",
    _MIN_IS_BLACK: "min is black",
    _RGB: "RGB",
    3: "palette",
    4: "mask",
    5: "CMYK",
    YCBCR: "YCbCr",
    8: "CIE Lab",
}
_CM_PER_INCH = 2.54
_DPI_TOLERANCE = 0.5
# A profile whose colours are this close, in 8-bit values, to sRGB is sRGB. Grey may have a plain gamma of
# 2.2, which differs most in the shadows.
_SRGB_TOLERANCE = 6
_GREY_TOLERANCE = 24

ErrorOrWarning = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a pyramid.

    Attributes
    ----------
    kind
        A pyramid with an ``error`` is not valid; a ``warning`` does no harm.
    where
        ``file``, or the level: ``level 0`` is the full resolution.
    message
        One line.
    """

    kind: ErrorOrWarning
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.message}"


def error(where: str, message: str) -> Problem:
    """A problem that makes a pyramid invalid."""
    return Problem("error", where, message)


def layout_problems(pages: list[Page], file: TiffTags) -> Iterator[Problem]:
    """What is wrong with sizes, pixel format and tiles: with any of it, pixels cannot be compared."""
    width, height = pages[0].integer(256, 0), pages[0].integer(257, 0)
    if width < 1 or height < 1:
        yield error("level 0", f"its size is {width} x {height}")
        return
    tile = tile_size(width, height)
    due = level_sizes(width, height, tile)
    if len(pages) != len(due):
        yield error(
            "file", f"it has {len(pages)} pages, a pyramid of {width} x {height} has {len(due)} levels"
        )
    for i, (page, size) in enumerate(zip(pages, due, strict=False)):
        found = _messages(_size(page, size, tile), _pixel_format(page), _tile_table(page, file))
        yield from (error(f"level {i}", message) for message in found)
    if len({(p.integer(259, 1), p.integer(262, 0), p.integer(277, 1)) for p in pages}) > 1:
        yield error("file", "its levels are not all stored in the same way")


def other_problems(
    pages: list[Page], box: Box | None, profile: str | None, dpi: float | None
) -> Iterator[Problem]:
    """What else is wrong with the tags."""
    width, height = pages[0].integer(256, 0), pages[0].integer(257, 0)
    if box is not None and (width > box.width or height > box.height):
        yield error("level 0", f"{width} x {height} pixels do not fit the box of {box}")
    for i, page in enumerate(pages):
        found = _messages(
            _compression(page, profile), _extras(page), () if dpi is None else _resolution(page, dpi)
        )
        yield from (error(f"level {i}", message) for message in found)
        if bool(page.integer(254, 0) & 1) != (i > 0):
            yield Problem(
                "warning", f"level {i}", "its NewSubfileType does not say whether it is a reduced one"
            )


def _messages(*sources: Iterable[str]) -> Iterator[str]:
    for source in sources:
        try:
            yield from source
        except TagError as problem:
            yield str(problem)


def _size(page: Page, due: tuple[int, int], tile: int) -> Iterator[str]:
    found = (page.integer(256, 0), page.integer(257, 0))
    if found != due:
        yield f"it is {found[0]} x {found[1]} pixels instead of {due[0]} x {due[1]}"
    tiles = (page.integer(322, 0), page.integer(323, 0))
    if tiles == (0, 0):
        yield "it has strips instead of tiles"
    elif tiles != (tile, tile):
        yield f"its tiles are {tiles[0]} x {tiles[1]} pixels instead of {tile} x {tile}"


def _compression(page: Page, profile: str | None) -> Iterator[str]:
    compression = page.integer(259, 1)
    if profile is not None and TAG_OF_PROFILE.get(profile) != compression:
        name = COMPRESSIONS.get(compression, str(compression))
        yield f"its compression is {name}, not that of the profile {profile}"


def _extras(page: Page) -> Iterator[str]:
    if 330 in page:
        yield "it has SubIFDs"
    if page.integer(274, 1) != 1:
        yield f"its orientation tag is {page.integer(274, 1)}"
    wrong = profile_problem(page.data(34675), page.integer(277, 1)) if 34675 in page else None
    if wrong:
        yield wrong


def _pixel_format(page: Page) -> Iterator[str]:
    compression = page.integer(259, 1)
    if compression not in TAG_OF_PROFILE.values():
        yield f"its compression is {COMPRESSIONS.get(compression, compression)}, which is that of no profile"
    bands = page.integer(277, 1)
    if bands not in (1, 3):
        yield f"it has {bands} bands instead of 1 or 3"
    photometric = page.integer(262, -1)
    allowed = {_MIN_IS_BLACK} if bands == 1 else {_RGB, YCBCR} if compression == JPEG else {_RGB}
    if photometric not in allowed:
        name = _PHOTOMETRICS.get(photometric, str(photometric))
        yield f"its photometric interpretation is {name} for {bands} bands"
    bits = page.integers(258) or (1,)
    if set(bits) != {8} or len(bits) not in (1, bands):
        yield f"its samples have {', '.join(map(str, bits))} bits instead of 8"
    if set(page.integers(339) or (1,)) != {1}:
        yield "its samples are not unsigned integers"
    if 338 in page:
        yield "it has an extra channel, such as alpha"
    if page.integer(284, 1) != 1:
        yield "its bands are stored in separate planes"
    if page.integer(266, 1) != 1:
        yield "its bits are stored in reverse order"
    if page.integer(317, 1) not in (1, HORIZONTAL):
        yield f"its predictor is {page.integer(317, 1)}, which is not for 8-bit integers"


def _tile_table(page: Page, file: TiffTags) -> Iterator[str]:
    level = Level.of_page(page)
    if level.tile < 1 or level.width < 1 or level.height < 1:
        return
    due = level.across * level.down
    if len(level.offsets) != due or len(level.counts) != due:
        yield f"it lists {len(level.offsets)} tiles and {len(level.counts)} sizes of tiles instead of {due}"
        return
    empty = sum(count == 0 for count in level.counts)
    if empty:
        yield f"{empty} of its {due} tiles are empty"
    ends = zip(level.offsets, level.counts, strict=True)
    outside = sum(start < 8 or start + count > file.size for start, count in ends)
    if outside:
        yield f"{outside} of its {due} tiles lie outside the file"


def _resolution(page: Page, dpi: float) -> Iterator[str]:
    unit = page.integer(296, 2)
    scale = {2: 1.0, 3: _CM_PER_INCH}.get(unit)
    found = [(page.values(tag) or (0.0,))[0] for tag in (282, 283)]
    if scale is None or not all(found):
        yield "it has no resolution"
    elif any(abs(value * scale - dpi) > _DPI_TOLERANCE for value in found):
        yield f"its resolution is {found[0] * scale:g} x {found[1] * scale:g} dpi instead of {dpi:g}"


@functools.lru_cache(maxsize=8)
def profile_problem(icc: bytes, bands: int) -> str | None:
    """What is wrong with an ICC profile of a pyramid, found out by converting colours with it to sRGB."""
    mode = "L" if bands == 1 else "RGB"
    ramp = np.linspace(0, 255, 16).round().astype(np.uint8)
    patches = ramp[:, None] if bands == 1 else np.stack(np.meshgrid(ramp, ramp, ramp), -1).reshape(-1, 16, 3)
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        space = profile.profile.xcolor_space.strip()
        if space != ("GRAY" if bands == 1 else "RGB"):
            return f"its ICC profile is for {space} pixels"
        srgb = ImageCms.createProfile("sRGB")
        seen = ImageCms.profileToProfile(
            Image.fromarray(patches, mode),
            profile,
            srgb,
            outputMode="RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, SyntaxError):
        return "its ICC profile is broken"
    due = np.asarray(Image.fromarray(patches, mode).convert("RGB"), np.int16)
    apart = np.abs(np.asarray(seen, np.int16) - due).max()
    if apart > (_GREY_TOLERANCE if bands == 1 else _SRGB_TOLERANCE):
        return f"its ICC profile is not {'a grey of gamma 2.2' if bands == 1 else 'sRGB'}"
    return None
