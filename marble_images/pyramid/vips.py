"""libvips as this package uses it: set up once per process, on import."""

from __future__ import annotations

import os
from typing import Any, TypeAlias

# One thread a process: pictures are converted side by side in processes, and libvips reads this when it
# starts. A person's own setting wins.
os.environ.setdefault("VIPS_CONCURRENCY", "1")
# What libvips warns of is read from its error buffer; on the terminal of a service it is noise.
os.environ.setdefault("VIPS_WARNING", "hidden")
os.environ.setdefault("VIPS_BLOCK_UNTRUSTED", "1")

import pyvips as _pyvips

from marble_images.errors import SettingsError

pyvips: Any = _pyvips
"""The module. Untyped: its type hints allow neither numbers for lists of them nor options in a dict."""

VipsImage: TypeAlias = Any
"""A ``pyvips.Image``."""

# These write all-black pyramids from TIFFs with large strips.
_BROKEN_VERSIONS = {(8, 17, 0), (8, 17, 1)}
# The oldest that is tested; older ones treat alpha in TIFFs otherwise.
_OLDEST = (8, 16, 0)


def version() -> tuple[int, int, int]:
    """The version of the libvips in use."""
    return pyvips.version(0), pyvips.version(1), pyvips.version(2)


def check_version(found: tuple[int, int, int]) -> None:
    """Refuse a libvips that is known to damage pictures or lacks what is used here.

    Raises
    ------
    SettingsError
        The version is one of those; the message names it.
    """
    name = ".".join(map(str, found))
    if found in _BROKEN_VERSIONS:
        raise SettingsError(f"libvips {name} writes black pyramids from some TIFFs; use another version")
    if found < _OLDEST:
        raise SettingsError(f"libvips {name} is too old; {'.'.join(map(str, _OLDEST))} or newer is needed")


def has_operation(name: str) -> bool:
    """Whether this libvips was built with an operation, such as ``heifload``."""
    try:
        pyvips.Introspect.get(name)
    except pyvips.Error:
        return False
    return True


check_version(version())
# Operations are never repeated in a process, and a cached file that was rewritten would come back old.
pyvips.cache_set_max(0)
pyvips.cache_set_max_mem(0)
pyvips.cache_set_max_files(0)
# Also where libvips was loaded before the variable above was set; it is in every libvips since 8.13.
pyvips.block_untrusted_set(True)


def take_complaints() -> str:
    """What libvips' loaders have complained about without giving up, since this was last asked."""
    return str(pyvips.Error("").detail or "")
