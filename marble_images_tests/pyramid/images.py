"""Test pictures of every input class, written by tools other than libvips, with what they must look like."""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[Any]

WIDTH, HEIGHT = 96, 64
PATCH = 16

# Saturated, dark, light and neutral colours, no two alike, so that any turn, flip or swap shows.
_COLOURS = (
    *((200, 30, 40), (30, 160, 60), (40, 60, 190), (220, 200, 40), (150, 60, 160), (40, 170, 180)),
    *((240, 240, 240), (200, 200, 200), (150, 150, 150), (100, 100, 100), (50, 50, 50), (10, 10, 10)),
    *((120, 80, 60), (200, 150, 130), (90, 120, 160), (90, 110, 60), (130, 130, 180), (100, 190, 170)),
    *((255, 255, 255), (255, 180, 90), (70, 90, 170), (190, 80, 100), (90, 60, 110), (0, 0, 0)),
)


def rgb() -> Array:
    """The picture: 6 x 4 patches of 16 pixels, uint8 of shape (64, 96, 3)."""
    patches = np.array(_COLOURS, np.uint8).reshape(HEIGHT // PATCH, WIDTH // PATCH, 3)
    return patches.repeat(PATCH, axis=0).repeat(PATCH, axis=1)


def grey() -> Array:
    """The picture in grey, uint8 of shape (64, 96)."""
    return np.asarray(Image.fromarray(rgb()).convert("L"))


def bilevel() -> Array:
    """The picture in black and white, bool of shape (64, 96)."""
    return grey() > 110


def alpha() -> Array:
    """Opacity that differs from patch to patch, uint8 of shape (64, 96)."""
    steps = np.array([255, 128, 0, 64, 200, 255], np.uint8).repeat(PATCH)
    return np.tile(steps, (HEIGHT, 1))


def on_white(colour: Array, opacity: Array, background: int = 255) -> Array:
    """The truth of compositing, rounded to the nearest."""
    share = opacity.astype(float) / 255
    if colour.ndim == 3:
        share = share[:, :, np.newaxis]
    return np.asarray(np.rint(colour * share + background * (1 - share)), np.uint8)


def patches(picture: Array) -> Array:
    """The colours in the middle of the patches: mean over each patch's inner pixels, as floats."""
    inner = slice(PATCH // 4, -PATCH // 4)
    shape = (picture.shape[0] // PATCH, PATCH, picture.shape[1] // PATCH, PATCH, *picture.shape[2:])
    blocks = picture.astype(float).reshape(shape)
    return np.asarray(blocks[:, inner, :, inner].mean(axis=(1, 3)))


def lab_of(srgb: Array) -> Array:
    """CIE Lab (D50) of 8-bit sRGB colours by littleCMS in floating point, shape (..., 3)."""
    flat = np.ascontiguousarray(srgb.reshape(1, -1, 3), np.uint8)
    lab = imagecodecs.cms_transform(
        flat,
        imagecodecs.cms_profile("srgb"),
        imagecodecs.cms_profile("lab"),
        outdtype=np.float64,
        colorspace="rgb",
    )
    return np.asarray(lab).reshape(srgb.shape)


def delta_e(left: Array, right: Array) -> Array:
    """CIE 1976 differences of 8-bit sRGB colours."""
    return np.asarray(np.sqrt(((lab_of(left) - lab_of(right)) ** 2).sum(axis=-1)))


def profile_bytes(name: str) -> bytes:
    """An ICC profile by name: made here with littleCMS, by its primaries and gamma."""
    whitepoint, primaries, gamma = _PROFILES[name]
    return bytes(imagecodecs.cms_profile("rgb", whitepoint=whitepoint, primaries=primaries, gamma=gamma))


_D65, _D50 = (0.3127, 0.3290, 1.0), (0.3457, 0.3585, 1.0)
_PROFILES: dict[str, tuple[Any, Any, float]] = {
    "Adobe RGB": (_D65, (0.64, 0.33, 1, 0.21, 0.71, 1, 0.15, 0.06, 1), 2.19921875),
    "Display P3": (_D65, (0.68, 0.32, 1, 0.265, 0.69, 1, 0.15, 0.06, 1), 2.2),
    "ProPhoto": (_D50, (0.7347, 0.2653, 1, 0.1596, 0.8404, 1, 0.0366, 0.0001, 1), 1.8),
}
