"""Windows icons and cursors: the largest picture of a file, and of that size the one with most colours."""

from __future__ import annotations

import io
import struct
from pathlib import Path

from marble_images.errors import TruncatedImage

_HEADER = struct.Struct("<3H")
_ENTRY = struct.Struct("<4B2H2I")
_ICON = 1
_PNG = b"\x89PNG"
_DEPTH_AT = 14
_OPAQUE_DEPTH, _ALPHA_DEPTH = 24, 32


def one_icon(path: Path) -> io.BytesIO:
    """An icon file of one picture, made of a file of icons or cursors.

    Its depth is the one that the picture itself says: in icons the directory's is often missing, in cursors
    there is none. Where the alpha of 32 bits is 0 throughout it says 24, so that the mask of one bit counts.

    Raises
    ------
    TruncatedImage
        The file ends within its directory.
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
