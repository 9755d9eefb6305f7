"""JPEG: through libvips, with shrink-on-load, strict about damage and mild about camera oddities."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from marble_images.errors import CorruptImage, ImageError, TruncatedImage, UnsupportedFormat
from marble_images.formats import ImageFormat
from marble_images.pyramid.decode import Picture, Space, check_size, decoding_error
from marble_images.pyramid.decode_vips import orientation_of, profile
from marble_images.pyramid.geometry import fit
from marble_images.pyramid.model import ConvertOptions
from marble_images.pyramid.vips import pyvips

JPEG_LS = 0xF7
_SOF = {*range(0xC0, 0xD0), JPEG_LS} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
# Lossless and hierarchical frames, and JPEG-LS.
_UNUSUAL = {0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF, JPEG_LS}
_STANDALONE = {0x01, *range(0xD0, 0xD9)}
EOI = b"\xff\xd9"

# libjpeg's warnings of what harms no pixel, from its message table: bytes between segments or before the
# end that belong to nothing, and headers of newer or older writers. All others mean damaged data.
_NO_HARM = (
    r"\d+ extraneous bytes before marker 0x(?!d[0-7])|Unknown Adobe color transform|unknown JFIF revision"
    r"|Invalid SOS parameters for sequential|Inconsistent progression"
)
_HARMLESS = re.compile(_NO_HARM, re.IGNORECASE)
# libvips looks for warnings before each batch of rows: those of the last rows are found afterwards.
_HARMFUL = re.compile(rf"VipsJpeg: (?!(Corrupt JPEG data: |Warning: )?({_NO_HARM}))", re.IGNORECASE)


@dataclass(frozen=True)
class _Frame:
    marker: int
    precision: int
    height: int
    width: int
    components: int


@dataclass(frozen=True)
class _Headers:
    """What lies before the first scan: the frame, where the scan begins, and the bytes without any junk."""

    frame: _Frame
    scan_at: int
    clean: bytes | None


def read(path: Path, image_format: ImageFormat, options: ConvertOptions) -> Picture:
    """Open a baseline, extended or progressive JPEG of 8 bits, and refuse all that libjpeg warns of.

    "warning" is the only level at which libvips tells damaged data, which libjpeg fills with grey, from sound
    data. The harmless oddities that it would refuse too are mended here (a missing end marker, bytes between
    the header's segments) or left to `read_mildly`.

    Raises
    ------
    UnsupportedFormat
        It is of another kind (lossless, 12 bits, hierarchical): for another decoder.
    TruncatedImage, CorruptImage
        The headers cannot be read. Damage further on is found when the pixels are read.
    """
    return _read(path, image_format, options, "warning")


def read_mildly(
    path: Path, image_format: ImageFormat, options: ConvertOptions, refusal: ImageError | None
) -> Picture:
    """Open a JPEG that `read` refused, if its reason harms no pixel; else raise it again."""
    assert refusal is not None
    if not _HARMLESS.search(refusal.detail or ""):
        raise refusal
    return _read(path, image_format, options, "error")


def _read(path: Path, image_format: ImageFormat, options: ConvertOptions, fail_on: str) -> Picture:
    data = path.read_bytes()
    headers = parse_headers(data)
    frame = headers.frame
    check_size(frame.width, max(1, frame.height), options)
    if frame.marker in _UNUSUAL or frame.precision != 8:
        raise UnsupportedFormat("JPEG images of this kind are not read")
    mended, warnings = _mend(data, headers)
    shrink = _shrink(frame, options)
    arguments = {"access": "sequential", "shrink": shrink, "fail_on": fail_on, "unlimited": True}
    try:
        if mended is None:
            image = pyvips.Image.jpegload(str(path), **arguments)
        else:
            image = pyvips.Image.jpegload_buffer(mended, **arguments)
    except pyvips.Error as problem:
        raise decoding_error(image_format, problem) from problem
    space = {1: Space.GREY, 3: Space.RGB, 4: Space.CMYK}.get(image.bands)
    if space is None:
        raise UnsupportedFormat(f"JPEG images of {image.bands} components are not read")
    return Picture(
        image=image,
        space=space,
        format=image_format,
        width=frame.width,
        height=frame.height or image.height * shrink,
        orientation=orientation_of(image),
        profile=profile(image),
        complaints=_HARMFUL,
        warnings=warnings,
    )


def _shrink(frame: _Frame, options: ConvertOptions) -> int:
    """By how much libjpeg may shrink on load: at least a factor of 2 is left to the better kernel."""
    # The box is for the upright picture: the orientation is not known yet, so both ways must fit.
    factor = min(
        max(w / fitted[0], h / fitted[1])
        for w, h in ((frame.width, max(1, frame.height)), (max(1, frame.height), frame.width))
        for fitted in (fit(w, h, options.box),)
    )
    return next((shrink for shrink in (8, 4, 2) if factor >= 2 * shrink), 1)


def _mend(data: bytes, headers: _Headers) -> tuple[bytes | None, tuple[str, ...]]:
    """The bytes to decode in place of the file's, if it lacks its end marker or holds junk."""
    mended, warnings = headers.clean, []
    if mended is not None:
        warnings.append("the JPEG file has stray bytes between its headers")
    # Within a scan an 0xFF byte is followed by 0, so the end marker cannot occur by chance.
    if data.find(EOI, headers.scan_at) < 0:
        if headers.frame.marker in _PROGRESSIVE:
            # Each scan refines the whole picture: without an end nobody knows whether scans are missing.
            raise TruncatedImage("the JPEG file is truncated")
        # Cut off after its last pixel, or before it: with the marker, libjpeg warns only in the latter case.
        mended = (data if mended is None else mended).rstrip(b"\xff") + EOI
        warnings.append("the JPEG file lacks its end marker")
    return mended, tuple(warnings)


def parse_headers(data: bytes) -> _Headers:
    at, frame, clean = 2, None, [data[:2]]
    while True:
        start = at
        at = _next_marker(data, at)
        if at < 0:
            raise TruncatedImage("the JPEG file is truncated")
        marker, size = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if data[start:at].strip(b"\xff"):
            clean.append(b"")
        if marker == 0xD9:
            raise CorruptImage("the JPEG file has no picture data")
        if marker in _STANDALONE:
            at += 2
            continue
        if marker in _SOF:
            frame = _parse_frame(marker, data[at + 4 : at + 2 + size])
        if marker == 0xDA:
            break
        clean.append(data[at : at + 2 + size])
        at += 2 + size
    if frame is None:
        raise CorruptImage("the JPEG file has no picture header")
    return _Headers(frame, at, b"".join([*clean, data[at:]]) if b"" in clean else None)


def _next_marker(data: bytes, at: int) -> int:
    """Where the next marker begins, past any fill bytes and junk; -1 if there is none."""
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 2 > len(data):
            return -1
        if data[at + 1] == 0xFF:
            at += 1
        elif data[at + 1] == 0:
            at += 2
        else:
            return at


def _parse_frame(marker: int, segment: bytes) -> _Frame:
    if len(segment) < 6:
        raise TruncatedImage("the JPEG file is truncated")
    height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
    return _Frame(marker, segment[0], height, width, segment[5])
