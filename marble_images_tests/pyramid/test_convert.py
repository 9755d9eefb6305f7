"""Every kind of source that is read becomes the right picture, as readers other than libvips see it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from marble_images.checksums import sha256_of
from marble_images.errors import CorruptImage, ImageError, ImageTooLarge, TruncatedImage
from marble_images.pyramid.convert import make_pyramid
from marble_images.pyramid.model import COPYRIGHT_BOX, Box, ConvertOptions
from marble_images.pyramid.profiles import PROFILES, available
from marble_images_tests.pyramid.cases import CASES, Case
from marble_images_tests.pyramid.images import HEIGHT, WIDTH, patches, profile_bytes, rgb


@pytest.fixture(params=CASES.values(), ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


@pytest.fixture
def source(case: Case, tmp_path: Path) -> Path:
    path = tmp_path / f"source.{case.suffix}"
    case.write(path)
    return path


def test_the_picture_is_right(case: Case, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "pyramid.tif"
    pyramid = make_pyramid(source, target)
    with tifffile.TiffFile(target) as file:
        written = file.pages[0].asarray()
        assert file.pages[0].dtype == np.uint8
    assert written.shape == case.truth.shape
    assert (pyramid.width, pyramid.height, pyramid.levels, pyramid.tile_size) == (WIDTH, HEIGHT, 1, 256)
    assert np.abs(patches(written) - patches(case.truth)).max() <= case.tolerance
    with Image.open(target) as opened:
        assert np.array_equal(np.asarray(opened), written)


def _made(source: Path, target: Path) -> bool:
    try:
        make_pyramid(source, target)
    except ImageError:
        return False
    return True


def test_a_cut_file_is_refused_or_whole(case: Case, source: Path, tmp_path: Path) -> None:
    data = source.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.99):
        source.write_bytes(data[: int(len(data) * share)])
        target = tmp_path / "pyramid.tif"
        if not _made(source, target):
            assert list(tmp_path.iterdir()) == [source]
        else:
            # What was cut off held no pixel: padding, an end marker, later pages.
            written = tifffile.imread(target, key=0)
            assert np.abs(patches(written) - patches(case.truth)).max() <= case.tolerance
            target.unlink()


def test_a_failure_leaves_an_older_pyramid_alone(tmp_path: Path) -> None:
    source, target = tmp_path / "broken.jpg", tmp_path / "pyramid.tif"
    source.write_bytes(b"\xff\xd8\xff\xe0 no more")
    target.write_bytes(b"the one before")
    with pytest.raises((TruncatedImage, CorruptImage)):
        make_pyramid(source, target)
    assert target.read_bytes() == b"the one before"
    assert sorted(tmp_path.iterdir()) == [source, target]


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    source = tmp_path / "source.png"
    CASES["png rgba"].write(source)
    first = make_pyramid(source, tmp_path / "first.tif")
    second = make_pyramid(source, tmp_path / "second.tif")
    assert first.sha256 == second.sha256 == sha256_of(tmp_path / "first.tif")
    assert (tmp_path / "first.tif").read_bytes() == (tmp_path / "second.tif").read_bytes()


@pytest.mark.parametrize("name", ["scan.jpg[shrink=8]", "-o.png", "ä ö.tif", "%s.png", "a,b;c.gif"])
def test_a_name_is_only_a_name(name: str, tmp_path: Path) -> None:
    source = tmp_path / name
    CASES["png"].write(source)
    pyramid = make_pyramid(source, tmp_path / f"out {name}")
    assert (pyramid.width, pyramid.height, pyramid.source_format) == (WIDTH, HEIGHT, "PNG")


@pytest.mark.parametrize("name", ["jpeg", "png", "tiff", "tiff zstd", "jpeg 2000", "gif", "avif", "bmp"])
def test_a_size_over_the_limit_is_refused(name: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    CASES[name].write(source)
    options = ConvertOptions(max_pixels=WIDTH * HEIGHT - 1)
    with pytest.raises(ImageTooLarge, match="96 x 64 pixels, more than the limit"):
        make_pyramid(source, tmp_path / "pyramid.tif", options)


@pytest.mark.parametrize("box", [COPYRIGHT_BOX, Box(50, 4000), Box(4000, 7)], ids=str)
@pytest.mark.parametrize("name", ["jpeg", "png palette", "tiff zstd", "png grey + alpha", "jpeg 2000"])
def test_a_picture_larger_than_the_box_is_shrunk_to_it(name: str, box: Box, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "pyramid.tif"
    case = CASES[name]
    case.write(source)
    pyramid = make_pyramid(source, target, ConvertOptions(box=box))
    written = tifffile.imread(target, key=0)
    assert written.shape[:2] == (pyramid.height, pyramid.width)
    assert pyramid.width <= box.width
    assert pyramid.height <= box.height
    small = Image.fromarray(case.truth).resize((pyramid.width, pyramid.height), Image.Resampling.LANCZOS)
    assert np.abs(written.astype(float) - np.asarray(small)).mean() < 4


def test_the_file_says_what_made_it_and_nothing_of_the_source(tmp_path: Path) -> None:
    source, target = tmp_path / "source.jpg", tmp_path / "pyramid.tif"
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "secret"
    Image.fromarray(rgb()).save(source, exif=exif, icc_profile=profile_bytes("Adobe RGB"), quality=95)
    pyramid = make_pyramid(source, target)
    with tifffile.TiffFile(target) as file:
        tags = file.pages[0].tags
        description = tags["ImageDescription"].value
        assert "profile deflate" in description
        assert f"sha256:{sha256_of(source)}" in description
        assert tags["XResolution"].value == tags["YResolution"].value == (300, 1)
        assert not {"Orientation", "ExifTag", "InterColorProfile", "XMP", "ExtraSamples"} & {
            t.name for t in tags
        }
    assert b"secret" not in target.read_bytes()
    assert (pyramid.width, pyramid.height) == (HEIGHT, WIDTH)
    assert len(pyramid.thumbnail) < 10_000
    assert Image.open(io.BytesIO(pyramid.thumbnail)).size == (HEIGHT, WIDTH)


@pytest.mark.parametrize("profile", [name for name in PROFILES if available(name)])
@pytest.mark.parametrize("name", ["png", "png grey"])
def test_every_profile_holds_the_picture(name: str, profile: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source.png", tmp_path / "pyramid.tif"
    case = CASES[name]
    Image.fromarray(case.truth).resize((WIDTH * 8, HEIGHT * 8), Image.Resampling.NEAREST).save(source)
    pyramid = make_pyramid(source, target, ConvertOptions(profile=profile))
    with tifffile.TiffFile(target) as file:
        assert [(p.imagewidth, p.imagelength) for p in file.pages] == [(768, 512), (384, 256)]
        assert {int(page.compression) for page in file.pages} == {PROFILES[profile].tag}
        top = file.pages[0].asarray()
    assert pyramid.bands == (1 if top.ndim == 2 else 3)
    picture = top if top.ndim == case.truth.ndim else top[:, :, 0]
    centres = picture[4::8, 4::8].astype(float)
    assert np.abs(patches(centres) - patches(case.truth)).max() <= (0 if PROFILES[profile].lossless else 3)
