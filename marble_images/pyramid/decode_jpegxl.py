"""JPEG XL, through imagecodecs, which turns the picture upright but tells nothing of its colours."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np

from marble_images.errors import CorruptImage, UnsupportedFormat
from marble_images.formats import ImageFormat
from marble_images.pyramid.arrays import Array, new_array, row_slices, to_vips
from marble_images.pyramid.decode import DECODER_ERRORS, Alpha, Picture, Space, check_size, decoding_error
from marble_images.pyramid.jpegxl_header import HeaderError, JpegXlHeader, read_header
from marble_images.pyramid.model import ConvertOptions

_MOST_BITS = 16


def read(path: Path, image_format: ImageFormat, options: ConvertOptions) -> Picture:
    """Decode the first frame.

    Raises
    ------
    ImageTooLarge
        The header claims more pixels than allowed; nothing was decoded.
    UnsupportedFormat
        Its colours are not those of sRGB, or it has unusual channels. A picture with a profile comes out of
        the decoder without it, and readers do not agree on linear light.
    TruncatedImage, CorruptImage
        It is cut or damaged.
    """
    data = path.read_bytes()
    try:
        header = read_header(data)
    except HeaderError as problem:
        raise CorruptImage("the JPEG XL file has a damaged header", detail=str(problem)) from problem
    check_size(header.width, header.height, options)
    _refuse_unusual(header)
    try:
        array = np.asarray(
            imagecodecs.jpegxl_decode(data, index=0 if header.animated else None, numthreads=1)
        )
    except DECODER_ERRORS as problem:
        raise decoding_error(image_format, problem) from problem
    colours = 1 if header.grey else 3
    bands = colours + header.extra
    if array.size != header.width * header.height * bands:
        raise CorruptImage("the JPEG XL file is damaged", detail=f"it decodes to {array.shape}")
    array = array.reshape(header.height, header.width, bands)
    alpha = Alpha.ASSOCIATED if header.associated else Alpha.STRAIGHT
    return Picture(
        image=to_vips(_of_range(array) if header.floats else array),
        space=Space.GREY if header.grey else Space.RGB,
        format=image_format,
        width=header.width,
        height=header.height,
        alpha=alpha if header.extra else Alpha.NONE,
        maximum=65535.0 if header.floats else 2.0**header.bits - 1,
    )


def _refuse_unusual(header: JpegXlHeader) -> None:
    if header.curve != "sRGB":
        raise UnsupportedFormat(
            "JPEG XL images with a colour profile, or in colours unlike sRGB's, are not read"
        )
    if header.extra > 1 or (header.extra and not header.alpha):
        raise UnsupportedFormat("JPEG XL images with other channels than colour and opacity are not read")
    if header.bits > _MOST_BITS and not header.floats:
        raise UnsupportedFormat(f"JPEG XL images of {header.bits} bits a sample are not read")


def _of_range(array: Array) -> Array:
    """Floats of 0 to 1, which the standard makes black and white, as 16 bits."""
    out = new_array(array.shape, np.uint16)
    for rows in row_slices(array):
        part = np.nan_to_num(array[rows].astype(np.float32))
        out[rows] = (np.clip(part, 0, 1) * 65535 + 0.5).astype(np.uint16)
    return out
