"""PNG, GIF, WebP and AVIF through libvips' own loaders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from marble_images.errors import UnsupportedFormat
from marble_images.formats import ImageFormat
from marble_images.pyramid.decode import Alpha, Picture, Space, check_size, decoding_error
from marble_images.pyramid.embedded import UPRIGHT, from_metadata, of_png
from marble_images.pyramid.model import ConvertOptions
from marble_images.pyramid.vips import VipsImage, pyvips

# By content, never by name. ``fail_on``: libpng warns of harmless ancillary chunks, so "error", which
# refuses damaged pixel data and a missing end; the other loaders know no warnings.
_LOADERS = {
    ImageFormat.PNG: ("pngload", "error"),
    ImageFormat.GIF: ("gifload", "error"),
    ImageFormat.WEBP: ("webpload", "warning"),
    ImageFormat.AVIF: ("heifload", "warning"),
    ImageFormat.HEIC: ("heifload", "warning"),
}

# libheif turns the picture itself; what EXIF says besides is not to be applied again.
_TURNED = {ImageFormat.AVIF, ImageFormat.HEIC}


def read(path: Path, image_format: ImageFormat, options: ConvertOptions) -> Picture:
    """Open a PNG, GIF, WebP, AVIF or HEIC file; animations and bursts give their first picture.

    Raises
    ------
    ImageTooLarge
        The header claims more pixels than allowed; nothing was decoded.
    TruncatedImage, CorruptImage
        The header cannot be read. Damage further on is found when the pixels are read.
    """
    loader, fail_on = _LOADERS[image_format]
    arguments: dict[str, Any] = {"access": "sequential", "fail_on": fail_on}
    if image_format in (ImageFormat.PNG, ImageFormat.AVIF, ImageFormat.HEIC):
        # libvips' own limits are off; ours are checked on the header, below.
        arguments["unlimited"] = True
    try:
        image = getattr(pyvips.Image, loader)(str(path), **arguments)
    except pyvips.Error as problem:
        raise decoding_error(image_format, problem) from problem
    check_size(image.width, image.height, options)
    if image_format is ImageFormat.PNG:
        orientation, icc_profile = of_png(path)
    else:
        orientation = UPRIGHT if image_format in _TURNED else orientation_of(image)
        icc_profile = profile(image)
    return from_vips(image, image_format, orientation, icc_profile)


def from_vips(
    image: VipsImage, image_format: ImageFormat, orientation: int, icc_profile: bytes | None
) -> Picture:
    """A picture of what a libvips loader gave: 1 to 4 bands of 8 or 16 bits."""
    if image.format not in ("uchar", "ushort"):
        raise UnsupportedFormat(f"{image_format} samples of the type {image.format} are not read")
    space = Space.GREY if image.bands < 3 else Space.RGB
    alpha = Alpha.STRAIGHT if image.bands in (2, 4) else Alpha.NONE
    return Picture(
        image=image,
        space=space,
        format=image_format,
        width=image.width,
        height=image.height,
        alpha=alpha,
        # 10 and 12 bits too: libvips stretches them over the type.
        maximum=65535.0 if image.format == "ushort" else 255.0,
        pages=int(field(image, "n-pages") or 1),
        orientation=orientation,
        profile=icc_profile,
    )


def field(image: VipsImage, name: str) -> Any:
    """A metadata field of an image, or ``None``."""
    return image.get(name) if image.get_typeof(name) else None


def orientation_of(image: VipsImage) -> int:
    """EXIF orientation, or XMP's where EXIF has none; 1 where there is none or it makes no sense."""
    return from_metadata(field(image, "exif-data"), field(image, "xmp-data"))


def profile(image: VipsImage) -> bytes | None:
    """The embedded ICC profile."""
    value = field(image, "icc-profile-data")
    return bytes(value) if isinstance(value, (bytes, bytearray)) else None
