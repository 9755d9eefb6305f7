"""Formats that libvips lacks, through Pillow, pillow-heif and imagecodecs; and Pillow as a second opinion."""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pillow_heif
from PIL import Image, ImageFile, UnidentifiedImageError

from marble_images.errors import CorruptImage, UnsupportedFormat
from marble_images.formats import ImageFormat
from marble_images.pyramid.arrays import Array, to_unsigned, to_vips
from marble_images.pyramid.decode import DECODER_ERRORS, Alpha, Picture, Space, check_size, decoding_error
from marble_images.pyramid.embedded import UPRIGHT, from_metadata
from marble_images.pyramid.geometry import fit
from marble_images.pyramid.icons import LARGEST_ICON, one_icon
from marble_images.pyramid.model import ConvertOptions

# Ours are checked on the header before a pixel is decoded.
Image.MAX_IMAGE_PIXELS = None
ImageFile.LOAD_TRUNCATED_IMAGES = False

_PILLOW_NAMES = {
    ImageFormat.BMP: ("BMP", "DIB"),
    ImageFormat.PNM: ("PPM",),
    ImageFormat.JPEG2000: ("JPEG2000",),
    ImageFormat.PSD: ("PSD",),
    ImageFormat.ICO: ("ICO",),
    # Rewritten as an icon: Pillow's own reader of cursors leaves out which pixels are transparent.
    ImageFormat.CUR: ("ICO",),
    ImageFormat.ICNS: ("ICNS",),
    ImageFormat.PCX: ("PCX",),
    ImageFormat.DCX: ("DCX",),
    ImageFormat.SGI: ("SGI",),
    ImageFormat.SUN: ("SUN",),
    ImageFormat.TGA: ("TGA",),
    ImageFormat.QOI: ("QOI",),
    ImageFormat.DDS: ("DDS",),
    ImageFormat.XBM: ("XBM",),
    ImageFormat.FLI: ("FLI",),
    ImageFormat.MSP: ("MSP",),
    ImageFormat.PCD: ("PCD",),
    ImageFormat.IM: ("IM",),
    ImageFormat.IMT: ("IMT",),
    ImageFormat.BLP: ("BLP",),
    ImageFormat.FTEX: ("FTEX",),
    ImageFormat.PIXAR: ("PIXAR",),
    ImageFormat.SPIDER: ("SPIDER",),
    ImageFormat.GBR: ("GBR",),
    ImageFormat.MCIDAS: ("MCIDAS",),
    ImageFormat.XVTHUMB: ("XVTHUMB",),
    ImageFormat.PNG: ("PNG",),
    ImageFormat.GIF: ("GIF",),
    ImageFormat.WEBP: ("WEBP",),
    ImageFormat.TIFF: ("TIFF",),
    ImageFormat.AVIF: ("AVIF",),
}
"""The Pillow plugins that may open a format; no other, whatever the content makes Pillow think."""

# Stored as they are, or as runs, none of which stands for more pixels than this in a byte.
_BOUNDED = {
    *(ImageFormat.BMP, ImageFormat.PNM, ImageFormat.PCX, ImageFormat.DCX, ImageFormat.SGI, ImageFormat.SUN),
    *(ImageFormat.TGA, ImageFormat.QOI, ImageFormat.DDS, ImageFormat.XBM, ImageFormat.FLI),
    *(ImageFormat.MSP, ImageFormat.PCD, ImageFormat.IM, ImageFormat.PSD, ImageFormat.IMT, ImageFormat.BLP),
    *(ImageFormat.FTEX, ImageFormat.PIXAR, ImageFormat.SPIDER, ImageFormat.GBR, ImageFormat.MCIDAS),
    ImageFormat.XVTHUMB,
}
_PIXELS_PER_BYTE = 1024
_MOST_LEVELS = 5
_ICONS = {ImageFormat.ICO, ImageFormat.CUR, ImageFormat.ICNS}
_WINDOWS_ICONS = {ImageFormat.ICO, ImageFormat.CUR}
# Their writers often leave an alpha that means nothing at 0.
_IDLE_ALPHA = {ImageFormat.TGA, ImageFormat.DDS, ImageFormat.BMP, ImageFormat.SGI}
# The headers of PNG, of JP2, and of a bare JPEG 2000 codestream.
_PART_SIZES = re.compile(rb"(?:IHDR|ihdr)(.{4})(.{4})|\xff\x4f\xff\x51.{4}(.{4})(.{4})", re.DOTALL)
# The box that says which part of a picture is shown: libavif leaves it to others.
_CLEAN_APERTURE = b"\x00\x00\x00\x28clap"
# What Pillow says of files that may be whole, but not for it.
_OF_A_KIND = re.compile(
    r"unsupported (BMP|bitcount|number)|unknown (PCX|SGI) mode|unknown TGA map depth", re.IGNORECASE
)
_HUGE = 100_000_000
_DDS_LUMINANCE = 0x20000

