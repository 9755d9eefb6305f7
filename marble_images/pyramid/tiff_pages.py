"""Finds the picture in a TIFF: its first full-resolution page, and what that page's tags say."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tifffile

from marble_images.errors import CorruptImage, TruncatedImage, UnsupportedFormat
from marble_images.formats import ImageFormat
from marble_images.pyramid.decode import DECODER_ERRORS, check_size, decoding_error
from marble_images.pyramid.model import ConvertOptions

# What it logs of odd tags harms no picture, or is found here; without a handler it would go to the terminal.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

MINISWHITE, MINISBLACK, RGB, PALETTE, MASK, SEPARATED, YCBCR = range(7)
CIELAB, ICCLAB, ITULAB = 8, 9, 10
LOGL, LOGLUV = 32844, 32845
SEPARATE = 2
_RAW_PHOTOMETRICS = {32803: "CFA", 34892: "linear"}

_REDUCED, _MASK_PAGE = 1, 4
_SUBIFDS, _PHOTOMETRIC, _EXTRA_SAMPLES, _INK_SET, _MAX_SAMPLE = 330, 262, 338, 332, 281
_ORIENTATION, _ICC_PROFILE, _OLD_SUBFILE_TYPE = 274, 34675, 255
_DNG_VERSION, _NODATA = 50706, 42113
# What is not reduced has at least as many pixels; an image pyramid's levels halve, to a pixel.
_HALF_TOLERANCE = 2


@dataclass(frozen=True)
class TiffPicture:
    """The page that is shown.

    Attributes
    ----------
    page
        tifffile's view of it; its tags and, in the last resort, its pixels.
    index, subifd
        Where libvips finds it: page number, and position among that page's SubIFDs or -1; ``index`` is
        -1 where libvips cannot be told.
    pages
        How many pages the file has, reduced copies and masks left out.
    size
        Bytes of the file.
    """

    page: Any
    index: int
    subifd: int
    pages: int
    size: int

    @property
    def photometric(self) -> int:
        """What the samples mean; guessed from their number where the tag is missing."""
        tag = self.page.tags.get(_PHOTOMETRIC)
        if tag is None:
            return RGB if self.samples >= 3 else MINISBLACK
        return int(tag.value)

    @property
    def samples(self) -> int:
        """Samples of a pixel."""
        return int(self.page.samplesperpixel)

    @property
    def bits(self) -> int:
        """Bits of a sample, 0 where samples differ."""
        bits = self.page.bitspersample
        return bits if isinstance(bits, int) else 0

    @property
    def unsigned(self) -> bool:
        """Whether samples are unsigned integers, as they are where no tag says otherwise."""
        return int(self.page.sampleformat) in (1, 4)

    @property
    def extra_samples(self) -> tuple[int, ...] | None:
        """Types of the samples after the colours (1 associated alpha, 2 alpha), ``None`` without the tag."""
        value = self._value(_EXTRA_SAMPLES)
        if value is None:
            return None
        return tuple(int(v) for v in value) if isinstance(value, tuple) else (int(value),)

    @property
    def significant_bits(self) -> int | None:
        """Bits in use of 16-bit samples, where MaxSampleValue says 2^n - 1: 12-bit scanners write it."""
        value = self._value(_MAX_SAMPLE)
        largest = value[0] if isinstance(value, tuple) and value else value
        if not isinstance(largest, int) or self.bits != 16:
            return None
        bits = largest.bit_length()
        return bits if 8 < bits < 16 and largest == 2**bits - 1 else None

    @property
    def shown_planes(self) -> int:
        """How many of the samples, each stored apart, are looked at: extras that mean nothing are not."""
        extras = self.extra_samples
        return self.samples if extras is None or any(extras) else max(1, self.samples - len(extras))

    @property
    def pieces(self) -> list[tuple[int, int]]:
        """Offset and size of each strip or tile that is looked at."""
        pieces = list(zip(self.page.dataoffsets, self.page.databytecounts, strict=False))
        if int(self.page.planarconfig) != SEPARATE or self.samples < 2:
            return pieces
        return pieces[: len(pieces) // self.samples * self.shown_planes]

    @property
    def overhanging(self) -> bool:
        """Whether a piece of the picture is said to go on past the end of the file."""
        return any(offset + count > self.size for offset, count in self.pieces)

    @property
    def orientation(self) -> int:
        """Orientation, 1 where it is missing or makes no sense."""
        value = self._value(_ORIENTATION)
        return int(value) if isinstance(value, int) and 1 <= value <= 8 else 1

    @property
    def profile(self) -> bytes | None:
        """The embedded ICC profile."""
        value = self._value(_ICC_PROFILE)
        return bytes(value) if isinstance(value, (bytes, bytearray)) else None

    @property
    def nodata(self) -> float | None:
        """The sample value that means that nothing was measured there: GDAL's tag."""
        try:
            return float(str(self._value(_NODATA)).strip("\0 "))
        except ValueError:
            return None

    @property
    def ink_set(self) -> int:
        """1 for CMYK."""
        value = self._value(_INK_SET)
        return int(value) if isinstance(value, int) else 1

    def rationals(self, tag: int) -> tuple[float, ...] | None:
        """The values of a tag of fractions, ``None`` where it is missing or divides by zero."""
        value = self._value(tag)
        if not isinstance(value, tuple) or len(value) < 2 or not all(value[1::2]):
            return None
        return tuple(a / b for a, b in zip(value[0::2], value[1::2], strict=True))

    def _value(self, tag: int) -> Any:
        found = self.page.tags.get(tag)
        try:
            return None if found is None else found.value
        except DECODER_ERRORS:
            return None


