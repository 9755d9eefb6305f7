"""What a conversion is told and what it gives back; plain values, no I/O."""

from __future__ import annotations

import builtins
from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """The largest width and height, in pixels, that a pyramid may have; both hold."""

    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a box must be at least 1 x 1, not {self}")

    def __str__(self) -> str:
        return f"{self.width} x {self.height}"


ARCHIVED_BOX = Box(4000, 4000)
"""The box of every pyramid that is not restricted by copyright."""

COPYRIGHT_BOX = Box(843, 560)
"""The box of a copyrighted file's pyramid."""


@dataclass(frozen=True)
class ConvertOptions:
    """How to make a pyramid.

    Attributes
    ----------
    profile
        Name of a profile in `marble_images.pyramid.profiles.PROFILES`.
    box
        The pyramid's largest width and height; larger sources are shrunk, none is enlarged.
    background
        8-bit sRGB colour that transparent pixels are composited on.
    max_pixels
        Sources that say they have more pixels are refused before they are decoded.
    max_pages
        At most so many pages of a source are looked at and counted.
    source_sha256
        Hexadecimal SHA-256 of the source if it is known; computed otherwise. Written into the pyramid.
    dpi
        Resolution at which the page of a PDF is rendered; every pyramid says 300.
    durable
        Whether the pyramid outlives a power cut once it is there. Waiting for the disk takes as long as a
        tenth of the conversion, which a folder that does not outlive the machine either need not pay.
    """

    profile: str = "deflate"
    box: Box = ARCHIVED_BOX
    background: tuple[int, int, int] = (255, 255, 255)
    max_pixels: int = 2_000_000_000
    max_pages: int = 500
    source_sha256: str | None = None
    dpi: float = 300.0
    durable: bool = True


@dataclass(frozen=True)
class Pyramid:
    """A pyramid that was written and found valid.

    Attributes
    ----------
    width, height
        Pixels of the full-resolution level.
    levels, tile_size
        What the IIIF server needs to know: TIFF pages, and the side of a tile in pixels.
    bytes, sha256
        Size and checksum of the file.
    profile
        Name of the profile it was written with.
    bands
        1 for grey, 3 for sRGB.
    source_format, source_width, source_height, source_pages
        What the source was: the format's name, its stored size in pixels (before orientation), and how
        many pages it has (at most ``max_pages`` are counted, save in a PDF).
    warnings
        What was odd about the source and how it was taken.
    seconds
        Wall time by step: ``convert``, ``validate``.
    thumbnail
        JPEG of at most 256 pixels a side, a few kB.
    """

    width: int
    height: int
    levels: int
    tile_size: int
    bytes: int
    sha256: str
    profile: str
    bands: int
    source_format: str
    source_width: int
    source_height: int
    source_pages: int
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    thumbnail: builtins.bytes
