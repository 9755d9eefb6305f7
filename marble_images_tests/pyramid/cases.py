"""One test file for each kind of source that is read, and the 8-bit picture that it must give."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pillow_heif
import tifffile
from PIL import Image

from marble_images_tests.pyramid.images import Array, alpha, bilevel, grey, on_white, rgb


@dataclass(frozen=True)
class Case:
    """A source file's writer, and the truth.

    Attributes
    ----------
    suffix
        What people would name the file.
    tolerance
        Largest difference of a patch's mean from the truth, in 8-bit values: lossy codecs need some.
    """

    name: str
    suffix: str
    write: Callable[[Path], object]
    truth: Array
    tolerance: float = 0.51

    def __str__(self) -> str:
        return self.name


def pillow(array: Array, kind: str, **options: Any) -> Callable[[Path], object]:
    """A writer of an array in one of Pillow's formats."""
    return lambda path: Image.fromarray(array).save(path, kind, **options)


def tiff(array: Array, **options: Any) -> Callable[[Path], object]:
    """A writer of an array as a TIFF, through tifffile."""
    return lambda path: tifffile.imwrite(path, array, metadata=None, **options)


def raw(data: bytes | bytearray) -> Callable[[Path], object]:
    """A writer of bytes."""
    return lambda path: path.write_bytes(data)


