"""Which decoders read which format, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from marble_images.errors import ImageError
from marble_images.formats import ImageFormat
from marble_images.pyramid import (
    decode_bmp,
    decode_codecs,
    decode_fits,
    decode_jpeg,
    decode_jpeg2000,
    decode_jpegxl,
    decode_psd,
    decode_tiff,
    decode_vips,
    decode_xpm,
    fallback,
    pdf,
)
from marble_images.pyramid.decode import Picture
from marble_images.pyramid.model import ConvertOptions

Reader = Callable[[Path, ImageFormat, ConvertOptions, ImageError | None], Picture]
"""Opens a file as a picture. It is given the refusal of the reader before it, and may raise that again."""


def _first(read: Callable[[Path, ImageFormat, ConvertOptions], Picture]) -> Reader:
    return lambda path, image_format, options, _refusal: read(path, image_format, options)


_VIPS = _first(decode_vips.read)
_PILLOW = _first(fallback.read_pillow)
_ONLY_PILLOW = (
    *(ImageFormat.ICO, ImageFormat.CUR, ImageFormat.ICNS),
    *(ImageFormat.PCX, ImageFormat.DCX, ImageFormat.SGI, ImageFormat.TGA, ImageFormat.QOI),
    *(ImageFormat.DDS, ImageFormat.XBM, ImageFormat.FLI, ImageFormat.MSP, ImageFormat.PCD),
    *(ImageFormat.IM, ImageFormat.IMT, ImageFormat.BLP, ImageFormat.FTEX, ImageFormat.PIXAR),
    *(ImageFormat.SPIDER, ImageFormat.GBR, ImageFormat.MCIDAS, ImageFormat.XVTHUMB),
)

READERS: Mapping[ImageFormat, tuple[Reader, ...]] = {
    ImageFormat.JPEG: (_first(decode_jpeg.read), decode_jpeg.read_mildly, decode_codecs.read_unusual_jpeg),
    ImageFormat.JPEGLS: (decode_codecs.read_unusual_jpeg,),
    ImageFormat.JPEG2000: (_first(decode_jpeg2000.read),),
    ImageFormat.JPEGXL: (_first(decode_jpegxl.read),),
    ImageFormat.RADIANCE: (_first(decode_codecs.read_radiance),),
    ImageFormat.FITS: (_first(decode_fits.read),),
    ImageFormat.XPM: (_first(decode_xpm.read),),
    ImageFormat.BMP: (_PILLOW, decode_bmp.read_masked),
    ImageFormat.PNM: (_first(decode_codecs.read_netpbm),),
    ImageFormat.SUN: (_first(decode_codecs.read_sun),),
    ImageFormat.PDF: (_first(pdf.read),),
    ImageFormat.PSD: (_first(decode_psd.read),),
    ImageFormat.PNG: (_VIPS,),
    # libvips leaves what is missing of a cut GIF transparent, without a word.
    ImageFormat.GIF: (_PILLOW,),
    ImageFormat.WEBP: (_VIPS,),
    # libheif guesses the colours of files that do not name their matrix; libavif reads it from the picture.
    ImageFormat.AVIF: (_PILLOW, _VIPS),
    ImageFormat.HEIC: (_first(fallback.read_heif), _VIPS),
    ImageFormat.TIFF: (
        _first(decode_tiff.read),
        decode_tiff.read_array,
        decode_tiff.read_first_page,
    ),
    **dict.fromkeys(_ONLY_PILLOW, (_PILLOW,)),
}