_SPACES = {"L": Space.GREY, "RGB": Space.RGB, "CMYK": Space.CMYK}


def read_pillow(path: Path, image_format: ImageFormat, options: ConvertOptions) -> Picture:
    """Decode a file with Pillow.

    Raises
    ------
    ImageTooLarge
        The header claims more pixels than allowed; nothing was decoded.
    TruncatedImage, CorruptImage, UnsupportedFormat
        Pillow cannot read it, or not all of it.
    """
    try:
        # Its complaints about metadata are no news to anyone.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read_pillow(path, image_format, options)
    except UnidentifiedImageError as problem:
        raise CorruptImage(
            f"the header of the {image_format} file cannot be read", detail=str(problem)
        ) from problem
    except NotImplementedError as problem:
        raise UnsupportedFormat(
            f"{image_format} images of this kind are not read", detail=str(problem)
        ) from problem
    except DECODER_ERRORS as problem:
        if _OF_A_KIND.match(str(problem)):
            raise UnsupportedFormat(
                f"{image_format} images of this kind are not read", detail=str(problem)
            ) from problem
        raise decoding_error(image_format, problem) from problem


def _read_pillow(path: Path, image_format: ImageFormat, options: ConvertOptions) -> Picture:
    with _open(path, image_format) as file, Image.open(file, formats=_PILLOW_NAMES[image_format]) as opened:
        check_size(opened.width, opened.height, options)
        _check_claim(opened, image_format, path.stat().st_size)
        if image_format is ImageFormat.AVIF and _CLEAN_APERTURE in path.read_bytes():
            raise UnsupportedFormat("AVIF images of which only a part is to be shown are not read")
        if image_format in _ICONS:
            _check_parts(path, image_format)
        if image_format is ImageFormat.JPEG2000:
            _shrink_on_load(opened, options)
        width, height = opened.size
        pages = min(int(getattr(opened, "n_frames", 1)), options.max_pages)
        opened.load()
        exif = opened.info.get("exif")
        array, space, alpha, maximum, noted = _samples(opened)
        if image_format is ImageFormat.XBM:
            # Set bits are drawn in the foreground's colour, which is black wherever nobody chose another.
            array = 255 - array
        if alpha is Alpha.STRAIGHT and image_format in _IDLE_ALPHA and not array[:, :, -1].any():
            array, alpha = array[:, :, :-1], Alpha.NONE
        if image_format is ImageFormat.DDS and space is Space.RGB and _is_luminance(path):
            array, space = array[:, :, [0, *([3] if alpha is not Alpha.NONE else [])]], Space.GREY
        return Picture(
            image=to_vips(array),
            space=space,
            format=image_format,
            width=width,
            height=height,
            alpha=alpha,
            maximum=maximum,
            pages=pages,
            # Pillow puts the container's own rotation there; of the other formats it turns TIFFs itself.
            orientation=from_metadata(exif, None) if image_format is ImageFormat.AVIF else UPRIGHT,
            profile=opened.info.get("icc_profile"),
            warnings=noted,
        )


def _open(path: Path, image_format: ImageFormat) -> BinaryIO:
    return one_icon(path) if image_format in _WINDOWS_ICONS else path.open("rb")


def _is_luminance(path: Path) -> bool:
    """Whether a DDS says that it is both RGB and grey: Pillow takes the first only, and gives red."""
    with path.open("rb") as file:
        header = file.read(96)
    return bool(int.from_bytes(header[80:84], "little") & _DDS_LUMINANCE) and header[92:] != bytes(4)


