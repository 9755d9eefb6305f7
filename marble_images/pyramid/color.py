"""From a decoded picture to 8-bit sRGB or grey without alpha."""

from __future__ import annotations

from collections.abc import Sequence

from marble_images.pyramid.decode import Alpha, Picture, Space
from marble_images.pyramid.icc import UnusableProfile, changes_colours
from marble_images.pyramid.vips import VipsImage, pyvips

_INTERPRETATION = {
    (Space.GREY, "uchar"): "b-w",
    (Space.GREY, "ushort"): "grey16",
    (Space.RGB, "uchar"): "srgb",
    (Space.RGB, "ushort"): "rgb16",
    (Space.CMYK, "uchar"): "cmyk",
    (Space.CMYK, "ushort"): "cmyk",
}


def to_srgb(picture: Picture, background: Sequence[int]) -> tuple[VipsImage, list[str]]:
    """The picture as 8-bit sRGB (3 bands) or grey (1 band), composited on a colour; and its warnings.

    Lazy: no pixel is read yet. Colours go through the ICC profile if it can be used, relative colorimetric
    with black point compensation; without one RGB is sRGB, grey is sRGB's grey, and CMYK goes through the
    CMYK profile that libvips carries.

    Parameters
    ----------
    background
        8-bit sRGB colour behind transparent pixels.
    """
    colour, alpha = _split(picture)
    if alpha is not None and picture.alpha is Alpha.ASSOCIATED:
        colour = _unassociate(colour, alpha, picture.maximum)
    colour, warnings = _convert(picture, colour)
    if alpha is None:
        return colour, warnings
    opacity = _rescale(alpha, picture.maximum, 255.0, "uchar")
    return _composite(colour, opacity, background), warnings


def _split(picture: Picture) -> tuple[VipsImage, VipsImage | None]:
    bands = picture.space.bands
    image = picture.image
    colour = image if image.bands == bands else image.extract_band(0, n=bands)
    alpha = None if picture.alpha is Alpha.NONE else image.extract_band(bands)
    return colour, alpha


def _unassociate(colour: VipsImage, alpha: VipsImage, maximum: float) -> VipsImage:
    # libvips gives 0 for a division by 0: fully transparent pixels have no colour of their own.
    straight = colour.linear(maximum, 0) / alpha
    return (straight > maximum).ifthenelse(maximum, straight).linear(1, 0.5).cast(colour.format)


def _rescale(image: VipsImage, maximum: float, full: float, band_format: str) -> VipsImage:
    """Samples of 0 to ``maximum`` as integers of 0 to ``full``, rounded to the nearest and clipped."""
    if maximum == full and image.format == band_format:
        return image
    return image.linear(full / maximum, 0.5).cast(band_format)


def _convert(picture: Picture, colour: VipsImage) -> tuple[VipsImage, list[str]]:
    if picture.space is Space.LAB:
        return _lab_to_srgb(colour), []
    if picture.space is Space.LINEAR:
        return colour.copy(interpretation="scrgb").colourspace("srgb").cast("uchar"), []
    deep = picture.maximum > 255 or colour.format not in ("uchar", "char")
    colour = _rescale(colour, picture.maximum, *((65535.0, "ushort") if deep else (255.0, "uchar")))
    colour = colour.copy(interpretation=_INTERPRETATION[picture.space, colour.format])
    profile, warnings = _profile(picture)
    if profile is not None:
        return _through_profile(colour, profile, picture.space), warnings
    if picture.space is Space.CMYK:
        return _transform(colour, input_profile="cmyk"), warnings
    return _rescale(colour, 65535.0 if deep else 255.0, 255.0, "uchar"), warnings


def _profile(picture: Picture) -> tuple[bytes | None, list[str]]:
    """The picture's profile if it must be used, and a warning if it cannot be."""
    if not picture.profile:
        return None, []
    try:
        needed = changes_colours(picture.profile, picture.space)
    except UnusableProfile as problem:
        return None, [f"{problem}: ignored"]
    return (picture.profile if needed else None), []


def _through_profile(colour: VipsImage, profile: bytes, space: Space) -> VipsImage:
    tagged = colour.copy()
    tagged.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    converted = _transform(tagged, embedded=True)
    # A grey profile gives equal bands, save for rounding; green is the one that eyes weigh most.
    return converted.extract_band(1).copy(interpretation="b-w") if space is Space.GREY else converted


def _transform(image: VipsImage, **source: object) -> VipsImage:
    return image.icc_transform("srgb", intent="relative", black_point_compensation=True, depth=8, **source)


def _lab_to_srgb(lab: VipsImage) -> VipsImage:
    # Lab in files is ICC's, relative to D50; libvips' own conversion would take it as relative to D65.
    tagged = lab.cast("float").copy(interpretation="lab")
    return tagged.icc_export(
        output_profile="srgb", intent="relative", pcs="lab", black_point_compensation=True, depth=8
    )


def _composite(colour: VipsImage, opacity: VipsImage, background: Sequence[int]) -> VipsImage:
    if colour.bands == 1 and len(set(background)) > 1:
        colour = colour.bandjoin([colour, colour])
    behind = [float(v) for v in (background if colour.bands == 3 else background[:1])]
    # Written out, since libvips' flatten truncates: out = behind + (colour - behind) * opacity / 255.
    mixed = (colour - behind) * (opacity / 255.0) + behind
    flat = mixed.linear(1, 0.5).cast("uchar")
    return flat.copy(interpretation="b-w" if colour.bands == 1 else "srgb")
