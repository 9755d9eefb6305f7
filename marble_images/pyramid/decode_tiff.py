"""TIFF: plain kinds through libvips, all others through tifffile and imagecodecs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from marble_images.errors import CorruptImage, ImageError, TruncatedImage, UnsupportedFormat
from marble_images.formats import ImageFormat
from marble_images.pyramid import tiff_pages as tiff
from marble_images.pyramid.arrays import Array, new_array, row_slices, to_unsigned, to_vips
from marble_images.pyramid.decode import DECODER_ERRORS, Alpha, Picture, Space, decoding_error
from marble_images.pyramid.fallback import read_pillow
from marble_images.pyramid.model import ConvertOptions
from marble_images.pyramid.tiff_pages import TiffPicture
from marble_images.pyramid.vips import VipsImage, pyvips

_NONE, _CCITT_RLE, _FAX3, _FAX4, _LZW, _OLD_JPEG, _JPEG, _DEFLATE = range(1, 9)
_PACKBITS, _OLD_DEFLATE, _THUNDERSCAN, _CCITT_RLEW = 32773, 32946, 32809, 32771
_SGILOG, _SGILOG24 = 34676, 34677

# libtiff has these always; of the others some builds write black pictures for want of a codec.
_LIBTIFF_CODECS = {
    *(_NONE, _CCITT_RLE, _FAX3, _FAX4, _LZW, _JPEG, _DEFLATE),
    *(_PACKBITS, _OLD_DEFLATE, _THUNDERSCAN, _CCITT_RLEW),
}
_LZMA, _ZSTD = 34925, 50000
# Only of these is a piece that was cut known to be short; the others' decoders make up the rest.
_EXACT_CODECS = {_NONE, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS, _LZMA, _ZSTD}

_SPACES = {
    tiff.MINISWHITE: Space.GREY,
    tiff.MINISBLACK: Space.GREY,
    tiff.MASK: Space.GREY,
    tiff.RGB: Space.RGB,
    tiff.PALETTE: Space.RGB,
    tiff.YCBCR: Space.RGB,
    tiff.SEPARATED: Space.CMYK,
    tiff.CIELAB: Space.LAB,
    tiff.ICCLAB: Space.LAB,
}
_ASSOCIATED_ALPHA, _STRAIGHT_ALPHA = 1, 2
_YCBCR_COEFFICIENTS, _REFERENCE_BLACK_WHITE = 529, 532


def read(path: Path, image_format: ImageFormat, options: ConvertOptions) -> Picture:
    """Open a TIFF of a kind that libvips reads right; it is read from top to bottom as its pixels are used.

    Raises
    ------
    UnsupportedFormat
        It is of a kind for `read_array`.
    ImageError
        As `marble_images.pyramid.tiff_pages.open_tiff`.
    """
    with tiff.open_tiff(path, options) as picture:
        if not _plain(picture):
            raise UnsupportedFormat("TIFF images of this kind are not read")
        arguments = {"page": picture.index, "subifd": picture.subifd, "unlimited": True}
        try:
            image = pyvips.Image.tiffload(str(path), access="sequential", fail_on="error", **arguments)
        except pyvips.Error as problem:
            raise decoding_error(image_format, problem) from problem
        return _from_libvips(image, picture, image_format)


def _plain(picture: TiffPicture) -> bool:
    """Whether libvips' TIFF reader gives the right pixels: the kinds that were compared with tifffile."""
    page, photometric = picture.page, picture.photometric
    # libtiff fills a tile that lies partly past the end with zeros, without a word.
    if picture.overhanging:
        return False
    # With other than one or three planes libvips mixes up the lines of the strips.
    if int(page.planarconfig) == tiff.SEPARATE and picture.samples not in (1, 3):
        return False
    if page.compression in (_SGILOG, _SGILOG24):
        return photometric in (tiff.LOGL, tiff.LOGLUV)
    if page.compression not in _LIBTIFF_CODECS or not picture.unsigned or not _plain_extras(picture):
        return False
    if photometric == tiff.MINISWHITE and (picture.significant_bits is not None or picture.samples > 1):
        return False
    if photometric in (tiff.MINISWHITE, tiff.MINISBLACK):
        return picture.bits in (8, 16) or (picture.bits in (1, 2, 4) and picture.samples == 1)
    if photometric == tiff.PALETTE:
        return picture.bits in (1, 2, 4, 8) and picture.samples == 1
    if photometric == tiff.YCBCR:
        # Without JPEG libvips gives Y, Cb and Cr as if they were red, green and blue.
        return picture.bits == 8 and picture.samples == 3 and page.compression == _JPEG
    if photometric == tiff.SEPARATED:
        return picture.bits in (8, 16) and picture.samples >= 4 and picture.ink_set == 1
    return photometric == tiff.RGB and picture.bits in (8, 16) and picture.samples >= 3


