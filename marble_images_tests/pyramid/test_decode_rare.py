"""Kinds of rare files that the usual readers get wrong, written here byte by byte, show what they should."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from marble_images.errors import CorruptImage, ImageError, TruncatedImage, UnsupportedFormat
from marble_images.formats import ImageFormat
from marble_images.pyramid.convert import make_pyramid
from marble_images.pyramid.decode import decoding_error
from marble_images_tests.pyramid.images import Array, alpha, bilevel, grey, on_white, rgb

_SIDE = 64


def converted(data: bytes, tmp_path: Path) -> Array:
    source, target = tmp_path / "source", tmp_path / "pyramid.tif"
    source.write_bytes(data)
    make_pyramid(source, target)
    return tifffile.imread(target, key=0)


def square() -> Array:
    return rgb()[:, :_SIDE]


def sun(kind: int, body: bytes) -> bytes:
    return struct.pack(">8I", 0x59A66A95, 96, 64, 32, 96 * 64 * 4, kind, 0, 0) + body


def runs(data: bytes) -> bytes:
    """Sun's run lengths, as far as its worst cases: a run, and a lone 128."""
    out = bytearray()
    at = 0
    while at < len(data):
        count = 1
        while count < 256 and data[at : at + 1] * (count + 1) == data[at : at + count + 1]:
            count += 1
        if count > 2:
            out += bytes([128, count - 1, data[at]])
        else:
            out += data[at : at + count].replace(b"\x80", b"\x80\x00")
        at += count
    return bytes(out)


@pytest.mark.parametrize("kind", [0, 1, 2, 3])
def test_a_sun_raster_of_32_bits_has_its_colours_after_a_byte_of_nothing(kind: int, tmp_path: Path) -> None:
    colours = rgb() if kind == 3 else rgb()[:, :, ::-1]
    body = np.dstack([np.full((64, 96), 128, np.uint8), colours]).tobytes()
    data = sun(kind, runs(body) if kind == 2 else body)
    assert np.array_equal(converted(data, tmp_path), rgb())
    with pytest.raises(TruncatedImage):
        converted(data[:-9], tmp_path)


def test_set_bits_of_an_xbm_are_black(tmp_path: Path) -> None:
    rows = np.packbits(~bilevel(), axis=1, bitorder="little")
    text = ", ".join(f"0x{byte:02x}" for byte in rows.ravel())
    data = f"#define a_width 96\n#define a_height 64\nstatic char a_bits[] = {{\n{text} }};\n"
    assert np.array_equal(converted(data.encode(), tmp_path), bilevel().astype(np.uint8) * 255)


def bitmap(picture: Array, mask: Array | None, depth: int) -> bytes:
    """A bitmap as icons hold it: twice as high as it is, with a mask of what is transparent."""
    header = struct.pack(
        "<IiiHHIIiiII", 40, _SIDE, 2 * _SIDE, 1, depth, 0, 0, 0, 0, 2 if depth == 1 else 0, 0
    )
    hidden = np.zeros((_SIDE, _SIDE), bool) if mask is None else mask
    if depth == 1:
        header += bytes(4) + b"\xff\xff\xff\x00"
        picture = np.packbits(picture, axis=1)
    return header + picture[::-1].tobytes() + np.packbits(hidden, axis=1)[::-1].tobytes()


def icon(kind: int, *pictures: bytes) -> bytes:
    entries, at = b"", 6 + 16 * len(pictures)
    for picture in pictures:
        entries += struct.pack("<4B2H2I", _SIDE, _SIDE, 0, 0, 3, 5, len(picture), at)
        at += len(picture)
    return struct.pack("<3H", 0, kind, len(pictures)) + entries + b"".join(pictures)


@pytest.mark.parametrize("kind", [1, 2])
def test_the_mask_of_an_icon_or_a_cursor_is_applied(kind: int, tmp_path: Path) -> None:
    hidden = np.zeros((_SIDE, _SIDE), bool)
    hidden[20:40, 8:24] = True
    truth = np.where(hidden[:, :, np.newaxis], 255, square())
    assert np.array_equal(converted(icon(kind, bitmap(square()[:, :, ::-1], hidden, 24)), tmp_path), truth)
    # What the directory says of the picture's size does not matter.
    lying = bytearray(icon(kind, bitmap(square()[:, :, ::-1], hidden, 24)))
    struct.pack_into("<I", lying, 14, 8)
    assert np.array_equal(converted(bytes(lying), tmp_path), truth)
    # An alpha of nothing but 0 is none.
    idle = np.dstack([square()[:, :, ::-1], np.zeros((_SIDE, _SIDE), np.uint8)])
    assert np.array_equal(converted(icon(kind, bitmap(idle, hidden, 32)), tmp_path), truth)
    opacity = alpha()[:, :_SIDE]
    with_alpha = np.dstack([square()[:, :, ::-1], opacity])
    written = converted(icon(kind, bitmap(with_alpha, None, 32)), tmp_path)
    assert np.abs(written.astype(int) - on_white(square(), opacity)).max() <= 1


