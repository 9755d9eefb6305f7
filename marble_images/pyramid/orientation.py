"""How a picture is to be turned, from the metadata that says so."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from marble_images.pyramid.decode import DECODER_ERRORS

UPRIGHT = 1

_TAG = 0x0112
_EXIF_HEADER = b"Exif\0\0"
# Adobe's XMP specification, part 2: tiff:Orientation, as an attribute or as an element.
_XMP = re.compile(rb"tiff:Orientation(?:\s*=\s*[\"']|>)\s*([1-8])")
_PNG_XMP = b"XML:com.adobe.xmp"
_PNG_PROFILES = (b"Raw profile type exif", b"Raw profile type APP1")
_LONGEST_CHUNK = 2**24


def from_metadata(exif: bytes | None, xmp: bytes | None) -> int:
    """Orientation, 1 to 8, from an EXIF block or, where that has none, from XMP; 1 where neither has."""
    return _from_exif(exif) or _from_xmp(xmp) or UPRIGHT


def of_png(path: Path) -> int:
    """Orientation of a PNG, wherever in the file it is and in the older ways of storing EXIF too."""
    exif: bytes | None = None
    xmp: bytes | None = None
    for kind, data in _png_chunks(path):
        if kind == b"eXIf":
            exif = data
        elif kind == b"iTXt" and data.startswith(_PNG_XMP):
            xmp = data
        elif kind in (b"zTXt", b"tEXt") and exif is None:
            exif = _raw_profile(kind, data)
    return from_metadata(exif, xmp)


def _from_exif(exif: bytes | None) -> int | None:
    if not exif:
        return None
    block = Image.Exif()
    try:
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
            if kind in (b"eXIf", b"iTXt", b"zTXt", b"tEXt") and size <= _LONGEST_CHUNK:
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
            text = zlib.decompressobj().decompress(text[1:], _LONGEST_CHUNK)
        _, _, digits = text.lstrip().split(b"\n", 2)
        return bytes.fromhex(b"".join(digits.split()).decode("ascii"))
    except DECODER_ERRORS:
        return None
