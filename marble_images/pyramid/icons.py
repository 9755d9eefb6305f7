"""Windows icons and cursors: the largest picture of a file, and of that size the one with most colours."""

from __future__ import annotations

import io
import struct
from pathlib import Path

from marble_images.errors import CorruptImage, TruncatedImage

LARGEST_ICON = 4096
"""Pixels of a side; no icon has more."""

_HEADER = struct.Struct("<3H")
_ENTRY = struct.Struct("<4B2H2I")
_BITMAP = struct.Struct("<IiiHHIIiiII")
_ICON = 1
_PNG = b"\x89PNG"
_DEPTH_AT = 14
_OPAQUE_DEPTH, _ALPHA_DEPTH = 24, 32


def one_icon(path: Path) -> io.BytesIO:
    """An icon file of one picture, made of a file of icons or cursors.

    Its depth is the one that the picture itself says: in icons the directory's is often missing, in cursors
    there is none. So is its size, from which the place of the mask follows. Where the alpha of 32 bits is 0
    throughout the depth is given as 24, so that the mask of one bit counts.

    Raises
    ------
    TruncatedImage
        The file ends within its directory.
    CorruptImage
        The picture says that it has more pixels than any icon.
    """
    data = bytearray(path.read_bytes())
    _, _, count = _HEADER.unpack_from(data) if len(data) >= _HEADER.size else (0, 0, 0)
    if not count or len(data) < _HEADER.size + count * _ENTRY.size:
        raise TruncatedImage("the icon file is truncated")
    entries = [_ENTRY.unpack_from(data, _HEADER.size + i * _ENTRY.size) for i in range(count)]
    width, height, *rest, depth, size, offset = max(
        ((*entry[:5], _depth(data, entry), *entry[6:]) for entry in entries),
        key=lambda entry: ((entry[0] or 256) * (entry[1] or 256), entry[5]),
    )
    actual = _size(data, offset)
    if depth != _ALPHA_DEPTH and actual:
        size = actual
    _HEADER.pack_into(data, 0, 0, _ICON, 1)
    _ENTRY.pack_into(data, _HEADER.size, width, height, *rest, depth, size, offset)
    return io.BytesIO(data)


def _depth(data: bytearray, entry: tuple[int, ...]) -> int:
    """Bits of a pixel of one picture."""
    width, height, *_, offset = entry
    if data[offset : offset + 4] == _PNG:
        return _ALPHA_DEPTH
    depth = int.from_bytes(data[offset + _DEPTH_AT : offset + _DEPTH_AT + 2], "little")
    if depth != _ALPHA_DEPTH:
        return depth
    start = offset + int.from_bytes(data[offset : offset + 4], "little")
    alpha = data[start + 3 : start + 4 * (width or 256) * (height or 256) : 4]
    return depth if any(alpha) else _OPAQUE_DEPTH


def _size(data: bytearray, offset: int) -> int:
    """Bytes of a bitmap with its mask, 0 where it is of another kind than usual."""
    if len(data) < offset + _BITMAP.size:
        return 0
    header, width, height, _, depth, compression, _, _, _, colours, _ = _BITMAP.unpack_from(data, offset)
    if header != _BITMAP.size or compression or width <= 0 or height <= 0:
        return 0
    if width * height > 2 * LARGEST_ICON**2:
        raise CorruptImage(f"the icon file has a part that says {width} x {height // 2} pixels")
    palette = 4 * (colours or 2**depth) if depth <= 8 else 0
    rows = (width * depth + 31) // 32 * 4 + (width + 31) // 32 * 4
    return header + palette + rows * (height // 2)
