"""What a file is, told from its first bytes and never from its name. Reads no pixels, needs no decoder."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from marble_images.errors import NotAnImage, UnsafeImage, UnsupportedFormat
from marble_images.magic_bytes import MAGIC, NOT_IMAGES, UNSAFE, UNSUPPORTED, ImageFormat

__all__ = ["HEAD_BYTES", "ImageFormat", "identify", "identify_file"]

HEAD_BYTES = 4096
"""How many of a file's first bytes `identify` wants to see; fewer only if the file is shorter."""


# ISO base media brands, ISO/IEC 23008-12 and the AVIF specification.
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF_BRANDS = {b"avif", b"avis", b"avio"}
_HEIF_BRANDS = {b"mif1", b"mif2", b"msf1", b"miaf"}
_JPEG2000_BRANDS = {b"jp2 ", b"jpx ", b"jpm ", b"mjp2"}

_LARGEST_DIB = 2**17
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}
_TAG = re.compile(rb"<(?:!--.*?--|\?[^>]*|!doctype[^>\[]*(?:\[.*?\])?[^>]*|([a-z_][\w.:-]*))", re.I | re.S)
_PNM = re.compile(rb"P[1-6](?:\s+|\s*#[^\r\n]*[\r\n]+)+\d")
_PAM = re.compile(rb"P7\s+(?:#[^\r\n]*\s+)*(?:WIDTH|HEIGHT|DEPTH|MAXVAL|TUPLTYPE)\b")
_PFM = re.compile(rb"P[Ff]\s+\d+\s+\d+\s+[-+.\d]")
_IMT = re.compile(rb"(?:\*[^\n]*\n)*(?:width|height|pixel) \w+\n[^\x0c]*\x0c")
_XBM = re.compile(rb"\s*(?:/\*.*?\*/\s*)*#define\s+\w*(?:width|height)\s+\d+", re.S)


def identify_file(path: Path) -> ImageFormat:
    """The format of a file; see `identify`."""
    with path.open("rb") as file:
        return identify(file.read(HEAD_BYTES))


def identify(head: bytes) -> ImageFormat:
    """The image format of a file, from its first `HEAD_BYTES` bytes.

    Raises
    ------
    NotAnImage
        It is something else, which the message names, or nothing at all.
    UnsupportedFormat
        It is an image format that is known but not read.
    UnsafeImage
        It is a format that can make its reader open other files or run code.
    """
    if not head:
        raise NotAnImage("the file is empty")
    found = _by_magic(head) or _by_structure(head) or _by_text(head)
    if found is not None:
        return found
    raise NotAnImage("not an image of any known format")


def _by_magic(head: bytes) -> ImageFormat | None:
    for magic, image_format in MAGIC:
        if head.startswith(magic):
            return _refuse_raw(head, image_format)
    for magic, name in UNSUPPORTED:
        if head.startswith(magic):
            raise UnsupportedFormat(f"{name} images are not read")
    for magic, name in UNSAFE:
        if head.startswith(magic):
            raise UnsafeImage(f"{name} is not read, because it can run programs and open other files")
    for magic, name in NOT_IMAGES:
        if head.startswith(magic):
            raise NotAnImage(f"{name}, not an image")
    return None


def _refuse_raw(head: bytes, image_format: ImageFormat) -> ImageFormat:
    if image_format is ImageFormat.TIFF and head[8:10] == b"CR" and head[:2] == b"II":
        raise UnsupportedFormat("Canon camera raw images are not read")
    return image_format


def _by_structure(head: bytes) -> ImageFormat | None:
    for look in _LOOKS:
        found = look(head)
        if found is not None:
            return found
    return None


def _pdf(head: bytes) -> ImageFormat | None:
    # Readers accept what precedes the header within the first 1024 bytes (ISO 32000-1, note in H.3).
    at = head.find(b"%PDF-", 0, 1029)
    if at < 0 or head[:at].lstrip()[:1] == b"<":
        return None
    return ImageFormat.PDF


def _riff(head: bytes) -> ImageFormat | None:
    if head[:4] not in (b"RIFF", b"RIFX"):
        return None
    kind = head[8:12]
    if kind == b"WEBP":
        return ImageFormat.WEBP
    name = {b"AVI ": "AVI video", b"WAVE": "WAV audio", b"ACON": "animated cursor"}.get(
        kind, "RIFF media file"
    )
    raise NotAnImage(f"{name}, not an image")


def _iff(head: bytes) -> ImageFormat | None:
    if head[:4] not in (b"FORM", b"FOR4"):
        return None
    if head[8:12] in (b"AIFF", b"AIFC"):
        raise NotAnImage("AIFF audio, not an image")
    raise UnsupportedFormat("IFF images are not read")


