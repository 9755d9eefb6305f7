"""What a file says besides its pixels: how the picture is to be turned, and profiles that decoders drop."""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from marble_images.pyramid.decode import DECODER_ERRORS

UPRIGHT = 1

_TAG = 0x0112
_EXIF_HEADER = b"Exif\0\0"
# Adobe's XMP specification, part 2: tiff:Orientation, as an attribute or as an element.
_XMP = re.compile(rb"tiff:Orientation(?:\s*=\s*[\"']|>)\s*([1-8])")
_PNG_XMP = b"XML:com.adobe.xmp"
_PNG_PROFILES = (b"Raw profile type exif", b"Raw profile type APP1")
_PNG_METADATA = (b"eXIf", b"iCCP", b"iTXt", b"zTXt", b"tEXt")
_COLOUR_HEADER = 3
_LONGEST_CHUNK = 2**24


def from_metadata(exif: bytes | None, xmp: bytes | None) -> int:
    """Orientation, 1 to 8, from an EXIF block or, where that has none, from XMP; 1 where neither has."""
    return _from_exif(exif) or _from_xmp(xmp) or UPRIGHT


def of_png(path: Path) -> tuple[int, bytes | None]:
    """Orientation of a PNG, also where it is stored in the older ways, and its ICC profile.

    libvips leaves out a profile that does not suit the pixels; here it is given, to be warned of.
    """
    exif: bytes | None = None
    xmp: bytes | None = None
    profile: bytes | None = None
    for kind, data in _png_chunks(path):
        if kind == b"eXIf":
            exif = data
        elif kind == b"iCCP":
            profile = _inflate(data.partition(b"\0")[2][1:])
        elif kind == b"iTXt" and data.startswith(_PNG_XMP):
            xmp = data
        elif kind in (b"zTXt", b"tEXt") and exif is None:
            exif = _raw_profile(kind, data)
    return from_metadata(exif, xmp), profile


def of_jpeg2000(path: Path) -> tuple[int | None, bytes | None]:
    """The enumerated colour space and the ICC profile of a JP2 (ISO/IEC 15444-1, annex I.5.3.3).

    The first colour specification counts; a bare codestream has none.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        for kind, start, end in _boxes(file, 0, size):
            if kind != b"jp2h":
                continue
            for inner, at, until in _boxes(file, start, end):
                if inner == b"colr" and until - at > _COLOUR_HEADER:
                    file.seek(at)
                    data = file.read(min(until - at, _LONGEST_CHUNK))
                    if data[0] == 1:
                        return int.from_bytes(data[3:7], "big"), None
                    return None, data[3:]
    return None, None


def _boxes(file: BinaryIO, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of the boxes between two positions; damage ends them."""
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size, kind, start = int.from_bytes(head[:4], "big"), head[4:8], at + 8
        if size == 1:
            size, start = int.from_bytes(head[8:16], "big"), at + 16
        until = end if size == 0 else at + size
        if until < start or until > end:
            return
        yield kind, start, until
        at = until


def _from_exif(exif: bytes | None) -> int | None:
    if not exif:
        return None
    block = Image.Exif()
    try:
        # Pillow warns of damage; a picture without orientation is all that follows from it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            block.load(exif if exif.startswith(_EXIF_HEADER) else _EXIF_HEADER + exif)
            value = block.get(_TAG)
    except DECODER_ERRORS:
        return None
    return value if isinstance(value, int) and 1 <= value <= 8 else None


def _from_xmp(xmp: bytes | None) -> int | None:
    found = _XMP.search(xmp) if xmp else None
    return int(found[1]) if found else None


def _png_chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG that may hold metadata; damage ends them."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            size, kind = int.from_bytes(head[:4], "big"), head[4:]
            if kind in _PNG_METADATA and size <= _LONGEST_CHUNK:
                yield kind, file.read(size)
                file.seek(4, 1)
            else:
                file.seek(size + 4, 1)
            if kind == b"IEND":
                return


def _raw_profile(kind: bytes, data: bytes) -> bytes | None:
    """EXIF as ImageMagick writes it into PNG: hexadecimal digits after a name and a length."""
    name, _, text = data.partition(b"\0")
    if name not in _PNG_PROFILES:
        return None
    try:
        if kind == b"zTXt":
            text = _inflate(text[1:])
        _, _, digits = text.lstrip().split(b"\n", 2)
        return bytes.fromhex(b"".join(digits.split()).decode("ascii"))
    except DECODER_ERRORS:
        return None


def _inflate(data: bytes) -> bytes:
    """Inflated bytes, cut at the length of the longest chunk; what is there of damaged data."""
    try:
        return zlib.decompressobj().decompress(data, _LONGEST_CHUNK)
    except zlib.error:
        return data
