"""Writes an upright 8-bit picture as a pyramid TIFF."""

from __future__ import annotations

from pathlib import Path

from marble_images.errors import PyramidTooLarge
from marble_images.pyramid.encoders import encoder
from marble_images.pyramid.geometry import level_sizes, tile_size
from marble_images.pyramid.profiles import Profile
from marble_images.pyramid.vips import VipsImage
from marble_images.pyramid.write_tiles import DataTooLarge, write_levels

_LARGEST_TIFF = 2**32 - 1


def write_pyramid(
    image: VipsImage, path: Path, profile: Profile, *, description: str, dpi: float = 300.0
) -> tuple[int, int]:
    """Write a pyramid; the same picture, profile and description always give the same bytes.

    Parameters
    ----------
    image
        8-bit sRGB (3 bands) or grey (1 band), without metadata.
    description
        The TIFF tag ImageDescription.
    dpi
        Pixels an inch, written as the resolution of every level.

    Returns
    -------
    Number of levels, side of a tile in pixels.

    Raises
    ------
    PyramidTooLarge
        The pyramid does not fit into a classic TIFF.
    """
    if image.bands == 1 and not profile.grey:
        image = image.bandjoin([image, image]).copy(interpretation="srgb")
    tile = tile_size(image.width, image.height)
    levels = level_sizes(image.width, image.height, tile)
    try:
        write_levels(
            image,
            path,
            encoder(profile, tile, image.bands),
            tile=tile,
            levels=levels,
            description=description,
            dpi=dpi,
        )
    except DataTooLarge as problem:
        raise _too_large(image, profile) from problem
    if path.stat().st_size > _LARGEST_TIFF:
        raise _too_large(image, profile)
    return len(levels), tile


def _too_large(image: VipsImage, profile: Profile) -> PyramidTooLarge:
    return PyramidTooLarge(
        f"a {profile.name} pyramid of {image.width} x {image.height} pixels does not fit into 4 GiB"
    )