def _iso_media(head: bytes) -> ImageFormat | None:
    if head[4:8] in (b"moov", b"mdat", b"wide", b"pnot") and len(head) > 16:
        raise NotAnImage("QuickTime video, not an image")
    if head[4:8] != b"ftyp":
        return None
    size = int.from_bytes(head[:4], "big")
    box = head[8 : max(16, min(size, 512))]
    brands = [box[:4], *(box[i : i + 4] for i in range(8, len(box), 4))]
    if brands[0] == b"crx ":
        raise UnsupportedFormat("Canon camera raw images are not read")
    for known, image_format in (
        (_AVIF_BRANDS, ImageFormat.AVIF),
        (_HEIC_BRANDS, ImageFormat.HEIC),
        (_JPEG2000_BRANDS, ImageFormat.JPEG2000),
        (_HEIF_BRANDS, ImageFormat.HEIC),
    ):
        if known.intersection(brands):
            return image_format
    raise NotAnImage("MP4 or QuickTime media, not an image")


def _bmp(head: bytes) -> ImageFormat | None:
    if head[:2] == b"BA" and head[14:16] == b"BM":
        raise UnsupportedFormat("OS/2 bitmap arrays are not read")
    if head[:2] != b"BM" or len(head) < 26:
        return None
    return ImageFormat.BMP if int.from_bytes(head[14:18], "little") in _BMP_HEADERS else None


def _dib(head: bytes) -> ImageFormat | None:
    # A bitmap as in the clipboard, without BMP's first 14 bytes: every field of its header must make sense.
    if len(head) < 40 or int.from_bytes(head[:4], "little") not in (40, 108, 124):
        return None
    across, down = (abs(int.from_bytes(head[at : at + 4], "little", signed=True)) for at in (4, 8))
    planes, bits, kind = (int.from_bytes(head[at : at + 2], "little") for at in (12, 14, 16))
    fits = 0 < across < _LARGEST_DIB and 0 < down < _LARGEST_DIB and planes == 1
    return ImageFormat.BMP if fits and bits in (1, 4, 8, 16, 24, 32) and kind <= 3 else None


def _icon(head: bytes) -> ImageFormat | None:
    if head[:2] != b"\x00\x00" or head[2:4] not in (b"\x01\x00", b"\x02\x00") or len(head) < 22:
        return None
    count, reserved = int.from_bytes(head[4:6], "little"), head[9]
    if not 0 < count <= 512 or reserved not in (0, 255):
        return None
    # The first picture's size and offset: a TGA can begin with the same four bytes.
    size, offset = int.from_bytes(head[14:18], "little"), int.from_bytes(head[18:22], "little")
    known = head[offset : offset + 4] in (b"\x28\x00\x00\x00", b"\x89PNG")
    if offset < 6 + 16 * count or (size < 40 and not known):
        return None
    return ImageFormat.ICO if head[2] == 1 else ImageFormat.CUR


def _pnm(head: bytes) -> ImageFormat | None:
    return ImageFormat.PNM if _PNM.match(head) or _PAM.match(head) or _PFM.match(head) else None


def _pcx(head: bytes) -> ImageFormat | None:
    if len(head) < 128 or head[0] != 10 or head[1] not in (0, 2, 3, 4, 5) or head[2] not in (0, 1):
        return None
    return ImageFormat.PCX if head[3] in (1, 2, 4, 8) and 1 <= head[65] <= 4 else None


def _sgi(head: bytes) -> ImageFormat | None:
    if head[:2] != b"\x01\xda" or len(head) < 12:
        return None
    return ImageFormat.SGI if head[2] in (0, 1) and head[3] in (1, 2) and head[5] in (1, 2, 3) else None


def _fli(head: bytes) -> ImageFormat | None:
    return (
        ImageFormat.FLI
        if head[4:6] in (b"\x11\xaf", b"\x12\xaf") and head[14:16] in (b"\x00\x00", b"\x03\x00")
        else None
    )


def _gbr(head: bytes) -> ImageFormat | None:
    # The first of GIMP's two kinds of brushes has no magic bytes.
    if len(head) < 28:
        return None
    size, version, width, height, bands = struct.unpack_from(">5I", head)
    if version == 1 and head[20:24] == b"GPAT" and bands not in (1, 4):
        raise UnsupportedFormat(f"GIMP patterns of {bands} bands are not read")
    marked = version == 2 and head[20:24] == b"GIMP"
    old = version == 1 and 20 <= size < HEAD_BYTES and 0 < width < _LARGEST_DIB and 0 < height < _LARGEST_DIB
    return ImageFormat.GBR if (marked or old) and bands in (1, 4) else None


