"""ICC profiles: whether one can be used, and whether it changes anything. Judged by littleCMS."""

from __future__ import annotations

import functools
import io

import numpy as np
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
        converted = ImageCms.applyTransform(samples, transform)
    except (ImageCms.PyCMSError, OSError, ValueError) as problem:
        raise UnusableProfile("the ICC profile is damaged") from problem
    assert converted is not None
    result = np.asarray(converted).astype(int)
    if not np.ptp(result):
        raise UnusableProfile("the ICC profile makes every colour the same")
    if mode not in ("L", "RGB"):
        return True
    return bool(np.abs(result - np.asarray(samples.convert("RGB")).astype(int)).max() > _SAME)


def _samples(mode: str) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    if bands == 1:
        grid = np.arange(256, dtype=np.uint8)[np.newaxis]
    else:
        steps = np.linspace(0, 255, _STEPS).astype(np.uint8)
        grid = np.stack(np.meshgrid(*[steps] * bands), axis=-1).reshape(1, -1, bands)
    return Image.frombytes(mode, (grid.shape[1], 1), np.ascontiguousarray(grid).tobytes())