def _check_claim(image: Image.Image, image_format: ImageFormat, size: int) -> None:
    """Refuse a header that claims more pixels than the file can hold, before room is made for them."""
    if image_format in _BOUNDED and image.width * image.height > _PIXELS_PER_BYTE * size:
        raise CorruptImage(
            f"the {image_format} file says {image.width} x {image.height} pixels, but has only {size} bytes"
        )


def _check_parts(path: Path, image_format: ImageFormat) -> None:
    """Refuse an icon that holds a PNG or a JPEG 2000 of more pixels than any icon has."""
    for found in _PART_SIZES.finditer(path.read_bytes()):
        across, down = (int.from_bytes(side, "big") for side in found.groups() if side is not None)
        if across * down > LARGEST_ICON**2:
            raise CorruptImage(f"the {image_format} file has a part that says {across} x {down} pixels")


def _shrink_on_load(image: Image.Image, options: ConvertOptions) -> None:
    """Leave out the finest resolutions of a huge JPEG 2000, save one for the better kernel.

    Not of others: each resolution left out moves the picture by up to half a pixel of the next.
    """
    if image.width * image.height <= _HUGE:
        return
    fitted = fit(image.width, image.height, options.box)
    factor = max(image.width / fitted[0], image.height / fitted[1])
    levels = min(_MOST_LEVELS, max(0, int(math.log2(factor)) - 1))
    if levels:
        image.reduce = levels  # type: ignore[method-assign,assignment]


def _samples(image: Image.Image) -> tuple[Array, Space, Alpha, float, tuple[str, ...]]:
    """The samples of a loaded Pillow image, and what they mean."""
    mode = image.mode
    if mode == "LAB":
        raise UnsupportedFormat(f"{image.format} images in Lab are not read")
    if mode in ("I", "F") or mode.startswith("I;"):
        array, maximum, noted = to_unsigned(_three_axes(np.asarray(image)), 1)
        return array, Space.GREY, Alpha.NONE, maximum, noted
    if mode in ("RGBa", "La"):
        array = _three_axes(np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, -1))
        return array, Space.RGB if mode == "RGBa" else Space.GREY, Alpha.ASSOCIATED, 255.0, ()
    # Palettes of TGA files mean the alpha that they have; those of DDS files are seen without it.
    of_palette = mode == "P" and image.format == "TGA" and image.palette and image.palette.mode == "RGBA"
    if mode in ("RGBA", "LA", "PA") or "transparency" in image.info or of_palette:
        converted = image if mode in ("RGBA", "LA") else image.convert("LA" if mode in ("L", "1") else "RGBA")
        space = Space.GREY if converted.mode == "LA" else Space.RGB
        return _three_axes(np.asarray(converted)), space, Alpha.STRAIGHT, 255.0, ()
    converted = image if mode in _SPACES else image.convert("L" if mode == "1" else "RGB")
    return _three_axes(np.asarray(converted)), _SPACES[converted.mode], Alpha.NONE, 255.0, ()


def _three_axes(array: Array) -> Array:
    return array[:, :, np.newaxis] if array.ndim == 2 else array


def read_heif(path: Path, image_format: ImageFormat, options: ConvertOptions) -> Picture:
    """Decode the primary picture of a HEIC file; its rotation is applied by the decoder."""
    try:
        heif = pillow_heif.open_heif(path, convert_hdr_to_8bit=False, bgr_mode=False)
        primary = heif[heif.primary_index] if len(heif) > 1 else heif
        width, height = primary.size
        check_size(width, height, options)
        array = _three_axes(np.asarray(primary))
        # 10 and 12 bits are named "RGB;16", grey ones "I;16".
        mode = primary.mode.partition(";")[0].replace("I", "L")
        profile = primary.info.get("icc_profile")
        return Picture(
            image=to_vips(array),
            space=Space.GREY if mode.startswith("L") else Space.RGB,
            format=image_format,
            width=width,
            height=height,
            alpha=_heif_alpha(mode),
            maximum=65535.0 if array.dtype == np.uint16 else 255.0,
            pages=len(heif),
            profile=profile if isinstance(profile, bytes) else None,
        )
    except DECODER_ERRORS as problem:
        raise decoding_error(image_format, problem) from problem


def _heif_alpha(mode: str) -> Alpha:
    if mode in ("RGBa", "La"):
        return Alpha.ASSOCIATED
    return Alpha.STRAIGHT if mode in ("RGBA", "LA") else Alpha.NONE
