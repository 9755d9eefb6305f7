from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from marble_images.pyramid.geometry import fit, level_sizes, tile_size
from marble_images.pyramid.model import Box
from marble_images.pyramid.profiles import get_profile
from marble_images.pyramid.vips import pyvips
from marble_images.pyramid.write import write_pyramid

_SIDES = st.integers(1, 9000)
_BOXES = st.builds(Box, _SIDES, _SIDES)


@given(_SIDES, _SIDES, _BOXES)
@example(10240, 5760, Box(4000, 4000))
@example(1, 9000, Box(4000, 4000))
@example(9000, 1, Box(843, 560))
def test_a_picture_fits_its_box_keeps_its_aspect_and_is_never_enlarged(
    width: int, height: int, box: Box
) -> None:
    across, down = fit(width, height, box)
    assert 1 <= across <= min(width, box.width)
    assert 1 <= down <= min(height, box.height)
    if width <= box.width and height <= box.height:
        assert (across, down) == (width, height)
    else:
        assert across == box.width or down == box.height
    scale = min(1.0, box.width / width, box.height / height)
    assert abs(across - max(1, width * scale)) <= 1
    assert abs(down - max(1, height * scale)) <= 1


@given(_SIDES, _SIDES)
@example(1, 1)
@example(128, 128)
@example(129, 1)
@example(1, 5000)
@example(513, 513)
def test_levels_halve_to_the_first_that_fits_a_tile(width: int, height: int) -> None:
    tile = tile_size(width, height)
    sizes = level_sizes(width, height, tile)
    assert sizes == [(width >> n, height >> n) for n in range(len(sizes))]
    assert all(w >= 1 and h >= 1 for w, h in sizes)
    assert all(max(size) > tile for size in sizes[:-1])
    assert max(sizes[-1]) <= tile or min(sizes[-1]) == 1
    # The rule by which libvips refuses a TIFF.
    assert tile <= min(8192, -(-2 * max(width, height) // 256) * 256)


@pytest.mark.parametrize(
    ("width", "height", "count", "tile"),
    [
        (1, 1, 1, 256),
        (128, 128, 1, 256),
        (129, 1, 1, 512),
        (1, 5000, 1, 512),
        (4000, 2250, 4, 512),
        (513, 3, 2, 512),
    ],
)
def test_the_levels_of_known_sizes(width: int, height: int, count: int, tile: int) -> None:
    assert tile_size(width, height) == tile
    assert len(level_sizes(width, height, tile)) == count


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 2500), st.integers(1, 2500), st.sampled_from([1, 3]))
@example(1, 1, 3)
@example(1, 2500, 1)
@example(2500, 1, 3)
@example(1025, 3, 1)
@example(1023, 1025, 3)
def test_what_is_written_has_those_levels(width: int, height: int, bands: int) -> None:
    image = pyvips.Image.new_from_memory(bytes(width * height * bands), width, height, bands, "uchar")
    tagged = image.copy(interpretation="srgb" if bands == 3 else "b-w")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pyramid.tif"
        levels, tile = write_pyramid(tagged, path, get_profile("deflate"), description="a test")
        with tifffile.TiffFile(path) as file:
            sizes = [(page.imagewidth, page.imagelength) for page in file.pages]
            assert {(page.tilewidth, page.tilelength) for page in file.pages} == {(tile, tile)}
            assert all(274 not in page.tags for page in file.pages)
            assert not any(np.any(page.asarray()) for page in file.pages)
    assert sizes == level_sizes(width, height, tile)
    assert levels == len(sizes)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_no_pixels_is_an_error(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1 x 1"):
        fit(*size, Box(10, 10))
    with pytest.raises(ValueError, match="at least 1 x 1"):
        Box(*size)
