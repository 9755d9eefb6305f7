"""What ``marble-images info`` tells about files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pypdfium2
import pytest
import tifffile
from PIL import Image, ImageCms

from marble_images.errors import CorruptImage, ImageError
from marble_images.pyramid.describe import describe
from marble_images_tests.pyramid.images import rgb
from marble_images_tests.pyramid.pyramids import levels_of, photograph, write_levels


def test_a_pyramid_lists_its_levels_tiles_and_compression(tmp_path: Path) -> None:
    path = write_levels(tmp_path / "p.tif", levels_of(photograph(1100, 700)), software="by a test")
    found = describe(path)
    assert found["levels"] == [[1100, 700], [550, 350], [275, 175]]
    expected = {
        "format": "TIFF",
        "bytes": path.stat().st_size,
        "width": 1100,
        "height": 700,
        "bands": 3,
        "bits": 8,
        "interpretation": "rgb",
        "dpi": [300.0, 300.0],
        "pages": 3,
        "tile": [512, 512],
        "compression": "deflate",
        "predictor": "horizontal",
        "software": "by a test",
    }
    assert {name: found[name] for name in expected} == expected


def test_pages_that_are_no_pyramid_are_not_called_levels(tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path) as tiff:
        for _ in range(3):
            tiff.write(rgb(), photometric="rgb")
    found = describe(path)
    assert found["pages"] == 3
    assert "levels" not in found


def test_sixteen_bits_and_big_tiff_are_told(tmp_path: Path) -> None:
    path = tmp_path / "deep.tif"
    tifffile.imwrite(path, rgb().astype(np.uint16) * 257, photometric="rgb", bigtiff=True)
    found = describe(path)
    assert (found["bits"], found["bigtiff"]) == (16, True)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WebP", "AVIF", "BMP", "PPM", "JPEG2000"])
def test_every_common_format_tells_its_size(tmp_path: Path, kind: str) -> None:
    # A name that would be taken for options if it were parsed.
    path = tmp_path / "picture.tif[page=2]"
    Image.fromarray(rgb()).save(path, kind)
    found = describe(path)
    assert (found["width"], found["height"], found["pages"]) == (96, 64, 1)
    assert found["bytes"] == path.stat().st_size
    json.dumps(found)


def test_a_jpeg_tells_profile_resolution_and_orientation(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[274] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(rgb()).save(
        path, "JPEG", exif=exif, icc_profile=profile, dpi=(300, 300), progressive=True
    )
    found = describe(path)
    assert found["orientation"] == 6
    assert found["dpi"] == [300, 300]
    assert "sRGB" in found["profile"]
    assert found["progressive"] is True


def test_a_broken_profile_is_named_broken(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(rgb()).save(path, "JPEG", icc_profile=b"nonsense")
    assert describe(path)["profile"] == "broken"


def test_an_animation_tells_its_frames(tmp_path: Path) -> None:
    path = tmp_path / "moving.gif"
    frames = [Image.fromarray(np.roll(rgb(), 16 * i, axis=1)) for i in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert describe(path)["pages"] == 3


def test_a_heic_tells_its_size(tmp_path: Path) -> None:
    import pillow_heif

    path = tmp_path / "photo.heic"
    pillow_heif.from_pillow(Image.fromarray(rgb())).save(path)
    found = describe(path)
    assert (found["format"], found["width"], found["height"]) == ("HEIC", 96, 64)


def test_a_pdf_tells_its_pages_and_the_size_of_the_first_in_points(tmp_path: Path) -> None:
    path = tmp_path / "letter.pdf"
    document = pypdfium2.PdfDocument.new()
    document.new_page(612, 792)
    document.new_page(100, 100)
    document.save(path)
    found = describe(path)
    assert (found["width"], found["height"], found["unit"], found["pages"]) == (612, 792, "points", 2)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"plain text",
        b"<html></html>",
        b"II*\0\xff\xff\xff\xff",
        b"\x89PNG\r\n\x1a\nrest",
        b"%PDF-1.7 no",
    ],
)
def test_what_is_no_image_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.tif"
    path.write_bytes(content)
    with pytest.raises(ImageError) as raised:
        describe(path)
    assert raised.value.reason
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["tiff", "jpeg"])
def test_info_says_one_line_of_a_damaged_file_and_no_more(kind: str, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    # A directory of one tag, whose value lies past the end, and which goes on where it began.
    directory = b"II*\0\x08\0\0\0\x01\0" + b"\0\x01\x04\0\x09\0\0\0\xff\xff\xff\x0f" + b"\x08\0\0\0"
    exif = b"Exif\0\0" + directory
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    damaged.write_bytes(directory if kind == "tiff" else b"\xff\xd8" + segment + b"\xff\xd9")
    command = [sys.executable, "-m", "marble_images.cli", "info", str(damaged)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"marble-images: {damaged}: ")


def test_a_jpeg_xl_says_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(imagecodecs.jpegxl_encode(rgb(), lossless=True))
    found = describe(path)
    assert (found["format"], found["width"], found["height"], found["bands"]) == ("JPEG XL", 96, 64, 3)
    path.write_bytes(b"\xff\x0a")
    with pytest.raises(CorruptImage):
        describe(path)