@contextmanager
def open_tiff(path: Path, options: ConvertOptions) -> Iterator[TiffPicture]:
    """Find the picture of a TIFF file.

    Raises
    ------
    TruncatedImage, CorruptImage
        The directory of pages cannot be read, or a page's data lies past the end of the file.
    UnsupportedFormat
        It is a camera's raw file.
    ImageTooLarge
        The page has more pixels than allowed.
    """
    _check_header(path)
    try:
        file = tifffile.TiffFile(path)
    except DECODER_ERRORS as problem:
        raise decoding_error(ImageFormat.TIFF, problem) from problem
    with file:
        try:
            picture = _choose(file, options, path.stat().st_size)
            _check(picture, options)
        except DECODER_ERRORS as problem:
            raise decoding_error(ImageFormat.TIFF, problem) from problem
        yield picture


def _check_header(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    if len(head) < (16 if big else 8):
        raise TruncatedImage("the TIFF file is truncated")
    (first,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", head, 8 if big else 4)
    if first >= path.stat().st_size:
        raise TruncatedImage("the TIFF file is truncated: its directory lies past its end")
    if not first:
        raise CorruptImage("the TIFF file has no page")


def _choose(file: tifffile.TiffFile, options: ConvertOptions, size: int) -> TiffPicture:
    pages = _pages(file, options.max_pages)
    if not pages:
        raise CorruptImage("the TIFF file has no page")
    full = [index for index, page in enumerate(pages) if not _kind(page) & (_REDUCED | _MASK_PAGE)]
    count = max(1, len(full))
    if full and full[0] == 0:
        index = _top_of_pyramid(pages)
        count = count if index == 0 else 1
        return TiffPicture(pages[index], index, -1, count, size)
    # The first page is a thumbnail: what it is of comes in its SubIFDs (camera files) or among later pages.
    below = [(position, page) for position, page in _subifds(pages[0]) if not _kind(page) & _REDUCED]
    if below:
        position, page = max(below, key=lambda item: _area(item[1]))
        return TiffPicture(page, 0, position, count, size)
    index = full[0] if full else max(range(len(pages)), key=lambda i: _area(pages[i]))
    return TiffPicture(pages[index], index, -1, count, size)


def _pages(file: tifffile.TiffFile, limit: int) -> list[Any]:
    """The first pages of the main chain; damage after the first one ends the list."""
    pages: list[Any] = [file.pages[0]]
    for index in range(1, limit):
        try:
            pages.append(file.pages[index])
        except DECODER_ERRORS:
            break
    return pages


def _subifds(page: Any) -> list[tuple[int, Any]]:
    found: list[tuple[int, Any]] = []
    if page.tags.get(_SUBIFDS) is None or page.pages is None:
        return found
    for position in range(len(page.subifds or ())):
        try:
            found.append((position, page.pages[position]))
        except DECODER_ERRORS:
            continue
    return found


def _kind(page: Any) -> int:
    """NewSubfileType, or what the older SubfileType says in its terms."""
    tag = page.tags.get(254)
    if tag is not None:
        return int(tag.value)
    old = page.tags.get(_OLD_SUBFILE_TYPE)
    return _REDUCED if old is not None and old.value == 2 else 0


def _area(page: Any) -> int:
    return int(page.imagewidth) * int(page.imagelength)


def _top_of_pyramid(pages: list[Any]) -> int:
    """The index of the largest level, where unmarked pages are the levels of a pyramid, smallest first."""
    top = 0
    for index in range(1, len(pages)):
        sides = ("imagewidth", "imagelength")
        halves = all(
            abs(getattr(pages[index], side) - 2 * getattr(pages[index - 1], side)) <= _HALF_TOLERANCE
            for side in sides
        )
        if not halves:
            break
        top = index
    # Two pages may be of double size by chance, three are not.
    return top if top >= 2 and top == len(pages) - 1 else 0


def _check(picture: TiffPicture, options: ConvertOptions) -> None:
    page = picture.page
    if _DNG_VERSION in page.parent.pages[0].tags or picture.photometric in _RAW_PHOTOMETRICS:
        raise UnsupportedFormat("camera raw images (DNG) are not read")
    check_size(int(page.imagewidth), int(page.imagelength), options)
    if int(page.imagedepth) > 1:
        raise UnsupportedFormat("TIFF volumes are not read")
    if not page.dataoffsets or not page.databytecounts:
        raise CorruptImage("the TIFF file has a page without picture data")
    pieces = picture.pieces
    outside = sum(1 for offset, count in pieces if offset <= 0 or count <= 0 or offset >= picture.size)
    if outside:
        total = len(pieces)
        raise TruncatedImage(
            f"the TIFF file is truncated: {outside} of {total} pieces of the picture are missing"
        )
