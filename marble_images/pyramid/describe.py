"""What an image file says about itself; its pixels are not decoded."""

from __future__ import annotations

import io
import itertools
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pypdfium2
import tifffile
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from marble_images.errors import ConversionOutOfMemory, CorruptImage, ImageError, UnsupportedFormat
from marble_images.formats import ImageFormat, identify_file
from marble_images.pyramid.decode import DECODER_ERRORS, decoding_error
from marble_images.pyramid.decode_psd import read_header as read_psd_header
from marble_images.pyramid.jpegxl_header import read_header as read_jpegxl_header
from marble_images.pyramid.vips import pyvips

_CM_PER_INCH = 2.54
_MM_PER_INCH = 25.4
_MAX_PAGES = 500
_MAX_TEXT = 1000
_SOFTWARE, _DESCRIPTION = 305, 270


def describe(path: Path) -> dict[str, Any]:
    """Read a file's header.

    Parameters
    ----------
    path
        An image of any format that is read, or a PDF.

    Returns
    -------
    Plain values, ready for JSON; what the file does not say is left out. ``format``, ``bytes``, ``width`` and
    ``height`` (pixels; of a PDF's first page in points, 1/72 inch), ``bands``, ``bits``,
    ``interpretation``, ``profile`` (name of the ICC profile), ``dpi``, ``orientation``, ``pages``,
    ``levels`` (sizes of a pyramid's levels), ``tile``, ``compression``, ``software``, ``description``.

    Raises
    ------
    ImageError
        It is no image, or its header cannot be read; one line says why.
    OSError
        The file cannot be opened.
    """
    image_format = identify_file(path)
    readers = _READERS.get(image_format, (_with_pillow, _with_vips))
    problem: ImageError | None = None
    for reader in readers:
        try:
            with warnings.catch_warnings():
                # What is odd about metadata is no news to who asks for them.
                warnings.simplefilter("ignore")
                found = reader(path)
        except UnidentifiedImageError as refusal:
            text = f"the header of the {image_format} file cannot be read"
            problem = problem or CorruptImage(text, detail=str(refusal))
        except (*DECODER_ERRORS, pyvips.Error, pypdfium2.PdfiumError, ImageError) as refusal:
            problem = problem or decoding_error(image_format, refusal)
        except MemoryError:
            problem = problem or ConversionOutOfMemory("the header needs more memory than there is")
        else:
            size = path.stat().st_size
            known = {"format": str(image_format), "bytes": size, **found}
            return {name: value for name, value in known.items() if value not in (None, "")}
    raise problem or UnsupportedFormat(f"{image_format} images are not read")


def _with_tifffile(path: Path) -> dict[str, Any]:
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        pages = 0
        levels: list[list[int]] = []
        for pages, other in enumerate(tiff.pages[:_MAX_PAGES], 1):  # noqa: B007 - the count is wanted
            assert isinstance(other, tifffile.TiffPage)
            levels.append([other.imagewidth, other.imagelength])
        return {
            "bigtiff": tiff.is_bigtiff or None,
            "width": page.imagewidth,
            "height": page.imagelength,
            "bands": page.samplesperpixel,
            "bits": page.bitspersample,
            "interpretation": _name(page.photometric),
            "profile": _profile_name(page.iccprofile),
            "dpi": _tiff_dpi(page),
            "orientation": _value(page, 274),
            "pages": pages,
            "levels": levels if _is_pyramid(levels) else None,
            "subifds": len(page.subifds) if page.subifds else None,
            "tile": [page.tilewidth, page.tilelength] if page.is_tiled else None,
            "compression": _name(page.compression),
            "predictor": _name(page.predictor) if page.predictor > 1 else None,
            "software": _text(_value(page, _SOFTWARE)),
            "description": _text(_value(page, _DESCRIPTION)),
        }


def _is_pyramid(sizes: list[list[int]]) -> bool:
    pairs = list(itertools.pairwise(sizes))
    return bool(pairs) and all(
        abs(b - a / 2) <= 1 for larger, smaller in pairs for a, b in zip(larger, smaller, strict=True)
    )


def _value(page: tifffile.TiffPage, code: int) -> Any:
    tag = page.tags.get(code)
    value = None if tag is None else tag.value
    return int(value) if code == 274 and value is not None else value


def _tiff_dpi(page: tifffile.TiffPage) -> list[float] | None:
    scale = {2: 1.0, 3: _CM_PER_INCH}.get(int(page.tags.valueof(296, 2)))
    found = [page.tags.valueof(code) for code in (282, 283)]
    if scale is None or not all(isinstance(v, tuple) and len(v) == 2 and v[1] for v in found):
        return None
    return [round(v[0] / v[1] * scale, 2) for v in found]


