"""Pyramids written without libvips, picture by picture and level by level, so that tests can break them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, ImageDraw

from marble_images.pyramid.geometry import level_sizes, tile_size
from marble_images.pyramid.validate import Problem, validate_pyramid

Array = npt.NDArray[np.uint8]

LOSSLESS = {
    "deflate": {"compression": "adobe_deflate", "predictor": True},
    "zstd": {"compression": "zstd", "predictor": True},
}
LOSSY: dict[str, dict[str, Any]] = {
    "jpeg": {"compression": "jpeg", "compressionargs": {"level": 90}, "subsampling": (1, 1)},
    "webp": {"compression": "webp", "compressionargs": {"level": 90, "lossless": False}},
}
WRITERS: dict[str, dict[str, Any]] = {**LOSSLESS, **LOSSY}
OTHER_JPEGS: dict[str, dict[str, Any]] = {
    "in RGB": {"compressionargs": {"level": 90, "outcolorspace": "rgb"}, "subsampling": None},
    "colour at half resolution": {"compressionargs": {"level": 75}, "subsampling": (2, 2)},
    "colour at half resolution, better": {"compressionargs": {"level": 90}, "subsampling": (2, 2)},
}
"""Ways to store JPEG that are valid and not ours."""


def noise(width: int, height: int) -> Array:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def grey_noise(width: int, height: int) -> Array:
    return noise(width, height)[..., :1]


def black_and_white_noise(width: int, height: int) -> Array:
    return np.where(grey_noise(width, height) > 127, 255, 0).astype(np.uint8)


def photograph(width: int, height: int) -> Array:
    rng = np.random.default_rng(2)
    coarse = rng.integers(0, 256, (max(2, height // 40), max(2, width // 40), 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.float64)
    return np.clip(smooth + rng.normal(0, 4, (height, width, 1)), 0, 255).astype(np.uint8)


def dark(width: int, height: int) -> Array:
    return (photograph(width, height) // 12).astype(np.uint8)


def checkerboard(width: int, height: int) -> Array:
    y, x = np.mgrid[:height, :width]
    return (((x + y) % 2) * 255).astype(np.uint8)[..., None]


def red_and_white(width: int, height: int) -> Array:
    board = checkerboard(width, height)
    return np.concatenate([np.full_like(board, 255), board, board], axis=2)


def colour_stripes(width: int, height: int) -> Array:
    return np.eye(3, dtype=np.uint8)[np.arange(width) % 3][None].repeat(height, axis=0) * np.uint8(255)


def line_art(width: int, height: int) -> Array:
    rng = np.random.default_rng(3)
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    for i in range(max(3, width * height // 3000)):
        x, y, dx, dy = (int(v) for v in rng.integers(0, [width, height, 60, 60]))
        draw.line((x, y, x + dx, y + dy), fill=[(0, 0, 0), (200, 0, 0), (0, 0, 180)][i % 3], width=1)
    return np.asarray(image)


def gradient(width: int, height: int) -> Array:
    y, x = np.mgrid[:height, :width]
    bands = [x * 255 // max(1, width - 1), y * 255 // max(1, height - 1), (x + y) * 255 // (width + height)]
    return np.stack(bands, axis=2).astype(np.uint8)


def white(width: int, height: int) -> Array:
    return np.full((height, width, 3), 255, np.uint8)


def black(width: int, height: int) -> Array:
    return np.zeros((height, width, 1), np.uint8)


def one_dot(width: int, height: int) -> Array:
    picture = np.full((height, width, 1), 255, np.uint8)
    picture[height // 2, width // 2] = 0
    return picture


PICTURES: tuple[Callable[[int, int], Array], ...] = (
    *(noise, grey_noise, black_and_white_noise, photograph, dark, checkerboard, red_and_white),
    *(colour_stripes, line_art, gradient, white, black, one_dot),
)


def halved(picture: Array) -> Array:
    """The mean of each 2 x 2 pixels, halves rounded up; an odd last row or column is left out."""
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    pixels = picture[: 2 * height, : 2 * width].astype(np.uint16)
    sums = pixels[::2, ::2] + pixels[1::2, ::2] + pixels[::2, 1::2] + pixels[1::2, 1::2]
    return ((sums + 2) // 4).astype(np.uint8)


def levels_of(picture: Array) -> list[Array]:
    """All levels of a pyramid, the picture first."""
    height, width = picture.shape[:2]
    levels = [picture]
    for _ in level_sizes(width, height, tile_size(width, height))[1:]:
        levels.append(halved(levels[-1]))
    return levels


def reference_of(picture: Array) -> Array:
    """The picture shrunk to 256 pixels, as the converter hands it to the validator."""
    height, width = picture.shape[:2]
    scale = min(1.0, 256 / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size == (width, height):
        return picture
    bands = [
        Image.fromarray(band).resize(size, Image.Resampling.LANCZOS) for band in picture.transpose(2, 0, 1)
    ]
    return np.stack([np.asarray(band) for band in bands], axis=2)


def write_levels(path: Path, levels: list[Array], profile: str = "deflate", **options: Any) -> Path:
    """Write levels as pages of a tiled TIFF with tifffile; ``options`` override what makes it valid."""
    height, width = levels[0].shape[:2]
    side = tile_size(width, height)
    bigtiff = options.pop("bigtiff", False)
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as tiff:
        for i, level in enumerate(levels):
            # tifffile hands JPEG and WebP encoders grey in a shape that they do not take.
            pixels = level.repeat(3, axis=2) if profile in LOSSY and level.shape[2] == 1 else level
            chosen: dict[str, Any] = {
                "photometric": "rgb" if pixels.shape[2] == 3 else "minisblack",
                "tile": (side, side),
                "resolution": (300, 300),
                "resolutionunit": "INCH",
                "subfiletype": int(i > 0),
                "metadata": None,
                **WRITERS[profile],
                **options,
            }
            tiff.write(pixels if pixels.shape[2] == 3 else pixels[..., 0], **chosen)
    return path


def errors(path: Path, **options: Any) -> list[Problem]:
    """What the validator finds wrong with a file, without its warnings."""
    return [problem for problem in validate_pyramid(path, **options) if problem.kind == "error"]


def where(problems: list[Problem]) -> set[str]:
    """The parts of the file that have a problem."""
    return {problem.where for problem in problems}
