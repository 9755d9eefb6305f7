"""The ways in which a pyramid's tiles can be stored, by name."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from marble_images.errors import SettingsError


@dataclass(frozen=True)
class Profile:
    """How the tiles of a pyramid are stored.

    Attributes
    ----------
    name
        What it is called in settings and in the pyramid's provenance.
    compression
        The ``compression`` of libvips' TIFF writer.
    tag
        The value of the TIFF tag Compression that it writes.
    lossless
        Whether the pixels come back exactly.
    quality
        Quality of a lossy compression, 1 to 100.
    level
        Effort of Zstandard; for deflate it is chosen tile by tile.
    grey
        Whether grey pictures can be stored with one band; they are stored as RGB otherwise.
    description
        One line for people who choose.
    """

    name: str
    compression: str
    tag: int
    lossless: bool
    description: str
    quality: int | None = None
    level: int | None = None
    grey: bool = True

    def save_options(self) -> dict[str, Any]:
        """The arguments of libvips' ``tiffsave`` that a lossy profile stands for."""
        return {"compression": self.compression, "Q": self.quality}


# Lossless tiles are written without libvips: its zlib takes three times as long for more bytes.
_DEFLATE = Profile(
    "deflate",
    "deflate",
    8,
    lossless=True,
    description="lossless, every server reads it",
)
# From Q 90 on libvips stores colour at full resolution, so no edge bleeds; below, differences show.
_JPEG = Profile(
    "jpeg",
    "jpeg",
    7,
    lossless=False,
    quality=90,
    description="no visible loss, a third of the size, half the work to serve",
)
_WEBP = Profile(
    "webp",
    "webp",
    50001,
    lossless=False,
    quality=90,
    grey=False,
    description="a tenth of the size, but slow to write and few programs read it",
)
_ZSTD = Profile(
    "zstd",
    "zstd",
    50000,
    lossless=True,
    level=9,
    description="lossless, quickest with iipsrv; servers that use sharp cannot read it",
)

PROFILES: Mapping[str, Profile] = MappingProxyType({p.name: p for p in (_DEFLATE, _JPEG, _WEBP, _ZSTD)})
"""Every profile by name; whether this libvips can write one is for `available` to say."""


@functools.cache
def available(name: str) -> bool:
    """Whether a profile can be written; found out by libvips writing one tile, where libvips writes it."""
    if PROFILES[name].lossless:
        return True
    from marble_images.pyramid.vips import pyvips

    try:
        pyvips.Image.black(16, 16, bands=3).tiffsave_buffer(tile=True, **PROFILES[name].save_options())
    except pyvips.Error:
        return False
    return True


def get_profile(name: str) -> Profile:
    """The profile of a name.

    Raises
    ------
    SettingsError
        There is none of that name, or the libvips in use cannot write it.
    """
    if name not in PROFILES:
        raise SettingsError(f"there is no pyramid profile {name!r}; there are {', '.join(PROFILES)}")
    if not available(name):
        from marble_images.pyramid.vips import version

        found = ".".join(map(str, version()))
        raise SettingsError(f"libvips {found} was built without what the pyramid profile {name!r} needs")
    return PROFILES[name]