def _plain_extras(picture: TiffPicture) -> bool:
    """Whether the samples after the colours are none, or one alpha, or none of which is alpha."""
    extras = picture.extra_samples
    beyond = picture.samples - _SPACES.get(picture.photometric, Space.RGB).bands
    if extras is None:
        return beyond <= 0
    return len(extras) == beyond and (not any(extras) or len(extras) == 1)


def _from_libvips(image: VipsImage, picture: TiffPicture, image_format: ImageFormat) -> Picture:
    space = _SPACES.get(picture.photometric, Space.LINEAR)
    if space is Space.LINEAR:
        image = image.colourspace("scrgb")
    elif image.format not in ("uchar", "ushort"):
        raise UnsupportedFormat("TIFF images of this kind are not read")
    if image.bands < space.bands:
        raise UnsupportedFormat("TIFF images of this kind are not read")
    bits = picture.significant_bits
    maximum = 2.0**bits - 1 if bits else 65535.0 if image.format == "ushort" else 255.0
    # libvips divides associated alpha out itself.
    alpha = Alpha.STRAIGHT if any(picture.extra_samples or ()) else Alpha.NONE
    return _picture(image, space, alpha, maximum, picture, image_format, ())


def _picture(
    image: VipsImage,
    space: Space,
    alpha: Alpha,
    maximum: float,
    picture: TiffPicture,
    image_format: ImageFormat,
    warnings: tuple[str, ...],
) -> Picture:
    return Picture(
        image=image,
        space=space,
        format=image_format,
        width=int(picture.page.imagewidth),
        height=int(picture.page.imagelength),
        alpha=alpha,
        maximum=maximum,
        pages=picture.pages,
        orientation=picture.orientation,
        profile=picture.profile,
        warnings=warnings,
    )


def read_array(
    path: Path, image_format: ImageFormat, options: ConvertOptions, refusal: ImageError | None
) -> Picture:
    """Decode a TIFF of an unusual kind completely, piece by piece, into an array.

    What libtiff found damaged gets no second chance from decoders that make up what they cannot read.

    Raises
    ------
    UnsupportedFormat
        Its compression or its colours are not known.
    TruncatedImage, CorruptImage
        A piece is missing, short or damaged.
    """
    with tiff.open_tiff(path, options) as picture:
        exact = picture.page.compression in _EXACT_CODECS
        if refusal is not None and not isinstance(refusal, UnsupportedFormat) and not exact:
            raise refusal
        space = _SPACES.get(picture.photometric)
        _check_kind(picture, space)
        assert space is not None
        try:
            samples = _decode(picture)
            return _interpret(samples, space, picture, image_format)
        except DECODER_ERRORS as problem:
            raise decoding_error(image_format, problem) from problem


def _check_kind(picture: TiffPicture, space: Space | None) -> None:
    page = picture.page
    if space is None:
        raise UnsupportedFormat(
            f"TIFF images of the photometric interpretation {picture.photometric} are not read"
        )
    if picture.photometric == tiff.SEPARATED and (picture.ink_set != 1 or picture.samples < 4):
        raise UnsupportedFormat("TIFF images of inks other than CMYK are not read")
    if picture.photometric != tiff.PALETTE and picture.samples < space.bands:
        raise CorruptImage("the TIFF file has fewer samples than its colours need")
    if page.compression == _OLD_JPEG or _packed_ycbcr(picture):
        raise UnsupportedFormat("TIFF images of this kind are not read")