def test_of_icons_of_one_size_the_one_with_most_colours_is_shown(tmp_path: Path) -> None:
    black_white = bitmap(bilevel()[:, :_SIDE], None, 1)
    coloured = bitmap(square()[:, :, ::-1], None, 24)
    for pictures in ((black_white, coloured), (coloured, black_white)):
        assert np.array_equal(converted(icon(1, *pictures), tmp_path), square())


def test_an_icon_that_ends_in_its_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        converted(icon(1, *[bitmap(square(), None, 24)] * 9)[:60], tmp_path)


def test_an_icon_of_more_pixels_than_any_icon_is_refused(tmp_path: Path) -> None:
    data = bytearray(icon(1, bitmap(square()[:, :, ::-1], None, 24)))
    struct.pack_into("<ii", data, 22 + 4, 60000, 120000)
    with pytest.raises(CorruptImage, match="60000 x 60000 pixels"):
        converted(bytes(data), tmp_path)


def test_a_tga_whose_alpha_is_0_throughout_is_opaque(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([rgb(), np.zeros((64, 96), np.uint8)])).save(buffer, "TGA")
    assert np.array_equal(converted(buffer.getvalue(), tmp_path), rgb())


def test_the_alpha_of_a_palette_counts(tmp_path: Path) -> None:
    header = struct.pack("<3B2HB4H2B", 0, 1, 1, 0, 256, 32, 0, 0, 96, 64, 8, 0x28)
    levels = np.arange(256, dtype=np.uint8)
    table = np.stack([levels, levels, levels, 255 - levels], axis=1)
    written = converted(header + table.tobytes() + grey().tobytes(), tmp_path)
    assert np.abs(written[:, :, 0].astype(int) - on_white(grey(), 255 - grey())).max() <= 1


@pytest.mark.parametrize("kind", ["PF", "Pf"])
def test_photoshops_pfm_begins_with_the_top_row(kind: str, tmp_path: Path) -> None:
    picture = rgb() if kind == "PF" else grey()
    samples = (picture / np.float32(255)).astype("<f4")
    assert np.array_equal(
        converted(f"{kind}\n96\n64\n-1.0\n".encode() + samples.tobytes(), tmp_path), picture
    )
    usual = f"{kind}\n96 64\n-1.0\n".encode() + samples[::-1].tobytes()
    assert np.array_equal(converted(usual, tmp_path), picture)


@pytest.mark.parametrize(
    ("said", "colour"),
    [
        ("c #FFFF9191AAAA", (255, 145, 170)),
        ("c #f9a", (255, 153, 170)),
        ("m white c #102030", (16, 32, 48)),
        ("s a name c Navy Blue", None),
        ("c navy", (0, 0, 128)),
        ("c gray50", (127, 127, 127)),
        ("c green", (0, 255, 0)),
        ("c None", (255, 255, 255)),
        ("m black", (0, 0, 0)),
    ],
)
def test_the_colours_of_an_xpm(said: str, colour: tuple[int, int, int] | None, tmp_path: Path) -> None:
    rows = "".join('",\n"' + "ab" * 4 for _ in range(8))
    data = f'/* XPM */\nstatic char *a[] = {{\n"8 8 2 1",\n"a {said}",\n"b c #010203{rows}"}};\n'.encode()
    if colour is None:
        with pytest.raises(UnsupportedFormat, match="navy blue"):
            converted(data, tmp_path)
        return
    written = converted(data, tmp_path)
    assert written[0, 0].tolist() == list(colour)
    assert written[0, 1].tolist() == [1, 2, 3]


