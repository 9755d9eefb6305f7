from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marble_images.errors import ImageError, NotAnImage, UnsafeImage, UnsupportedFormat
from marble_images.formats import HEAD_BYTES, ImageFormat, identify, identify_file
from marble_images_tests.pyramid.cases import CASES, Case

_BY_NAME = {f.name.lower(): f for f in ImageFormat}
_NETPBM = {"ppm", "pgm", "pbm", "pam", "pfm"}


def _expected(case: Case) -> ImageFormat:
    first = case.name.split()[0].replace("-", "")
    if case.name.startswith("jpeg 2000"):
        return ImageFormat.JPEG2000
    return ImageFormat.PNM if first in _NETPBM else _BY_NAME[first]


@pytest.mark.parametrize("case", CASES.values(), ids=str)
def test_the_format_is_told_from_the_content(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "name.txt"
    case.write(path)
    expected = _expected(case)
    # SPIFF headers make a JPEG-LS look like a JPEG at first.
    allowed = {expected, ImageFormat.JPEG} if expected is ImageFormat.JPEGLS else {expected}
    assert identify_file(path) in allowed


@pytest.mark.parametrize(
    ("content", "error", "reason"),
    [
        (b"", NotAnImage, "the file is empty"),
        (bytes(100), NotAnImage, "nothing but zero bytes, not an image"),
        (b" \n\t ", NotAnImage, "nothing but blanks, not an image"),
        (b"<!DOCTYPE html><html><body>404</body></html>", NotAnImage, "HTML document, not an image"),
        (b"\n\n<HTML><head>", NotAnImage, "HTML document, not an image"),
        (b"\xef\xbb\xbf<!doctype HTML>", NotAnImage, "HTML document, not an image"),
        ("<html>".encode("utf-16"), NotAnImage, "HTML document, not an image"),
        (b"<!-- a comment --><title>Sign in</title>", NotAnImage, "HTML document, not an image"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', NotAnImage, "XML error message"),
        (b'<?xml version="1.0"?><mets:mets/>', NotAnImage, "XML document, not an image"),
        (b'{"error": "not found"}', NotAnImage, "JSON data, not an image"),
        (b"name,size\nscan.tif,300\n", NotAnImage, "text, not an image"),
        (b"BM is how this text begins, and it goes on", NotAnImage, "text, not an image"),
        (b"P5 is no picture", NotAnImage, "text, not an image"),
        (b"PK\x03\x04" + bytes(30), NotAnImage, "ZIP archive or Office document, not an image"),
        (b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2", NotAnImage, "MP4 or QuickTime media"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", NotAnImage, "WAV audio, not an image"),
        (b"\x01\x02\x03\x04 whatever \xff\xfe", NotAnImage, "not an image of any known format"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', UnsafeImage, "SVG is not read"),
        (
            b'<?xml version="1.0"?>\n<!-- x -->\n<!DOCTYPE svg PUBLIC "a" "b" [<!ENTITY a "b">]><svg>',
            UnsafeImage,
            "SVG",
        ),
        (b"<svg:svg xmlns:svg='x'>", UnsafeImage, "SVG is not read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", UnsafeImage, "PostScript is not read"),
        (b"\xc5\xd0\xd3\xc6" + bytes(30), UnsafeImage, "PostScript (EPS) is not read"),
        (b"II\xbc\x01", UnsupportedFormat, "JPEG XR images are not read"),
        (b"II*\x00\x10\x00\x00\x00CR\x02\x00", UnsupportedFormat, "Canon camera raw images are not read"),
        (b"AT&TFORM", UnsupportedFormat, "DjVu images are not read"),
        (b"v/1\x01", UnsupportedFormat, "OpenEXR images are not read"),
        (bytes(128) + b"DICM", UnsupportedFormat, "DICOM images are not read"),
        (b"FORM\x00\x00\x01\x00ILBMBMHD", UnsupportedFormat, "IFF images are not read"),
        (b"FORM\x00\x00\x01\x00AIFFCOMM", NotAnImage, "AIFF audio, not an image"),
        (
            struct.pack(">5I4s", 32, 1, 9, 9, 3, b"GPAT") + b"a name\0\0",
            UnsupportedFormat,
            "GIMP patterns of 3 bands are not read",
        ),
    ],
)
def test_what_is_no_image_is_named(content: bytes, error: type[ImageError], reason: str) -> None:
    with pytest.raises(error) as caught:
        identify(content)
    assert reason in caught.value.reason


@given(st.binary(max_size=200))
def test_any_bytes_are_identified_or_refused_in_one_line(content: bytes) -> None:
    try:
        found = identify(content)
    except ImageError as refusal:
        found = None
        reason = refusal.reason
    assert isinstance(found, ImageFormat) or reason


@given(st.text(max_size=100))
def test_no_text_is_a_tga(content: str) -> None:
    try:
        found = identify(content.encode())
    except ImageError:
        return
    assert found is not ImageFormat.TGA or content[1:3].isprintable() is False


def test_a_pdf_may_have_junk_before_its_header() -> None:
    assert identify(b"\xef\xbb\xbf\r\n%PDF-1.4\n") is ImageFormat.PDF
    assert identify(b"junk " * 100 + b"%PDF-1.7") is ImageFormat.PDF


def test_only_the_head_is_read(tmp_path: Path) -> None:
    path = tmp_path / "big.png"
    buffer = io.BytesIO(b"\x89PNG\r\n\x1a\n" + bytes(10 * HEAD_BYTES))
    path.write_bytes(buffer.getvalue())
    assert identify_file(path) is ImageFormat.PNG
