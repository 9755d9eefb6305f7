"""ICC profiles: whether one can be used, and whether it changes anything. Judged by littleCMS."""

from __future__ import annotations

import functools
import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from marble_images.pyramid.decode import Space

_MODES = {
    Space.GREY: ("GRAY", "L"),
    Space.RGB: ("RGB", "RGB"),
    Space.CMYK: ("CMYK", "CMYK"),
    Space.LAB: ("Lab", "LAB"),
}
_STEPS = 9
# Half a level of rounding on each side: such a profile is sRGB by another name.
_SAME = 1
_SHORTEST_RAMP = 64
_ONE_WAY = 0.8


class UnusableProfile(Exception):
    """A profile that cannot convert the picture's pixels; the message says why."""


@functools.lru_cache(maxsize=16)
def changes_colours(profile: bytes, space: Space) -> bool:
    """Whether converting through a profile to sRGB changes any colour by more than rounding.

    Raises
    ------
    UnusableProfile
        The profile is damaged, or of another colour space than the pixels.
    """
    expected, mode = _MODES[space]
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        found = source.profile.xcolor_space.strip()
    except (ImageCms.PyCMSError, OSError, ValueError, SyntaxError) as problem:
        raise UnusableProfile("the ICC profile is damaged") from problem
    if found != expected:
        raise UnusableProfile(f"the ICC profile is for {found} pixels, the picture is {space.value}")
    try:
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        samples = _samples(mode)
        result = _applied(transform, samples)
        ramp = _applied(transform, _ramp(mode))
    except (ImageCms.PyCMSError, OSError, ValueError) as problem:
        raise UnusableProfile("the ICC profile is damaged") from problem
    if not _sane(ramp):
        raise UnusableProfile("the ICC profile makes no picture")
    if mode not in ("L", "RGB"):
        return True
    return bool(np.abs(result - np.asarray(samples.convert("RGB")).astype(int)).max() > _SAME)


def _applied(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> npt.NDArray[np.int_]:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    return np.asarray(converted).astype(int)


def _sane(ramp: npt.NDArray[np.int_]) -> bool:
    """Whether a ramp from dark to light, or from no ink to full ink, is still one: mostly one way, and long.

    Profiles whose numbers are zero or overflow pass for whole, and make noise or a flat colour of a picture.
    """
    steps = np.diff(ramp[0].mean(axis=-1))
    rise, way = abs(float(steps.sum())), float(np.abs(steps).sum())
    return rise >= _SHORTEST_RAMP and rise >= _ONE_WAY * way


def _ramp(mode: str) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    levels = np.arange(256, dtype=np.uint8)[np.newaxis, :, np.newaxis].repeat(bands, axis=2)
    return Image.frombytes(mode, (256, 1), levels.tobytes())


def _samples(mode: str) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    if bands == 1:
        grid = np.arange(256, dtype=np.uint8)[np.newaxis]
    else:
        steps = np.linspace(0, 255, _STEPS).astype(np.uint8)
        grid = np.stack(np.meshgrid(*[steps] * bands), axis=-1).reshape(1, -1, bands)
    return Image.frombytes(mode, (grid.shape[1], 1), np.ascontiguousarray(grid).tobytes())
