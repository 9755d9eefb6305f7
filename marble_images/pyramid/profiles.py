"""The ways in which a pyramid's tiles can be stored, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from marble_images.errors import SettingsError


@dataclass(frozen=True)
class Profile:
    """How the tiles of a pyramid are stored.

    Attributes
    ----------
    name
        What it is called in settings and in the pyramid's provenance.
    tag
        The value of the TIFF tag Compression that it writes.
    codec
        The constant of imagecodecs that says whether its encoder is there.
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
    tag: int
    codec: str
    lossless: bool
    description: str
    quality: int | None = None
    level: int | None = None
    grey: bool = True


_DEFLATE = Profile(
    "deflate",
    8,
    "DEFLATE",
    lossless=True,
    description="lossless, every server reads it",
)
# Colour at full resolution, and no quality below: what less would save shows at edges. See docs/profiles.md.
_JPEG = Profile(
    "jpeg",
    7,
    "JPEG8",
    lossless=False,
    quality=90,
    description="no visible loss, a seventh of the size, half the work to serve",
)
_WEBP = Profile(
    "webp",
    50001,
    "WEBP",
    lossless=False,
    quality=90,
    grey=False,
    description="a twelfth of the size, but slow to write and few programs read it",
)
_ZSTD = Profile(
    "zstd",
    50000,
    "ZSTD",
    lossless=True,
    level=9,
    description="lossless, quickest with iipsrv; servers that use sharp cannot read it",
)

PROFILES: Mapping[str, Profile] = MappingProxyType({p.name: p for p in (_DEFLATE, _JPEG, _WEBP, _ZSTD)})
"""Every profile by name; whether one can be written here is for `available` to say."""


def available(name: str) -> bool:
    """Whether a profile can be written: builds of imagecodecs differ in what they bring."""
    import imagecodecs

    return bool(getattr(imagecodecs, PROFILES[name].codec).available)


def get_profile(name: str) -> Profile:
    """The profile of a name.

    Raises
    ------
    SettingsError
        There is none of that name, or its encoder is not in the imagecodecs in use.
    """
    if name not in PROFILES:
        raise SettingsError(f"there is no pyramid profile {name!r}; there are {', '.join(PROFILES)}")
    if not available(name):
        raise SettingsError(f"imagecodecs was built without what the pyramid profile {name!r} needs")
    return PROFILES[name]
