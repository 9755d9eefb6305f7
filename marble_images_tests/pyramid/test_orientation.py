"""Pictures come out upright, turned once and only once, in every format that can say how."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image, ImageOps

from marble_images.pyramid.convert import make_pyramid
from marble_images.pyramid.model import Box, ConvertOptions
from marble_images_tests.pyramid.images import Array, patches, rgb

_LOSSLESS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 98, "subsampling": 0},
    "PNG": {},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def upright(orientation: int) -> Array:
    """The truth: what Pillow makes of the stored picture."""
    image = Image.fromarray(rgb())
    image.getexif()[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


def check(source: Path, orientation: int) -> None:
    target = source.parent / "pyramid.tif"
    make_pyramid(source, target)
    with tifffile.TiffFile(target) as file:
        assert 274 not in file.pages[0].tags
        written = file.pages[0].asarray()
    truth = upright(orientation)
    assert written.shape == truth.shape
    assert np.abs(patches(written) - patches(truth)).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", _LOSSLESS)
def test_exif_orientation_is_applied(kind: str, orientation: int, tmp_path: Path) -> None:
    source = tmp_path / "source"
    Image.fromarray(rgb()).save(source, kind, exif=exif(orientation), **_LOSSLESS[kind])
    check(source, orientation)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_tiff_orientation_is_applied(compression: str, orientation: int, tmp_path: Path) -> None:
    source = tmp_path / "source.tif"
    tags = [(274, 3, 1, orientation, True)]
    tifffile.imwrite(source, rgb(), photometric="rgb", compression=compression, extratags=tags, metadata=None)
    check(source, orientation)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_is_turned_once(orientation: int, tmp_path: Path) -> None:
    source = tmp_path / "source.heic"
    heif = pillow_heif.from_pillow(Image.fromarray(rgb()))
    heif.save(source, quality=100, chroma=444, exif=exif(orientation))
    with Image.fromarray(np.asarray(pillow_heif.open_heif(source))) as decoded:
        truth = np.asarray(decoded)
    target = tmp_path / "pyramid.tif"
    make_pyramid(source, target)
    assert np.abs(patches(tifffile.imread(target)) - patches(truth)).max() <= 2


def _xmp_png(orientation: int) -> bytes:
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="{orientation}"/></x:xmpmeta>'
    return _png_with(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp.encode())


def _imagemagick_png(orientation: int) -> bytes:
    block = exif(orientation)
    text = f"\nexif\n{len(block):8}\n{block.hex()}\n".encode()
    return _png_with(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))


def _late_exif_png(orientation: int) -> bytes:
    return _png_with(b"eXIf", exif(orientation).removeprefix(b"Exif\0\0"), at_end=True)


def _png_with(kind: bytes, data: bytes, *, at_end: bool = False) -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    Image.fromarray(rgb()).save(buffer, "PNG")
    png = buffer.getvalue()
    chunk = len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
    at = png.index(b"IEND") - 4 if at_end else 33
    return png[:at] + chunk + png[at:]


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("build", [_xmp_png, _imagemagick_png, _late_exif_png])
def test_png_orientation_is_found_wherever_it_is(
    build: Callable[[int], bytes], orientation: int, tmp_path: Path
) -> None:
    source = tmp_path / "source.png"
    source.write_bytes(build(orientation))
    check(source, orientation)


@pytest.mark.parametrize("value", [0, 9, 300])
def test_an_orientation_that_makes_no_sense_is_none(value: int, tmp_path: Path) -> None:
    source = tmp_path / "source.jpg"
    Image.fromarray(rgb()).save(source, exif=exif(value), quality=98)
    check(source, 1)


def test_broken_exif_harms_nothing(tmp_path: Path) -> None:
    source = tmp_path / "source.jpg"
    Image.fromarray(rgb()).save(source, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage", quality=98)
    check(source, 1)


def test_the_box_holds_for_the_upright_picture(tmp_path: Path) -> None:
    source = tmp_path / "source.jpg"
    Image.fromarray(rgb()).save(source, exif=exif(6), quality=98)
    pyramid = make_pyramid(source, tmp_path / "pyramid.tif", ConvertOptions(box=Box(32, 1000)))
    assert (pyramid.width, pyramid.height) == (32, 48)
    assert (pyramid.source_width, pyramid.source_height) == (96, 64)
