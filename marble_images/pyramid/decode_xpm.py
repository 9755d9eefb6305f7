"""XPM 3, after its manual of 1996. Pillow takes colours of 12 digits for others, and knows no names."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import ImageColor

from marble_images.errors import CorruptImage, TruncatedImage, UnsupportedFormat
from marble_images.formats import ImageFormat
from marble_images.pyramid.arrays import Array, to_vips
from marble_images.pyramid.decode import Alpha, Picture, Space, check_size
from marble_images.pyramid.model import ConvertOptions

_COMMENT_OR_STRING = re.compile(rb'/\*.*?\*/|"([^"]*)"', re.DOTALL)
_MOST_COLOURS = 65536
# The visuals that a colour may be given for, the best first.
_VISUALS = ("c", "g", "g4", "m")
_KEYS = {*_VISUALS, "s"}
# Where X11's names differ from those of HTML.
_X11 = {"gray": 190, "grey": 190, "green": (0, 255, 0), "maroon": (176, 48, 96), "purple": (160, 32, 240)}
_GREY = re.compile(r"gr[ae]y(\d{1,3})")
_TRANSPARENT = (0, 0, 0, 0)


def read(path: Path, image_format: ImageFormat, options: ConvertOptions) -> Picture:
    """Decode an XPM.

    Raises
    ------
    ImageTooLarge
        The header claims more pixels than allowed; nothing was decoded.
    UnsupportedFormat
        It uses a colour by a name that is not known.
    TruncatedImage, CorruptImage
        It is cut or damaged.
    """
    data = path.read_bytes()
    strings = [found for found in _COMMENT_OR_STRING.findall(data) if found]
    if not strings:
        raise TruncatedImage("the XPM file is truncated")
    width, height, count, size = _header(strings[0])
    check_size(width, height, options)
    if len(strings) < 1 + count + height:
        raise TruncatedImage("the XPM file is truncated")
    colours: dict[bytes, tuple[int, int, int, int]] = {}
    for line in strings[1 : 1 + count]:
        colours[line[:size]] = _colour(line[size:].decode("latin-1"))
    pixels = _pixels(strings[1 + count : 1 + count + height], width, size, colours)
    opaque = bool((pixels[:, :, 3] == 255).all())
    return Picture(
        image=to_vips(pixels[:, :, :3] if opaque else pixels),
        space=Space.RGB,
        format=image_format,
        width=width,
        height=height,
        alpha=Alpha.NONE if opaque else Alpha.STRAIGHT,
    )


def _header(line: bytes) -> tuple[int, int, int, int]:
    """Width, height, number of colours, and characters of a pixel."""
    numbers = [int(word) for word in line.split()[:4] if word.isdigit() and len(word) < 10]
    if len(numbers) < 4 or not 1 <= numbers[2] <= _MOST_COLOURS or not 1 <= numbers[3] <= 8:
        raise CorruptImage("the XPM file has a damaged header")
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _colour(text: str) -> tuple[int, int, int, int]:
    """The colour of a line such as ``s background c #ffffff m white``."""
    found: dict[str, str] = {}
    key = ""
    for word in text.split():
        if word in _KEYS and not (key and not found.get(key)):
            key = word
            found[key] = ""
        elif key:
            # Names may have blanks.
            found[key] = f"{found[key]} {word}".strip()
    value = next((found[visual] for visual in _VISUALS if found.get(visual)), "").lower()
    if not value:
        raise CorruptImage("the XPM file has a colour without a value")
    return _TRANSPARENT if value == "none" else (*_rgb(value), 255)


def _rgb(value: str) -> tuple[int, int, int]:
    if value.startswith("#"):
        digits = value[1:]
        each, rest = divmod(len(digits), 3)
        if rest or not 1 <= each <= 4 or re.fullmatch(r"[0-9a-f]+", digits) is None:
            raise CorruptImage("the XPM file has a damaged colour")
        full = 16**each - 1
        red, green, blue = (int(digits[i * each : (i + 1) * each], 16) * 255 // full for i in range(3))
        return red, green, blue
    name = value.replace(" ", "")
    grey = _GREY.fullmatch(name)
    known = min(int(grey[1]), 100) * 255 // 100 if grey else _X11.get(name)
    if isinstance(known, int):
        return known, known, known
    try:
        return known or ImageColor.getrgb(name)[:3]  # type: ignore[return-value]
    except ValueError as problem:
        raise UnsupportedFormat(f"the XPM file uses a colour called {value}, which is not known") from problem


def _pixels(
    lines: list[bytes], width: int, size: int, colours: dict[bytes, tuple[int, int, int, int]]
) -> Array:
    names = {name: index for index, name in enumerate(colours)}
    table = np.array(list(colours.values()), np.uint8)
    if any(len(line) < width * size for line in lines):
        raise TruncatedImage("the XPM file is truncated")
    indices = np.zeros((len(lines), width), np.uint32)
    for row, line in enumerate(lines):
        try:
            indices[row] = [names[line[at : at + size]] for at in range(0, width * size, size)]
        except KeyError as problem:
            raise CorruptImage("the XPM file uses colours that its palette does not have") from problem
    return np.asarray(table[indices])