def test_a_dds_that_says_grey_is_grey(tmp_path: Path) -> None:
    header = struct.pack("<4s7I44x", b"DDS ", 124, 0x100F, 64, 96, 96, 0, 0)
    pixel_format = struct.pack("<8I", 32, 0x20040, 0, 8, 0xFF, 0, 0, 0)
    data = header + pixel_format + struct.pack("<5I", 0x1000, 0, 0, 0, 0) + grey().tobytes()
    assert np.array_equal(converted(data, tmp_path), grey())
    with_alpha = data[:80] + struct.pack("<6I", 0x20001, 0, 16, 0xFF, 0, 0) + struct.pack("<I", 0xFF00)
    pixels = np.dstack([grey(), alpha()]).tobytes()
    written = converted(with_alpha + data[108:128] + pixels, tmp_path)
    assert np.abs(written.astype(int) - on_white(grey(), alpha())).max() <= 1


@pytest.mark.parametrize("order", ["-Y 64 +X 96", "-Y 64 -X 96", "+Y 64 +X 96", "+Y 64 -X 96"])
def test_a_radiance_picture_comes_out_upright(order: str, tmp_path: Path) -> None:
    light = (rgb() / np.float32(255)) ** np.float32(2.2)
    usual = converted(bytes(imagecodecs.rgbe_encode(light)), tmp_path)
    turned = light[:: 1 if order[0] == "-" else -1, :: 1 if order[6] == "+" else -1]
    data = bytes(imagecodecs.rgbe_encode(np.ascontiguousarray(turned))).replace(
        b"-Y 64 +X 96", order.encode()
    )
    assert np.array_equal(converted(data, tmp_path), usual)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "Support for this compression format has not been built in: JPEG 2000 (a suitable decoder",
            "HEIC images compressed as JPEG 2000 are not read",
        ),
        (
            "tiff2vips: Old-style JPEG compression support is not configured",
            "HEIC images compressed as Old-style JPEG are not read",
        ),
    ],
)
def test_a_compression_that_is_not_built_in_is_named(said: str, reason: str) -> None:
    error = decoding_error(ImageFormat.HEIC, f"unable to write\n  {said}")
    assert isinstance(error, UnsupportedFormat)
    assert error.reason == reason


def cropped(data: bytes, width: int, height: int) -> bytes:
    """An AVIF of one picture that is told to show its middle only (ISO/IEC 14496-12, clean aperture)."""
    box = struct.pack(">I4s8I", 40, b"clap", width, 1, height, 1, 0, 1, 0, 1)
    out = bytearray(data)
    begin = data.index(b"mdat") + 4
    pointer = data.index(struct.pack(">I", begin), data.index(b"iloc"))
    struct.pack_into(">I", out, pointer, begin + len(box) + 1)
    properties, links = data.index(b"ipco") - 4, data.index(b"ipma") - 4
    end, known = properties + 8, 0
    while end < properties + int.from_bytes(data[properties : properties + 4], "big"):
        end += int.from_bytes(data[end : end + 4], "big")
        known += 1
    # Size, name, version, number of items, item's number; then how many properties it has.
    count = links + 18
    out[count] += 1
    out.insert(count + data[count] + 1, 0x80 | (known + 1))
    out[end:end] = box
    for start, more in ((links + len(box), 1), (properties, len(box))):
        struct.pack_into(">I", out, start, int.from_bytes(out[start : start + 4], "big") + more)
    for name in (b"iprp", b"meta"):
        start = data.index(name) - 4
        struct.pack_into(">I", out, start, int.from_bytes(out[start : start + 4], "big") + len(box) + 1)
    return bytes(out)


def test_of_an_avif_only_what_is_to_be_seen_is_shown(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(rgb()).save(buffer, "AVIF", quality=100, subsampling="4:4:4")
    written = converted(cropped(buffer.getvalue(), 64, 32), tmp_path)
    assert written.shape == (32, 64, 3)
    assert np.abs(written.astype(int) - rgb()[16:48, 16:80]).mean() < 3


def test_a_kind_that_is_not_read_is_not_called_damaged(tmp_path: Path) -> None:
    four_planes = struct.pack("<4B6H48x2BH", 10, 5, 1, 8, 0, 0, 95, 63, 72, 72, 0, 4, 96).ljust(128, b"\0")
    with pytest.raises(UnsupportedFormat, match="PCX images of this kind are not read"):
        converted(four_planes + bytes(1000), tmp_path)
    jpeg_within = struct.pack("<2sI4xI", b"BM", 1000, 54) + struct.pack(
        "<IiiHHIIiiII", 40, 96, 64, 1, 0, 4, 900, 0, 0, 0, 0
    )
    with pytest.raises(UnsupportedFormat, match="BMP images of this kind are not read"):
        converted(jpeg_within.ljust(1000, b"\1"), tmp_path)