def twelve_bits(array: Array) -> Array:
    """8-bit samples spread over 12 bits."""
    return np.asarray((array.astype(np.uint32) * 4095 + 127) // 255, np.uint16)


def _rgba() -> Array:
    return np.dstack([rgb(), alpha()])


def _palette() -> tuple[Array, Array]:
    """Indices and an 8-bit palette, (256, 3)."""
    image = Image.fromarray(rgb()).quantize(24)
    colours = np.zeros((256, 3), np.uint8)
    found = np.array(image.getpalette(), np.uint8).reshape(-1, 3)
    colours[: len(found)] = found
    return np.asarray(image), colours


def _associated() -> Array:
    share = alpha()[:, :, np.newaxis].astype(float) / 255
    return np.dstack([np.rint(rgb() * share).astype(np.uint8), alpha()])


def _heic(path: Path, quality: int) -> None:
    pillow_heif.from_pillow(Image.fromarray(rgb())).save(path, quality=quality, chroma=444)


def _pnm() -> bytes:
    return b"P6\n# a comment\n96 64\n255\n" + rgb().tobytes()


def _pam() -> bytes:
    header = b"P7\nWIDTH 96\nHEIGHT 64\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n"
    return header + _rgba().tobytes()


def _gif_palette_frame(path: Path) -> None:
    first, second = Image.fromarray(rgb()).quantize(32), Image.fromarray(255 - rgb()).quantize(32)
    first.save(path, "GIF", save_all=True, append_images=[second], duration=100)


def _animated_webp(path: Path) -> None:
    Image.fromarray(rgb()).save(
        path, "WEBP", save_all=True, append_images=[Image.fromarray(255 - rgb())], lossless=True
    )


def _apng(path: Path) -> None:
    Image.fromarray(rgb()).save(path, "PNG", save_all=True, append_images=[Image.fromarray(255 - rgb())])


def _multipage(path: Path) -> None:
    with tifffile.TiffWriter(path) as file:
        for page in (rgb(), 255 - rgb(), np.zeros((500, 500, 3), np.uint8)):
            file.write(page, photometric="rgb", metadata=None)


def _thumbnail_first(path: Path) -> None:
    with tifffile.TiffWriter(path) as file:
        file.write(255 - rgb()[::4, ::4], photometric="rgb", metadata=None, subfiletype=1)
        file.write(rgb(), photometric="rgb", metadata=None)


def _full_size_in_subifd(path: Path) -> None:
    with tifffile.TiffWriter(path) as file:
        file.write(255 - rgb()[::4, ::4], photometric="rgb", metadata=None, subfiletype=1, subifds=1)
        file.write(rgb(), photometric="rgb", metadata=None)


def _pyramid_of_subifds(path: Path) -> None:
    with tifffile.TiffWriter(path) as file:
        file.write(rgb(), photometric="rgb", metadata=None, subifds=2, tile=(32, 32))
        for step in (2, 4):
            file.write(rgb()[::step, ::step], photometric="rgb", metadata=None, subfiletype=1, tile=(32, 32))


def _smallest_first(path: Path) -> None:
    with tifffile.TiffWriter(path) as file:
        for step in (8, 4, 2, 1):
            file.write(rgb()[::step, ::step], photometric="rgb", metadata=None)


def _max_sample_value(path: Path) -> None:
    twelve = twelve_bits(grey())
    tifffile.imwrite(path, twelve, metadata=None, extratags=[(281, 3, 1, 4095, True)])


def _sun(path: Path) -> None:
    header = struct.pack(">8I", 0x59A66A95, 96, 64, 24, 96 * 64 * 3, 1, 0, 0)
    path.write_bytes(header + rgb()[:, :, ::-1].tobytes())


def _fits(array: Array, bits: int, *cards: str) -> bytes:
    """A FITS file of an array of shape (height, width) or (planes, height, width)."""
    axes = [f"NAXIS{i} = {side}" for i, side in enumerate(array.shape[::-1], 1)]
    names = ["SIMPLE = T", f"BITPIX = {bits}", f"NAXIS = {array.ndim}", *axes, *cards]
    lines = [f"{name:8}= {value:>20} / as usual" for name, value in (card.split(" = ") for card in names)]
    header = "".join(line.ljust(80) for line in [*lines, "END"])
    data = array[..., ::-1, :].tobytes()
    return header.ljust(-(-len(header) // 2880) * 2880).encode() + data.ljust(-(-len(data) // 2880) * 2880)


def _pixar() -> bytes:
    header = bytearray(1024)
    struct.pack_into("<4s412x2H", header, 0, b"\x80\xe8\x00\x00", 64, 96)
    struct.pack_into("<2H", header, 424, 14, 2)
    return bytes(header) + rgb().tobytes()


def _mcidas() -> bytes:
    words = [0, 4, *[0] * 6, 64, 96, 1, 0, 0, 1, *[0] * 19, 256, *[0] * 30]
    return struct.pack(">64i", *words) + grey().tobytes()


_FTEX_HEADER = struct.pack("<4sI4i", b"FTEX", 1, 96, 64, 1, 1)


def _xv_thumbnail() -> tuple[bytes, Array]:
    """A file of 3, 3 and 2 bits of red, green and blue, and what it shows."""
    red, green, blue = (rgb()[:, :, i].astype(int) >> shift for i, shift in ((0, 5), (1, 5), (2, 6)))
    header = b"P7 332\n#IMGINFO:96x64\n#END_OF_COMMENTS\n96 64 255\n"
    truth = np.dstack([red * 255 // 7, green * 255 // 7, blue * 255 // 3]).astype(np.uint8)
    return header + (red << 5 | green << 2 | blue).astype(np.uint8).tobytes(), truth


def _white_is_zero(array: Array, bits: int) -> Array:
    return (2**bits - 1 - array.astype(np.int64)).astype(array.dtype)


def _twelve_bits_packed(path: Path) -> None:
    twelve = twelve_bits(grey())
    tifffile.imwrite(path, twelve, bitspersample=12, metadata=None)


_SIXTEEN = rgb().astype(np.uint16) * 257
_GREY_SIXTEEN = grey().astype(np.uint16) * 257
_WHITE_RGBA = on_white(rgb(), alpha())
_WHITE_GREY = on_white(grey(), alpha())
_INDICES, _COLOURMAP = _palette()
_TIFF_MAP = (_COLOURMAP.astype(np.uint16) * 257).T
_PALETTE_TRUTH = _COLOURMAP[_INDICES]
_BLACK_WHITE = bilevel().astype(np.uint8) * 255
_TWO_EXTRAS = np.dstack([rgb(), grey(), alpha()])

_JPEGS = [
    Case("jpeg", "jpg", pillow(rgb(), "JPEG", quality=98, subsampling=0), rgb(), 2),
    Case("jpeg progressive", "jpg",
         pillow(rgb(), "JPEG", quality=98, subsampling=0, progressive=True), rgb(), 2),
    Case("jpeg grey", "jpg", pillow(grey(), "JPEG", quality=98), grey(), 2),
    Case("jpeg 4:2:0", "jpg", pillow(rgb(), "JPEG", quality=95), rgb(), 6),
    Case("jpeg 12 bits", "jpg", raw(imagecodecs.jpeg8_encode(
        twelve_bits(rgb()), bitspersample=12, level=99)), rgb(), 2),
    Case("jpeg lossless", "jpg", raw(imagecodecs.jpeg8_encode(rgb(), lossless=True)), rgb()),
    Case("jpeg-ls", "jls", raw(imagecodecs.jpegls_encode(rgb())), rgb()),
    Case("jpegxl", "jxl", raw(imagecodecs.jpegxl_encode(rgb(), lossless=True)), rgb()),
    Case("jpegxl rgba", "jxl",
         raw(imagecodecs.jpegxl_encode(_rgba(), lossless=True, usecontainer=True)), _WHITE_RGBA),
]  # fmt: skip

_OTHERS = [
    Case("png", "png", pillow(rgb(), "PNG"), rgb()),
    Case("png grey", "png", pillow(grey(), "PNG"), grey()),
    Case("png 1 bit", "png", pillow(bilevel(), "PNG"), _BLACK_WHITE),
    Case("png rgba", "png", pillow(_rgba(), "PNG"), _WHITE_RGBA),
    Case("png grey + alpha", "png", pillow(np.dstack([grey(), alpha()]), "PNG"), _WHITE_GREY),
    Case("png 16-bit rgb", "png", raw(imagecodecs.png_encode(_SIXTEEN)), rgb()),
    Case("png 16-bit rgba", "png", raw(imagecodecs.png_encode(_rgba().astype(np.uint16) * 257)), _WHITE_RGBA),
    Case("png 16-bit grey", "png", raw(imagecodecs.png_encode(_GREY_SIXTEEN)), grey()),
    Case("png palette", "png", lambda p: Image.fromarray(rgb()).quantize(24).save(p, "PNG"), _PALETTE_TRUTH),
    Case("png animated", "png", _apng, rgb()),
    Case("gif", "gif", lambda p: Image.fromarray(rgb()).quantize(24).save(p, "GIF"), _PALETTE_TRUTH),
    Case("gif animated", "gif", _gif_palette_frame, rgb()),
    Case("webp", "webp", pillow(rgb(), "WEBP", quality=98), rgb(), 6),
    Case("webp lossless rgba", "webp", pillow(_rgba(), "WEBP", lossless=True, exact=True), _WHITE_RGBA),
    Case("webp animated", "webp", _animated_webp, rgb()),
    Case("heic", "heic", lambda p: _heic(p, 100), rgb(), 4),
    Case("avif", "avif", pillow(rgb(), "AVIF", quality=100, subsampling="4:4:4"), rgb(), 4),
    Case("jpeg 2000", "jp2", pillow(rgb(), "JPEG2000"), rgb()),
    Case("jpeg 2000 grey", "jp2", pillow(grey(), "JPEG2000"), grey()),
    Case("jpeg 2000 codestream", "j2k",
         lambda p: Image.fromarray(rgb()).save(p, "JPEG2000", no_jp2=True), rgb()),
    Case("jpeg 2000 16-bit grey", "jp2", raw(imagecodecs.jpeg2k_encode(_GREY_SIXTEEN, level=0)), grey()),
    Case("jpeg 2000 16-bit rgb", "jp2", raw(imagecodecs.jpeg2k_encode(_SIXTEEN, level=0)), rgb()),
    Case("jpeg 2000 12-bit rgba", "jp2", raw(imagecodecs.jpeg2k_encode(
        twelve_bits(_rgba()), level=0, bitspersample=12)), _WHITE_RGBA),
    Case("jpeg 2000 16-bit signed", "jp2", raw(imagecodecs.jpeg2k_encode(
        (_GREY_SIXTEEN.astype(np.int32) - 32768).astype(np.int16), level=0)), grey()),
    Case("jpeg 2000 4-bit grey", "jp2", raw(imagecodecs.jpeg2k_encode(
        grey() >> 4, level=0, bitspersample=4)), (grey() >> 4) * 17),
    Case("jpeg 2000 1-bit grey", "jp2", raw(imagecodecs.jpeg2k_encode(
        bilevel().astype(np.uint8), level=0, bitspersample=1)), _BLACK_WHITE),
    Case("jpeg 2000 rgba", "jp2", pillow(_rgba(), "JPEG2000"), _WHITE_RGBA),
    Case("bmp", "bmp", pillow(rgb(), "BMP"), rgb()),
    Case("bmp palette", "bmp", lambda p: Image.fromarray(rgb()).quantize(24).save(p, "BMP"), _PALETTE_TRUTH),
    Case("ppm", "ppm", raw(_pnm()), rgb()),
    Case("pgm 16 bits", "pgm", raw(b"P5 96 64 65535\n" + _GREY_SIXTEEN.astype(">u2").tobytes()), grey()),
    Case("ppm 16 bits", "ppm", raw(b"P6 96 64 65535\n" + _SIXTEEN.astype(">u2").tobytes()), rgb()),
    Case("pbm", "pbm", raw(b"P4 96 64\n" + np.packbits(~bilevel(), axis=1).tobytes()), _BLACK_WHITE),
    Case("pam rgba", "pam", raw(_pam()), _WHITE_RGBA),
    Case("pfm", "pfm",
         raw(b"PF\n96 64\n-1.0\n" + (rgb()[::-1] / np.float32(255)).astype("<f4").tobytes()), rgb()),
    Case("tga", "tga", pillow(rgb(), "TGA"), rgb()),
    Case("tga run lengths rgba", "tga", pillow(_rgba(), "TGA", compression="tga_rle"), _WHITE_RGBA),
    Case("pcx", "pcx", pillow(rgb(), "PCX"), rgb()),
    Case("sgi", "sgi", pillow(rgb(), "SGI"), rgb()),
    Case("sun raster", "ras", _sun, rgb()),
    Case("qoi", "qoi", raw(imagecodecs.qoi_encode(rgb())), rgb()),
    Case("dds", "dds", pillow(rgb(), "DDS"), rgb()),
]  # fmt: skip

_RARE = [
    Case("fits", "fits", raw(_fits(grey(), 8)), grey()),
    Case("fits 16 bits", "fits", raw(_fits((grey().astype(np.int32) * 257 - 32768).astype(">i2"), 16,
         "BZERO = 32768", "BSCALE = 1.0")), grey()),
    Case("fits float", "fits", raw(_fits((grey() / 255).astype(">f4"), -32)), grey()),
    Case("fits scaled", "fits", raw(_fits(255 - grey(), 8, "BZERO = 255", "BSCALE = -1.0")), grey()),
    Case("fits colours", "fits", raw(_fits(np.moveaxis(rgb(), 2, 0), 8)), rgb()),
    Case("fits stack", "fits", raw(_fits(np.stack([grey(), 255 - grey()]), 8)), grey()),
    Case("fits picture in an extension", "fits", raw(
        _fits(np.zeros((0, 0), np.uint8), 8) + _fits(grey(), 8).replace(
            b"SIMPLE  =                    T", b"XTENSION= 'IMAGE   '          ")), grey()),
    Case("spider", "spi", pillow(grey().astype(np.float32), "SPIDER"), grey()),
    Case("pixar", "pxr", raw(_pixar()), rgb()),
    Case("mcidas", "ara", raw(_mcidas()), grey()),
    Case("imt", "imt", raw(b"*a comment\nwidth 96\nheight 64\npixel n8\n\x0c" + grey().tobytes()), grey()),
    Case("gbr", "gbr", raw(struct.pack(">5I4sI8s", 36, 2, 96, 64, 4, b"GIMP", 10, b"a brush\0")
         + _rgba().tobytes()), _WHITE_RGBA),
    Case("blp", "blp", lambda p: Image.fromarray(rgb()).quantize(24).save(p, "BLP"), _PALETTE_TRUTH),
    Case("ftex", "ftu", raw(_FTEX_HEADER + struct.pack("<3i", 1, 32, 96 * 64 * 3) + rgb().tobytes()), rgb()),
    Case("xvthumb", "p7", raw(_xv_thumbnail()[0]), _xv_thumbnail()[1]),
]  # fmt: skip

_TIFFS = [
    Case("tiff", "tif", tiff(rgb(), photometric="rgb"), rgb()),
    Case("tiff big-endian", "tif", tiff(_SIXTEEN, photometric="rgb", byteorder=">"), rgb()),
    Case("tiff bigtiff", "tif", tiff(rgb(), photometric="rgb", bigtiff=True), rgb()),
    Case("tiff 1 bit", "tif", tiff(bilevel(), photometric="minisblack"), _BLACK_WHITE),
    Case("tiff 1 bit min-is-white", "tif", tiff(~bilevel(), photometric="miniswhite"), _BLACK_WHITE),
    Case("tiff fax 4", "tif", pillow(bilevel(), "TIFF", compression="group4"), _BLACK_WHITE),
    Case("tiff fax 3", "tif", pillow(bilevel(), "TIFF", compression="group3"), _BLACK_WHITE),
    Case("tiff 2 bits", "tif", tiff(grey() >> 6, bitspersample=2), (grey() >> 6) * 85),
    Case("tiff 4 bits", "tif", tiff(grey() >> 4, bitspersample=4), (grey() >> 4) * 17),
    Case("tiff 12 bits", "tif", _twelve_bits_packed, grey()),
    Case("tiff 12 bits in 16", "tif", _max_sample_value, grey()),
    Case("tiff 16-bit grey", "tif", tiff(_GREY_SIXTEEN), grey()),
    Case("tiff 8-bit min-is-white", "tif", tiff(_white_is_zero(grey(), 8), photometric="miniswhite"), grey()),
    Case("tiff min-is-white + alpha", "tif",
         tiff(np.dstack([255 - grey(), alpha()]), photometric="miniswhite", planarconfig="contig",
              extrasamples=["unassalpha"]), _WHITE_GREY),
    Case("tiff 16-bit min-is-white", "tif",
         tiff(_white_is_zero(_GREY_SIXTEEN, 16), photometric="miniswhite"), grey()),
    Case("tiff 16-bit rgb", "tif", tiff(_SIXTEEN, photometric="rgb"), rgb()),
    Case("tiff 32-bit unsigned", "tif", tiff(grey().astype(np.uint32) * 16843009), grey()),
    Case("tiff 32-bit of 0 to 255", "tif", tiff(grey().astype(np.int32)), grey()),
    Case("tiff 16-bit signed of 0 to 255", "tif", tiff(grey().astype(np.int16)), grey()),
    Case("tiff float 0..1", "tif", tiff(grey().astype(np.float32) / 255), grey()),
    Case("tiff float rgb 0..1", "tif", tiff(rgb().astype(np.float32) / 255, photometric="rgb"), rgb()),
    Case("tiff float 0..255", "tif", tiff(grey().astype(np.float32)), grey()),
    Case("tiff double 0..1", "tif", tiff(grey().astype(np.float64) / 255), grey()),
    Case("tiff half 0..1", "tif", tiff((grey() / 255).astype(np.float16)), grey()),
    Case("tiff float with predictor", "tif",
         tiff(grey().astype(np.float32) / 255, compression="zlib", predictor=True), grey()),
    Case("tiff float of any range", "tif", tiff(grey().astype(np.float32) * 10 - 500), grey()),
    Case("tiff palette", "tif", tiff(_INDICES, photometric="palette", colormap=_TIFF_MAP), _PALETTE_TRUTH),
    Case("tiff palette of 8-bit values", "tif",
         tiff(_INDICES, photometric="palette", colormap=_COLOURMAP.astype(np.uint16).T, compression="zstd"),
         _PALETTE_TRUTH),
    Case("tiff palette 16 bits", "tif",
         tiff(_INDICES.astype(np.uint16), photometric="palette", colormap=np.pad(_TIFF_MAP, ((0,
         0), (0, 65280)))),
         _PALETTE_TRUTH),
    Case("tiff rgba", "tif", tiff(_rgba(), photometric="rgb", extrasamples=["unassalpha"]), _WHITE_RGBA),
    Case("tiff rgba 16 bits", "tif",
         tiff(_rgba().astype(np.uint16) * 257, photometric="rgb", extrasamples=["unassalpha"]), _WHITE_RGBA),
    Case("tiff associated alpha", "tif",
         tiff(_associated(), photometric="rgb", extrasamples=["assocalpha"]), _WHITE_RGBA, 1.6),
    Case("tiff associated alpha zstd", "tif",
         tiff(_associated(), photometric="rgb", extrasamples=["assocalpha"],
         compression="zstd"), _WHITE_RGBA, 1.6),
    Case("tiff grey + alpha", "tif", tiff(np.dstack([grey(), alpha()]), photometric="minisblack",
         planarconfig="contig", extrasamples=["unassalpha"]), _WHITE_GREY),
    Case("tiff an extra channel", "tif",
         tiff(np.dstack([rgb(), grey()]), photometric="rgb", extrasamples=["unspecified"]), rgb()),
    Case("tiff two extras, the second alpha", "tif",
         tiff(_TWO_EXTRAS, photometric="rgb", extrasamples=["unspecified", "unassalpha"]), _WHITE_RGBA),
    Case("tiff two alphas", "tif", tiff(_TWO_EXTRAS[:, :, [0, 1, 2, 4, 3]], photometric="rgb",
         extrasamples=["unassalpha", "unassalpha"]), _WHITE_RGBA),
    Case("tiff planes apart", "tif",
         tiff(np.moveaxis(rgb(), -1, 0), photometric="rgb", planarconfig="separate"), rgb()),
    Case("tiff planes apart, grey and alpha", "tif",
         tiff(np.stack([grey(), alpha()]), photometric="minisblack", planarconfig="separate",
              extrasamples=["unassalpha"]), _WHITE_GREY),
    Case("tiff planes apart, rgba in packbits", "tif",
         tiff(np.moveaxis(_rgba(), -1, 0), photometric="rgb", planarconfig="separate",
              extrasamples=["unassalpha"], compression="packbits", rowsperstrip=7), _WHITE_RGBA),
    Case("tiff planes apart zstd tiles", "tif",
         tiff(np.moveaxis(rgb(), -1, 0), photometric="rgb", planarconfig="separate", tile=(32, 32),
              compression="zstd"), rgb()),
    Case("tiff tiles", "tif", tiff(rgb(), photometric="rgb", tile=(32, 48)), rgb()),
    Case("tiff strips", "tif", tiff(rgb(), photometric="rgb", rowsperstrip=7, compression="zlib"), rgb()),
    Case("tiff lzw with predictor", "tif",
         tiff(rgb(), photometric="rgb", compression="lzw", predictor=True), rgb()),
    Case("tiff packbits", "tif", tiff(rgb(), photometric="rgb", compression="packbits"), rgb()),
    Case("tiff zstd", "tif", tiff(rgb(), photometric="rgb", compression="zstd"), rgb()),
    Case("tiff lzma", "tif", tiff(rgb(), photometric="rgb", compression="lzma"), rgb()),
    Case("tiff lerc", "tif", tiff(rgb(), photometric="rgb", compression="lerc"), rgb()),
    Case("tiff webp", "tif", tiff(rgb(), photometric="rgb", compression="webp",
         compressionargs={"lossless": True}), rgb()),
    Case("tiff jpeg", "tif",
         tiff(rgb(), photometric="rgb", compression="jpeg", tile=(64, 96),
         compressionargs={"level": 98}), rgb(), 2),
    Case("tiff jpeg 4:2:0", "tif", pillow(rgb(), "TIFF", compression="jpeg", quality=95), rgb(), 6),
    Case("tiff ycbcr", "tif", lambda p: Image.fromarray(rgb()).convert("YCbCr").save(p, "TIFF"), rgb(), 2.01),
    Case("tiff ycbcr tiles", "tif",
         tiff(np.asarray(Image.fromarray(rgb()).convert("YCbCr")), photometric="ycbcr", subsampling=(1, 1),
              tile=(32, 32), compression="zlib"), rgb(), 2.01),
    Case("tiff jpeg 2000", "tif", tiff(rgb(), photometric="rgb", compression="jpeg2000"), rgb()),
    Case("tiff jpeg xl", "tif", tiff(rgb(), photometric="rgb", compression="jpegxl"), rgb()),
    Case("tiff jpeg xr", "tif", tiff(rgb(), photometric="rgb", compression="jpegxr"), rgb(), 1),
    Case("tiff png", "tif", tiff(rgb(), photometric="rgb", compression="png"), rgb()),
    Case("tiff pages", "tif", _multipage, rgb()),
    Case("tiff thumbnail first", "tif", _thumbnail_first, rgb()),
    Case("tiff full size in a SubIFD", "tif", _full_size_in_subifd, rgb()),
    Case("tiff pyramid of SubIFDs", "tif", _pyramid_of_subifds, rgb()),
    Case("tiff pyramid, smallest first", "tif", _smallest_first, rgb()),
]  # fmt: skip

CASES: dict[str, Case] = {case.name: case for case in (*_JPEGS, *_OTHERS, *_RARE, *_TIFFS)}
