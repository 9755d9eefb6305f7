"""What each profile stores of a tile, read back by others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from marble_images.pyramid.encoders import encoder
from marble_images.pyramid.profiles import PROFILES
from marble_images.pyramid.write import write_pyramid
from marble_images_tests.pyramid.pyramids import Array, grey_noise, line_art, photograph
from marble_images_tests.pyramid.test_validate import as_vips

_TABLES = (b"\xff\xdb", b"\xff\xc4")


@pytest.fixture(params=[photograph, line_art, grey_noise], ids=lambda make: make.__name__)
def picture(request: pytest.FixtureRequest) -> Array:
    make: Callable[[int, int], Array] = request.param
    return make(700, 530)


@pytest.fixture
def jpeg(tmp_path: Path, picture: Array) -> Path:
    path = tmp_path / "pyramid.tif"
    write_pyramid(as_vips(picture), path, PROFILES["jpeg"], description="")
    return path


def test_jpeg_stores_colour_as_ycbcr_at_full_resolution_and_grey_as_grey(jpeg: Path, picture: Array) -> None:
    with tifffile.TiffFile(jpeg) as file:
        for page in file.pages:
            assert isinstance(page, tifffile.TiffPage)
            if picture.shape[2] == 3:
                assert page.photometric == tifffile.PHOTOMETRIC.YCBCR
                assert page.subsampling == (1, 1)
            else:
                assert page.photometric == tifffile.PHOTOMETRIC.MINISBLACK
                assert page.samplesperpixel == 1


def test_jpeg_tiles_share_their_tables(jpeg: Path) -> None:
    with tifffile.TiffFile(jpeg) as file:
        page = file.pages.first
        assert all(marker in page.jpegtables for marker in _TABLES)
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            file.filehandle.seek(offset)
            head = file.filehandle.read(count).partition(b"\xff\xda")[0]
            assert not any(marker in head for marker in _TABLES)


def test_pillow_and_tifffile_read_the_same_picture_from_jpeg_tiles(jpeg: Path, picture: Array) -> None:
    with tifffile.TiffFile(jpeg) as file:
        seen = file.pages.first.asarray().reshape(picture.shape)
    with Image.open(jpeg) as image:
        other = np.asarray(image.convert("RGB" if picture.shape[2] == 3 else "L")).reshape(picture.shape)
    assert np.abs(seen.astype(int) - other).max() <= 1
    # Quantization of quality 90 takes no more from noise, which is the hardest to keep.
    assert np.abs(seen.astype(int) - picture).mean() < 4


@pytest.mark.parametrize("name", PROFILES)
def test_a_tile_is_always_encoded_to_the_same_bytes(name: str) -> None:
    tile = photograph(256, 256)
    made = [encoder(PROFILES[name], 256, 3).encode(tile) for _ in range(2)]
    assert made[0] == made[1]
