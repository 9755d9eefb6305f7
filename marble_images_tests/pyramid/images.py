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


# The matrix of the ICC's own sRGB profile, and the white of the profile connection space.
_SRGB_TO_XYZ_D50 = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
_D50_WHITE = np.array([0.96422, 1.0, 0.82521])


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
    """CIE Lab (D50) of 8-bit sRGB colours, shape (..., 3): IEC 61966-2-1 and the Bradford adaptation."""
    share = srgb.astype(float) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _SRGB_TO_XYZ_D50.T / _D50_WHITE
    cube = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(cube, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


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