def _packed_ycbcr(picture: TiffPicture) -> bool:
    """Whether colour is stored at a lower resolution between the brightness samples."""
    plain = picture.photometric == tiff.YCBCR and picture.page.compression not in (_JPEG, _OLD_JPEG)
    return plain and (picture.page.is_subsampled or picture.bits != 8)


def _decode(picture: TiffPicture) -> Array:
    """All samples of a page, shape (height, width, samples).

    Raises
    ------
    TruncatedImage
        A piece is missing, or cut and of a compression whose decoder makes up the rest.
    """
    page = picture.page
    if picture.overhanging and page.compression not in _EXACT_CODECS:
        raise TruncatedImage("the TIFF file is truncated")
    height, width = int(page.imagelength), int(page.imagewidth)
    out: Array | None = None
    separate = int(page.planarconfig) == tiff.SEPARATE and picture.samples > 1
    for piece, (sample, _depth, top, left, _contiguous), _shape in page.segments(maxworkers=1, sort=True):
        if separate and sample >= picture.shown_planes:
            continue
        if piece is None:
            raise TruncatedImage("the TIFF file is truncated")
        if out is None:
            out = new_array((height, width, picture.samples), piece.dtype)
        block = piece[0, : height - top, : width - left]
        place = slice(top, top + block.shape[0]), slice(left, left + block.shape[1])
        if separate:
            out[place[0], place[1], sample] = block[:, :, 0]
        else:
            out[place[0], place[1]] = block
    if out is None:
        raise CorruptImage("the TIFF file has a page without picture data")
    return out


def _interpret(samples: Array, space: Space, picture: TiffPicture, image_format: ImageFormat) -> Picture:
    photometric = picture.photometric
    if photometric == tiff.PALETTE:
        expanded, alpha = _expand_palette(samples, picture)
        return _picture(to_vips(expanded), space, alpha, 65535.0, picture, image_format, ())
    if space is Space.LAB:
        return _picture(to_vips(_lab(samples, picture)), space, Alpha.NONE, 1.0, picture, image_format, ())
    if photometric == tiff.YCBCR and picture.page.compression != _JPEG:
        return _picture(
            to_vips(_ycbcr(samples, picture)), space, Alpha.NONE, 255.0, picture, image_format, ()
        )
    bits = picture.significant_bits or picture.bits or None
    unsigned, maximum, warnings = to_unsigned(samples, space.bands, bits=bits, nodata=picture.nodata)
    band, alpha = _alpha(unsigned, space, picture)
    if photometric == tiff.MINISWHITE:
        unsigned[:, :, 0] = unsigned.dtype.type(maximum) - unsigned[:, :, 0]
    chosen = [*range(space.bands), *([] if band is None else [band])]
    if len(chosen) < unsigned.shape[2]:
        unsigned = unsigned[:, :, chosen]
    return _picture(to_vips(unsigned), space, alpha, maximum, picture, image_format, warnings)


def _alpha(samples: Array, space: Space, picture: TiffPicture) -> tuple[int | None, Alpha]:
    """Which band is the alpha, and of which kind: the first that the tag ExtraSamples calls so."""
    extras = picture.extra_samples
    if extras is None:
        # Writers forget the tag. A fourth sample that is 0 everywhere would hide the whole picture.
        forgotten = (
            space is Space.RGB
            and samples.shape[2] == 4
            and any(samples[rows, :, 3].any() for rows in row_slices(samples))
        )
        return (3, Alpha.STRAIGHT) if forgotten else (None, Alpha.NONE)
    for position, kind in enumerate(extras[: samples.shape[2] - space.bands]):
        if kind in (_ASSOCIATED_ALPHA, _STRAIGHT_ALPHA):
            return space.bands + position, Alpha.ASSOCIATED if kind == _ASSOCIATED_ALPHA else Alpha.STRAIGHT
    return None, Alpha.NONE


