"""Reads the header of a JPEG XL codestream, as far as its colours (ISO/IEC 18181-1, annexes A, D and E)."""

from __future__ import annotations

from dataclasses import dataclass

_SIGNATURE = b"\xff\x0a"
_BOX_START = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
_HEADER_BYTES = 4096
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_ALPHA, _SPOT, _FILTER = 0, 2, 5
_CUSTOM = 2
_D65, _SRGB_PRIMARIES = 1, 1
_SRGB_CURVE, _LINEAR_CURVE = 13, 8
_RGB, _GREY = 0, 1

# What a field of the standard's type U32 can hold: a constant, or what is added to so many bits.
_Choice = tuple[int, int]
_SIDE: tuple[_Choice, ...] = ((1, 9), (1, 13), (1, 18), (1, 30))
_ENUM: tuple[_Choice, ...] = ((0, 0), (1, 0), (2, 4), (18, 6))
_BITS: tuple[_Choice, ...] = ((8, 0), (10, 0), (12, 0), (1, 6))
_FLOAT_BITS: tuple[_Choice, ...] = ((32, 0), (16, 0), (24, 0), (1, 6))
_CHANNELS: tuple[_Choice, ...] = ((0, 0), (1, 0), (2, 4), (1, 12))


class HeaderError(ValueError):
    """The header is damaged, or longer than is looked at."""


@dataclass(frozen=True)
class JpegXlHeader:
    """What the header says.

    Attributes
    ----------
    width, height
        As it is shown, in pixels.
    bits
        Of a sample.
    floats
        Whether samples are floating-point numbers.
    grey
        Whether there is one colour channel, not three.
    extra
        How many channels there are besides.
    alpha
        Whether the first of them is opacity, in as many bits.
    associated
        Whether colours are multiplied by it.
    animated
        Whether there can be more than one frame.
    curve
        ``"sRGB"``, ``"linear"``, or ``None`` if the colours are in any other space than those of sRGB.
    """

    width: int
    height: int
    bits: int = 8
    floats: bool = False
    grey: bool = False
    extra: int = 0
    alpha: bool = False
    associated: bool = False
    animated: bool = False
    curve: str | None = "sRGB"


def read_header(data: bytes) -> JpegXlHeader:
    """Read the header of a file, bare or in boxes.

    Raises
    ------
    HeaderError
        It is damaged.
    """
    head = _codestream(data)
    if not head.startswith(_SIGNATURE):
        raise HeaderError("there is no codestream")
    bits = _Bits(head[len(_SIGNATURE) :])
    height, width = _size(bits)
    if bits.flag():
        return JpegXlHeader(width, height)
    animated = False
    if bits.flag():
        turned = bits.take(3) >= 4
        animated = _skip_extra_fields(bits)
        if turned:
            height, width = width, height
    floats, depth = _depth(bits)
    bits.flag()
    channels = [_channel(bits) for _ in range(bits.choose(_CHANNELS))]
    bits.flag()
    grey, curve = _colours(bits)
    kind, alpha_depth, associated = channels[0] if channels else (-1, (floats, depth), False)
    return JpegXlHeader(
        width,
        height,
        bits=depth,
        floats=floats,
        grey=grey,
        extra=len(channels),
        alpha=kind == _ALPHA and alpha_depth == (floats, depth),
        associated=associated,
        animated=animated,
        curve=curve,
    )


def _codestream(data: bytes) -> bytes:
    """The first bytes of the codestream."""
    if not data.startswith(_BOX_START):
        return data[:_HEADER_BYTES]
    found, at = b"", 0
    while at + 8 <= len(data) and len(found) < _HEADER_BYTES:
        size, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        end = at + size if size else len(data)
        if end < at + head:
            raise HeaderError("a box is smaller than its own header")
        if kind in (b"jxlc", b"jxlp"):
            start = at + head + (4 if kind == b"jxlp" else 0)
            found += data[start : min(end, start + _HEADER_BYTES)]
        at = end
    return found


class _Bits:
    """Bits from the lowest of each byte on."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "little")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise HeaderError("the header is cut short")
        found = self._value & ((1 << count) - 1)
        self._value >>= count
        return found

    def flag(self) -> bool:
        return bool(self.take(1))

    def choose(self, choices: tuple[_Choice, ...]) -> int:
        """A field of the standard's type U32."""
        base, count = choices[self.take(2)]
        return base + self.take(count)


def _size(bits: _Bits) -> tuple[int, int]:
    eighths = bits.flag()
    height = 8 * (1 + bits.take(5)) if eighths else bits.choose(_SIDE)
    ratio = bits.take(3)
    if ratio:
        across, down = _RATIOS[ratio - 1]
        return height, height * across // down
    return height, 8 * (1 + bits.take(5)) if eighths else bits.choose(_SIDE)


def _skip_extra_fields(bits: _Bits) -> bool:
    """Skip what follows the orientation; whether the picture is animated."""
    if bits.flag():
        _size(bits)
    if bits.flag():
        raise HeaderError("there is a preview")
    animated = bits.flag()
    if animated:
        bits.choose(((100, 0), (1000, 0), (1, 10), (1, 30)))
        bits.choose(((1, 0), (1001, 0), (1, 8), (1, 10)))
        bits.choose(((0, 0), (0, 3), (0, 16), (0, 32)))
        bits.flag()
    return animated


def _depth(bits: _Bits) -> tuple[bool, int]:
    if bits.flag():
        depth = bits.choose(_FLOAT_BITS)
        bits.take(4)
        return True, depth
    return False, bits.choose(_BITS)


def _channel(bits: _Bits) -> tuple[int, tuple[bool, int], bool]:
    """Kind, depth, and whether it is associated alpha."""
    if bits.flag():
        return _ALPHA, (False, 8), False
    kind = bits.choose(_ENUM)
    depth = _depth(bits)
    bits.choose(((0, 0), (3, 0), (4, 0), (1, 3)))
    bits.take(8 * bits.choose(((0, 0), (0, 4), (16, 5), (48, 10))))
    associated = kind == _ALPHA and bits.flag()
    if kind == _SPOT:
        bits.take(64)
    if kind == _FILTER:
        bits.choose(((1, 0), (0, 2), (3, 4), (19, 8)))
    return kind, depth, associated


def _colours(bits: _Bits) -> tuple[bool, str | None]:
    """Whether there is one colour channel, and the curve if all else is as in sRGB."""
    if bits.flag():
        return False, "sRGB"
    profile = bits.flag()
    space = bits.choose(_ENUM)
    if profile or space not in (_RGB, _GREY):
        return space == _GREY, None
    white = bits.choose(_ENUM)
    if white == _CUSTOM:
        return space == _GREY, None
    primaries = bits.choose(_ENUM) if space == _RGB else _SRGB_PRIMARIES
    if primaries == _CUSTOM or bits.flag():
        return space == _GREY, None
    curve = {_SRGB_CURVE: "sRGB", _LINEAR_CURVE: "linear"}.get(bits.choose(_ENUM))
    return space == _GREY, curve if (white, primaries) == (_D65, _SRGB_PRIMARIES) else None
