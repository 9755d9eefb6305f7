"""Writes an upright 8-bit picture as a pyramid TIFF."""

from __future__ import annotations

import struct
from pathlib import Path

from marble_images.errors import CorruptImage, PyramidTooLarge
from marble_images.pyramid.geometry import level_sizes, tile_size
from marble_images.pyramid.profiles import Profile
from marble_images.pyramid.vips import VipsImage, pyvips
from marble_images.pyramid.write_lossless import DataTooLarge, write_lossless

_LARGEST_TIFF = 2**32 - 1
_MM_PER_INCH = 25.4
_ORIENTATION = 274
_HEADER, _ENTRY = 8, 12


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
    if profile.lossless:
        try:
            write_lossless(
                image,
                path,
                tile=tile,
                levels=levels,
                zstd_level=profile.level,
                description=description,
                dpi=dpi,
            )
        except DataTooLarge as problem:
            raise _too_large(image, profile) from problem
    else:
        _write_with_libvips(image, path, profile, tile=tile, description=description, dpi=dpi)
    if path.stat().st_size > _LARGEST_TIFF:
        raise _too_large(image, profile)
    return len(levels), tile


def _write_with_libvips(
    image: VipsImage, path: Path, profile: Profile, *, tile: int, description: str, dpi: float
) -> None:
    described = image.copy(xres=dpi / _MM_PER_INCH, yres=dpi / _MM_PER_INCH)
    described.set_type(pyvips.GValue.gstr_type, "image-description", description)
    try:
        described.tiffsave(
            str(path),
            tile=True,
            tile_width=tile,
            tile_height=tile,
            pyramid=True,
            resunit="inch",
            bigtiff=False,
            **profile.save_options(),
        )
    except pyvips.Error as problem:
        if "4GB" in str(problem) or "Maximum TIFF file size" in str(problem):
            raise _too_large(image, profile) from problem
        raise
    _drop_orientation(path)


def _too_large(image: VipsImage, profile: Profile) -> PyramidTooLarge:
    return PyramidTooLarge(
        f"a {profile.name} pyramid of {image.width} x {image.height} pixels does not fit into 4 GiB"
    )


def _drop_orientation(path: Path) -> None:
    """Take the tag Orientation out of every page: libvips always writes one, a pyramid has none."""
    with path.open("r+b") as file:
        order = "<" if file.read(2) == b"II" else ">"
        file.seek(4)
        (at,) = struct.unpack(f"{order}I", file.read(4))
        while at:
            file.seek(at)
            (count,) = struct.unpack(f"{order}H", file.read(2))
            body = file.read(count * _ENTRY + 4)
            if len(body) < count * _ENTRY + 4:
                raise CorruptImage("the pyramid that was written has a damaged directory")
            entries = [body[i : i + _ENTRY] for i in range(0, count * _ENTRY, _ENTRY)]
            kept = [e for e in entries if struct.unpack(f"{order}H", e[:2])[0] != _ORIENTATION]
            following = body[count * _ENTRY :]
            padding = bytes(_ENTRY * (count - len(kept)))
            file.seek(at)
            file.write(struct.pack(f"{order}H", len(kept)) + b"".join(kept) + following + padding)
            (at,) = struct.unpack(f"{order}I", following)