def _name(value: Any) -> str:
    return str(getattr(value, "name", value)).lower().replace("adobe_deflate", "deflate")


def _text(value: object) -> str | None:
    return None if value is None else str(value)[:_MAX_TEXT]


_BITS = {"1": 1, "I;16": 16, "I;16B": 16, "I;16L": 16, "I": 32, "F": 32}


def _with_pillow(path: Path) -> dict[str, Any]:
    with warnings.catch_warnings():
        # How large it is, is what is asked; nothing is decoded.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            opened = Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
        with opened as image:
            return _pillow_header(image)


def _pillow_header(image: Image.Image) -> dict[str, Any]:
    dpi = image.info.get("dpi")
    exif = image.getexif()
    return {
        "width": image.width,
        "height": image.height,
        "bands": len(image.getbands()),
        "bits": _BITS.get(image.mode, 8),
        "interpretation": "palette" if image.mode == "P" else "".join(image.getbands()).lower(),
        "profile": _profile_name(image.info.get("icc_profile")),
        "dpi": [round(float(v), 2) for v in dpi] if dpi and all(dpi) else None,
        "orientation": exif.get(ExifTags.Base.Orientation),
        "pages": getattr(image, "n_frames", 1),
        "progressive": True if image.info.get("progressive") else None,
        "software": _text(exif.get(ExifTags.Base.Software)),
        "description": _text(exif.get(ExifTags.Base.ImageDescription)),
    }


_VIPS_BITS = {
    "uchar": 8,
    "char": 8,
    "ushort": 16,
    "short": 16,
    "uint": 32,
    "int": 32,
    "float": 32,
    "double": 64,
}


def _with_vips(path: Path) -> dict[str, Any]:
    # Opened through a source: a file name would be parsed for options.
    image = pyvips.Image.new_from_source(pyvips.Source.new_from_file(str(path)), "")
    fields = set(image.get_fields())

    def field(name: str) -> Any:
        return image.get(name) if name in fields else None

    pages = field("n-pages") or 1
    height = field("page-height") or image.height
    profile = field("icc-profile-data")
    return {
        "width": image.width,
        "height": height,
        "bands": image.bands,
        "bits": field("bits-per-sample") or _VIPS_BITS.get(image.format),
        "interpretation": image.interpretation,
        "profile": _profile_name(bytes(profile) if profile else None),
        "dpi": [round(v * _MM_PER_INCH, 2) for v in (image.xres, image.yres)] if image.xres > 1 else None,
        "orientation": field("orientation"),
        "pages": pages,
    }


def _with_psd(path: Path) -> dict[str, Any]:
    psd = read_psd_header(path)
    return {
        "width": psd.width,
        "height": psd.height,
        "bands": psd.channels,
        "bits": psd.depth,
        "interpretation": psd.mode_name,
        "profile": _profile_name(psd.profile),
        "pages": 1,
    }


def _with_jpegxl(path: Path) -> dict[str, Any]:
    header = read_jpegxl_header(path.read_bytes())
    return {
        "width": header.width,
        "height": header.height,
        "bands": (1 if header.grey else 3) + header.extra,
        "bits": header.bits,
        "interpretation": header.curve,
    }


def _with_heif(path: Path) -> dict[str, Any]:
    import pillow_heif

    pillow_heif.register_heif_opener()
    return _with_pillow(path)


def _with_pdfium(path: Path) -> dict[str, Any]:
    document = pypdfium2.PdfDocument(path)
    try:
        if not len(document):
            raise CorruptImage("the PDF has no page")
        pages = len(document)
        width, height = document.get_page_size(0)
        about = document.get_metadata_dict(skip_empty=True)
    finally:
        document.close()
    return {
        "width": round(width, 2),
        "height": round(height, 2),
        "unit": "points",
        "pages": pages,
        "software": _text(about.get("Producer")),
        "description": _text(about.get("Title")),
    }


def _profile_name(icc: bytes | None) -> str | None:
    if not icc:
        return None
    try:
        return ImageCms.getProfileDescription(io.BytesIO(icc)).strip()
    except (ImageCms.PyCMSError, OSError, ValueError, SyntaxError):
        return "broken"


_READERS: Mapping[ImageFormat, tuple[Callable[[Path], dict[str, Any]], ...]] = {
    ImageFormat.TIFF: (_with_tifffile, _with_pillow),
    ImageFormat.PDF: (_with_pdfium,),
    ImageFormat.HEIC: (_with_heif,),
    ImageFormat.PSD: (_with_psd,),
    ImageFormat.JPEGXL: (_with_jpegxl,),
}
