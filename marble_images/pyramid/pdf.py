"""The first page of a PDF, through PDFium."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
import pypdfium2.raw

from marble_images.errors import CorruptImage, EncryptedPdf, TruncatedImage
from marble_images.formats import ImageFormat
from marble_images.pyramid.arrays import to_vips
from marble_images.pyramid.decode import DECODER_ERRORS, Picture, Space, check_size, decoding_error
from marble_images.pyramid.geometry import fit
from marble_images.pyramid.model import ConvertOptions

# Generated from C headers, so type checkers cannot see what it holds.
_RAW: Any = pypdfium2.raw
_POINTS_PER_INCH = 72.0
_TAIL_BYTES = 2048


def read(path: Path, image_format: ImageFormat, options: ConvertOptions) -> Picture:
    """Render the first page of a PDF: what its crop box shows, turned as it says, on the background.

    It is rendered at ``options.dpi``, or at what fits ``options.box`` if that is less.

    Raises
    ------
    EncryptedPdf
        It needs a password.
    TruncatedImage, CorruptImage
        It cannot be read, or has no page.
    ImageTooLarge
        The page would have more pixels than allowed.
    """
    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as problem:
        raise _opening_error(path, problem) from problem
    try:
        if not len(document):
            raise CorruptImage("the PDF has no page")
        # Without it what was filled into a form is not drawn. This PDFium runs no scripts.
        document.init_forms()
        return _render(document, image_format, options)
    except DECODER_ERRORS as problem:
        raise decoding_error(image_format, problem) from problem
    finally:
        document.close()


def _opening_error(path: Path, problem: pypdfium2.PdfiumError) -> Exception:
    if problem.err_code == _RAW.FPDF_ERR_PASSWORD:
        return EncryptedPdf("the PDF is encrypted and needs a password")
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        ended = b"%%EOF" in file.read()
    if not ended:
        return TruncatedImage("the PDF file is truncated", detail=str(problem))
    return CorruptImage("the PDF file is damaged", detail=str(problem))


def _render(document: pypdfium2.PdfDocument, image_format: ImageFormat, options: ConvertOptions) -> Picture:
    page = document[0]
    across, down = page.get_size()
    if not (math.isfinite(across) and math.isfinite(down) and across > 0 and down > 0):
        raise CorruptImage("the PDF's first page has no size")
    scale = options.dpi / _POINTS_PER_INCH
    width, height = max(1, round(across * scale)), max(1, round(down * scale))
    fitted_width, fitted_height = fit(width, height, options.box)
    check_size(fitted_width, fitted_height, options)
    if (fitted_width, fitted_height) != (width, height):
        scale = max(fitted_width / across, fitted_height / down)
    bitmap = page.render(
        scale=scale,
        fill_color=(*options.background, 255),
        rev_byteorder=True,
        may_draw_forms=True,
        force_bitmap_format=_RAW.FPDFBitmap_BGR,
    )
    # Rounded up by PDFium: the last row and column may lie a fraction of a pixel outside of the page.
    pixels = np.array(bitmap.to_numpy()[:fitted_height, :fitted_width])
    return Picture(
        image=to_vips(pixels),
        space=Space.RGB,
        format=image_format,
        width=fitted_width,
        height=fitted_height,
        pages=len(document),
    )