def _spider(head: bytes) -> ImageFormat | None:
    # A header of floats, of which the counts must be whole numbers that fit each other.
    if len(head) < 108:
        return None
    for order in "<>":
        values = struct.unpack_from(f"{order}27f", head)
        slices, rows, form, columns, records, size, record = (values[i] for i in (0, 1, 4, 11, 12, 21, 22))
        sane = slices == 1 and 1 <= rows < _LARGEST_DIB and 1 <= columns < _LARGEST_DIB
        if form == 1 and sane and size > 0 and size == records * record:
            return ImageFormat.SPIDER
    return None


def _other(head: bytes) -> ImageFormat | None:
    if head[2048:2052] == b"PCD_":
        return ImageFormat.PCD
    if _IMT.match(head):
        return ImageFormat.IMT
    if head[128:132] == b"DICM":
        raise UnsupportedFormat("DICOM images are not read")
    if head[40:44] == b" EMF" and head[:4] == b"\x01\x00\x00\x00":
        raise UnsupportedFormat("Windows metafile (EMF) images are not read")
    if head[344:347] in (b"n+1", b"ni1"):
        raise UnsupportedFormat("NIfTI images are not read")
    if head[522:528] == b"\x00\x11\x02\xff\x0c\x00":
        raise UnsupportedFormat("PICT images are not read")
    if len(head) > 188 and head[0] == head[188] == 0x47 and head[1] < 0x60:
        raise NotAnImage("MPEG video, not an image")
    return None


def _tga(head: bytes) -> ImageFormat | None:
    # TGA has no magic bytes: every field of its header must make sense, and none is a printable letter.
    if len(head) < 18:
        return None
    mapped, kind, depth, map_depth = head[1], head[2], head[16], head[7]
    width, height = int.from_bytes(head[12:14], "little"), int.from_bytes(head[14:16], "little")
    if not width or not height or head[17] & 0xC0:
        return None
    if kind in (1, 9):
        fine = mapped == 1 and depth == 8 and map_depth in (15, 16, 24, 32)
    elif kind in (2, 10):
        fine = mapped in (0, 1) and depth in (15, 16, 24, 32)
    else:
        fine = kind in (3, 11) and mapped == 0 and depth in (1, 8, 16)
    if not mapped and any(head[3:8]):
        fine = False
    return ImageFormat.TGA if fine else None


def _by_text(head: bytes) -> ImageFormat | None:
    text = _as_text(head)
    if text is None:
        if not head.strip(b"\x00"):
            raise NotAnImage("nothing but zero bytes, not an image")
        return None
    if _XBM.match(text):
        return ImageFormat.XBM
    stripped = text.lstrip()
    if stripped.startswith(b"/* XPM"):
        return ImageFormat.XPM
    if stripped.startswith(b"%!"):
        raise UnsafeImage("PostScript is not read, because it can run programs and open other files")
    if stripped.startswith(b"<"):
        _refuse_markup(stripped)
    if stripped[:1] in (b"{", b"[") and b'"' in stripped[:200]:
        raise NotAnImage("JSON data, not an image")
    raise NotAnImage("text, not an image" if stripped else "nothing but blanks, not an image")


def _refuse_markup(text: bytes) -> None:
    lowered = text.lower()
    if lowered.startswith(b"<!doctype html"):
        raise NotAnImage("HTML document, not an image")
    for match in _TAG.finditer(text):
        name = (match.group(1) or b"").lower()
        if name == b"svg" or name.endswith(b":svg"):
            raise UnsafeImage("SVG is not read, because it can reference other files")
        if name in (b"html", b"head", b"body", b"title", b"meta", b"div", b"p", b"h1", b"script", b"table"):
            raise NotAnImage("HTML document, not an image")
        if name:
            break
    if b"accessdenied" in lowered or b"<error>" in lowered:
        raise NotAnImage("XML error message, not an image")
    raise NotAnImage("XML document, not an image")


def _as_text(head: bytes) -> bytes | None:
    """The head as UTF-8 if it is text in UTF-8, UTF-16 or a one-byte encoding, else ``None``."""
    for mark, encoding in (
        (b"\xef\xbb\xbf", "utf-8"),
        (b"\xff\xfe", "utf-16-le"),
        (b"\xfe\xff", "utf-16-be"),
    ):
        if head.startswith(mark):
            text = head[len(mark) :].decode(encoding, "ignore")
            return text.encode() if text.isprintable() or not _CONTROL.search(text) else None
    return None if _CONTROL.search(head.decode("latin-1")) else head


_CONTROL = re.compile(r"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")

_LOOKS = (
    *(_pdf, _riff, _iff, _iso_media, _bmp, _dib, _icon, _pnm, _pcx, _sgi, _fli, _gbr, _spider, _other),
    # Last, since it has no magic bytes at all.
    _tga,
)
