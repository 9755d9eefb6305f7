"""A decoded picture, whatever it was read from, and the ways in which decoding fails."""

from __future__ import annotations

import errno
import logging
import os
import re
import struct
import zlib
from dataclasses import dataclass, field
from enum import Enum

from marble_images.errors import (
    ConversionOutOfMemory,
    CorruptImage,
    ImageError,
    ImageTooLarge,
    NoDiskSpace,
    TruncatedImage,
    UnsupportedFormat,
)
from marble_images.formats import ImageFormat
from marble_images.pyramid.model import ConvertOptions
from marble_images.pyramid.vips import VipsImage

# Without a handler of its own, what it thinks of damaged files goes to the terminal.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


class Space(str, Enum):
    """What a picture's colour bands mean; the value is how many they are and of what."""

    GREY = "grey"
    RGB = "RGB"
    CMYK = "CMYK"
    LAB = "Lab"
    LINEAR = "linear RGB"

    @property
    def bands(self) -> int:
        """How many bands the colour takes."""
        return {Space.GREY: 1, Space.CMYK: 4}.get(self, 3)


class Alpha(Enum):
    """Whether the band after the colour bands is opacity, and whether colours are multiplied by it."""

    NONE = 0
    STRAIGHT = 1
    ASSOCIATED = 2


@dataclass(frozen=True)
class Picture:
    """One decoded page, before colour conversion; its pixels may still be read lazily from the source.

    Attributes
    ----------
    image
        The colour bands, then the alpha band if there is one; further bands are ignored. In the space Lab:
        floats, L from 0 to 100. In linear RGB: floats, 1 is white.
    space, alpha
        What the bands mean.
    maximum
        The sample value of full intensity: 255, 65535, 4095 ...
    format
        The source's format.
    width, height
        The page's stored size in pixels; ``image`` is smaller where the decoder shrank on load.
    pages
        How many pages the source has.
    orientation
        EXIF orientation, 1 to 8, still to be applied.
    profile
        The ICC profile, unchecked.
    complaints
        What libvips' loader, when it is done, must not have complained about.
    warnings
        What was odd.
    """

    image: VipsImage
    space: Space
    format: ImageFormat
    width: int
    height: int
    alpha: Alpha = Alpha.NONE
    maximum: float = 255.0
    pages: int = 1
    orientation: int = 1
    profile: bytes | None = None
    complaints: re.Pattern[str] | None = None
    warnings: tuple[str, ...] = field(default=())


DECODER_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    SyntaxError,
    EOFError,
    AssertionError,
    struct.error,
    zlib.error,
)
"""What decoders written in Python raise on damaged files; memory errors are not among it."""

_MISSING = re.compile(
    r"truncat|premature|end of (file|data|image|input)|\bEOF\b|unexpected end|read error|not enough|too short"
    r"|incomplete|insufficient|seek error|out of data|insufficent|broken data stream",
    re.IGNORECASE,
)

# libheif's and libtiff's words for a codec that they were built without.
_NO_CODEC = re.compile(
    r"has not been built in: ([\w .-]+?) \(|^.*?([\w. -]+?) compression support is not configured",
    re.MULTILINE,
)

_NO_MEMORY = re.compile(r"insufficient memory|out of memory|unable to allocate|can't allocate", re.IGNORECASE)


def decoding_error(image_format: ImageFormat, problem: BaseException | str) -> ImageError:
    """The error of a decoder that gave up: its own message goes into the detail only.

    Raises
    ------
    NoDiskSpace
        The decoder gave up because a temporary file found no room.
    """
    if isinstance(problem, ImageError):
        return problem
    text = str(problem)
    if no_room(problem):
        raise NoDiskSpace("no room for temporary files", detail=text)
    if _NO_MEMORY.search(text):
        return ConversionOutOfMemory(f"the {image_format} file needs more memory than there is", detail=text)
    codec = _NO_CODEC.search(text)
    if codec:
        return UnsupportedFormat(
            f"{image_format} images compressed as {(codec[1] or codec[2]).strip()} are not read", detail=text
        )
    if _MISSING.search(text):
        return TruncatedImage(f"the {image_format} file is truncated", detail=text)
    return CorruptImage(f"the {image_format} file is damaged", detail=text or type(problem).__name__)


def no_room(problem: BaseException | str) -> bool:
    """Whether a disk was full, by an operating system's error or by what libvips says of it."""
    if isinstance(problem, OSError):
        return problem.errno in (errno.ENOSPC, errno.EDQUOT)
    return os.strerror(errno.ENOSPC) in str(problem)


def check_size(width: int, height: int, options: ConvertOptions) -> None:
    """Refuse a size that the source claims, before anything is decoded.

    Raises
    ------
    ImageTooLarge
        There would be more pixels than ``options.max_pixels``.
    CorruptImage
        A side has no pixel.
    """
    if width < 1 or height < 1:
        raise CorruptImage(f"the image says that it is {width} x {height} pixels")
    if width * height > options.max_pixels:
        raise ImageTooLarge(
            f"the image has {width} x {height} pixels, more than the limit of {options.max_pixels:,}"
        )