def _expand_palette(samples: Array, picture: TiffPicture) -> tuple[Array, Alpha]:
    """Palette indices, and alpha if there is any, as 16-bit RGB or RGBA."""
    colours = np.asarray(picture.page.colormap).astype(np.uint16).T
    if colours.max() < 256:
        # Old writers filled the 16-bit map with 8-bit values.
        colours = colours * np.uint16(257)
    indices = samples[:, :, 0].astype(np.uint16)
    if int(indices.max()) >= len(colours):
        raise CorruptImage("the TIFF file uses colours that its palette does not have")
    kinds = picture.extra_samples or ()
    if samples.shape[2] < 2 or not kinds or kinds[0] not in (_ASSOCIATED_ALPHA, _STRAIGHT_ALPHA):
        return np.asarray(colours[indices], dtype=np.uint16), Alpha.NONE
    out = new_array((*samples.shape[:2], 4), np.uint16)
    full = 2**picture.bits - 1
    for rows in row_slices(samples):
        out[rows, :, :3] = colours[indices[rows]]
        out[rows, :, 3] = samples[rows, :, 1].astype(np.uint32) * 65535 // full
    # The colours of a palette are never multiplied, whatever the tag says.
    return out, Alpha.STRAIGHT


def _ycbcr(samples: Array, picture: TiffPicture) -> Array:
    """8-bit YCbCr samples as RGB (TIFF 6, section 21)."""
    red, green, blue = picture.rationals(_YCBCR_COEFFICIENTS) or (0.299, 0.587, 0.114)
    limits = picture.rationals(_REFERENCE_BLACK_WHITE) or (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)
    black, white = np.array(limits[0::2]), np.array(limits[1::2])
    if len(limits) != 6 or np.any(black == white) or not green:
        raise CorruptImage("the TIFF file has impossible YCbCr limits")
    out = new_array((*samples.shape[:2], 3), np.uint8)
    for rows in row_slices(samples):
        full = (samples[rows, :, :3] - black) / (white - black) * np.array([255.0, 127.0, 127.0])
        luma, cb, cr = np.moveaxis(full, -1, 0)
        r, b = luma + cr * (2 - 2 * red), luma + cb * (2 - 2 * blue)
        g = (luma - blue * b - red * r) / green
        out[rows] = np.clip(np.rint(np.stack([r, g, b], axis=-1)), 0, 255)
    return out


def _lab(samples: Array, picture: TiffPicture) -> Array:
    """CIELAB and ICCLAB samples (TIFF 6, section 23, and its technical note 4) as L, a, b floats."""
    full = {8: 255.0, 16: 65535.0}.get(picture.bits)
    if full is None or samples.dtype.kind == "f":
        raise UnsupportedFormat("Lab TIFF images of this kind are not read")
    step = 1.0 if picture.bits == 8 else 256.0
    out = new_array((*samples.shape[:2], 3), np.float32)
    for rows in row_slices(samples):
        part = samples[rows, :, :3]
        if picture.photometric == tiff.CIELAB:
            lightness = part[:, :, 0].astype(np.float32) * (100.0 / full)
            colours = part[:, :, 1:].astype(f"u{picture.bits // 8}").view(f"i{picture.bits // 8}") / step
        else:
            lightness = part[:, :, 0].astype(np.float32) * (100.0 / (full if step == 1 else 65280.0))
            colours = part[:, :, 1:] / step - 128.0
        out[rows, :, 0] = lightness
        out[rows, :, 1:] = colours
    return out


def read_first_page(
    path: Path, image_format: ImageFormat, options: ConvertOptions, refusal: ImageError | None
) -> Picture:
    """Decode with Pillow's libtiff, which has more of the old codecs, what the others do not know.

    Raises
    ------
    ImageError
        The others' refusal, unless it was for want of a decoder; or Pillow's.
    """
    if refusal is not None and not isinstance(refusal, UnsupportedFormat):
        raise refusal
    with tiff.open_tiff(path, options) as picture:
        packed = _packed_ycbcr(picture) and picture.page.compression != _NONE
        known = packed or picture.page.compression == _OLD_JPEG
        if not known or picture.index != 0 or picture.subifd >= 0:
            raise refusal or UnsupportedFormat("TIFF images of this kind are not read")
        pages = picture.pages
    # Pillow has turned it, and does not say so.
    return replace(read_pillow(path, image_format, options), pages=pages)
