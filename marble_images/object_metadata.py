"""What the objects of the image bucket say of themselves in their S3 metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from marble_images.errors import PublishError

if TYPE_CHECKING:
    from marble_images.pyramid.model import Box, Pyramid

PYRAMID_CONTENT_TYPE = "image/tiff"

PREFIX = "marble-"
"""How the names of our own metadata begin; the IIIF server's have no prefix."""

FILE = f"{PREFIX}file"
"""Name of the metadata that holds the file's id."""

# S3 counts the bytes of all names and values of user metadata.
_METADATA_LIMIT = 2048


_LONGEST_FILE = 600


def _encoded(value: str) -> str:
    return quote(value, safe="/:=+,;@", errors="surrogatepass")


def encode_metadata(values: Mapping[str, str]) -> dict[str, str]:
    """Metadata that survives HTTP headers: names in lower case, values percent-encoded, no empty ones.

    Raises
    ------
    PublishError
        It is larger than the 2048 bytes that S3 takes.
    """
    encoded = {name.lower(): _encoded(value) for name, value in values.items() if value}
    if sum(len(name) + len(value) for name, value in encoded.items()) > _METADATA_LIMIT:
        raise PublishError(f"the object's metadata is over S3's limit of {_METADATA_LIMIT} bytes")
    return encoded


def decode_metadata(stored: Mapping[str, str]) -> dict[str, str]:
    """What ``encode_metadata`` was given."""
    return {name.lower(): unquote(value, errors="surrogatepass") for name, value in stored.items()}


@dataclass(frozen=True)
class Published:
    """An object of the image bucket, as a HEAD shows it.

    Attributes
    ----------
    size
        Bytes.
    crc32
        Base64 of the CRC-32 of the whole object, if the server keeps one or the object was read back.
    metadata
        The user metadata, decoded.
    superseded
        Another upload replaced ours before we looked: everything here is of that other object.
    """

    key: str
    uri: str
    size: int
    etag: str
    content_type: str | None = None
    crc32: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    last_modified: datetime | None = None
    superseded: bool = False

    @property
    def width(self) -> int | None:
        """Pixels of the largest level, if the metadata says it."""
        return _count(self.metadata.get("width"))

    @property
    def height(self) -> int | None:
        """Pixels of the largest level, if the metadata says it."""
        return _count(self.metadata.get("height"))

    @property
    def levels(self) -> int | None:
        """Levels of the pyramid, if the metadata says it."""
        return _count(self.metadata.get("pages"))

    @property
    def tile_size(self) -> int | None:
        """Pixels of a tile's side, if the metadata says it."""
        return _count(self.metadata.get("tilesize"))


def pyramid_metadata(
    pyramid: Pyramid,
    *,
    fingerprint: str,
    source_sha256: str,
    rules_version: str,
    box: Box,
    copyrighted: bool = False,
    version: str | None = None,
    file_path: str | None = None,
) -> dict[str, str]:
    """The metadata of a pyramid: what the IIIF server reads, and what the pyramid was made from.

    Parameters
    ----------
    pyramid
        Gives ``width``, ``height``, ``pages`` (levels, the largest included), ``tilesize`` and the
        profile.
    fingerprint, source_sha256
        Of the source: as the queue's record tells it, and of its bytes.
    rules_version, box, copyrighted
        How it was made: the version of the rules, the box it had to fit, and whether for copyright.
    version
        Of this package.
    file_path
        The file's id: ids that differ in their extension only share an object. Left out if it is so
        long that it might not fit.
    """
    return {
        "width": str(pyramid.width),
        "height": str(pyramid.height),
        "pages": str(pyramid.levels),
        "tilesize": str(pyramid.tile_size),
        f"{PREFIX}source-sha256": source_sha256,
        f"{PREFIX}copyrighted": "true" if copyrighted else "false",
        **({f"{PREFIX}version": version} if version else {}),
        **({FILE: file_path} if file_path and len(_encoded(file_path)) <= _LONGEST_FILE else {}),
        **_identity(fingerprint, pyramid.profile, rules_version, box),
    }


def upload_metadata(
    *, upload: str, size: int, crc32: str, md5: str | None = None, etag: str | None = None
) -> dict[str, str]:
    """What every object says of its own bytes, so that a later HEAD can tell whether it holds them.

    Parameters
    ----------
    upload
        Names the upload.
    size, crc32, md5
        Of the bytes: their number, base64 of the CRC-32, hexadecimal MD5. The last may be left out for a
        server that keeps the second.
    etag
        The ETag that S3 gives to the bytes as they are sent. Of one PUT it is their MD5; of N parts it is
        the MD5 of the parts' MD5s, a hyphen and N (AWS: "Checking object integrity", on ETags).
    """
    return {
        f"{PREFIX}upload": upload,
        f"{PREFIX}bytes": str(size),
        f"{PREFIX}crc32": crc32,
        **({f"{PREFIX}md5": md5} if md5 else {}),
        **({f"{PREFIX}etag": etag} if etag and etag != md5 else {}),
    }


def is_intact(published: Published) -> bool:
    """Whether an object holds the bytes that were sent.

    A run may die between an upload and its check, and a server may take bytes that changed on the way. So
    the object is compared with what its own metadata says of them: always the size, and then the best
    that the server offers.

    1. The CRC-32 of the whole object, which AWS and newer servers keep.
    2. Else the ETag: the MD5 of the bytes or, of an upload in parts, what S3 makes of the parts' MD5s.
    3. Else, where a server keeps no checksum and its ETags are of a kind of its own (encrypted objects,
       gateways that part an upload anew), the bytes themselves: ``ImageBucket.head`` has read them back,
       and their CRC-32 is in the place of the server's.
    """
    said = published.metadata.get
    if not is_sized(published):
        return False
    if published.crc32 is not None:
        return said(f"{PREFIX}crc32") == published.crc32
    return published.etag in (said(f"{PREFIX}md5"), said(f"{PREFIX}etag"))


def is_sized(published: Published) -> bool:
    """Whether an object says what bytes it was made of, and has as many."""
    said = published.metadata.get
    return (
        bool(published.size)
        and said(f"{PREFIX}bytes") == str(published.size)
        and said(f"{PREFIX}crc32") is not None
    )


def is_of(published: Published | None, fingerprint: str) -> bool:
    """Whether an object is whole and was made from the source with this fingerprint."""
    return (
        published is not None
        and is_intact(published)
        and published.metadata.get(f"{PREFIX}fingerprint") == fingerprint
    )


def is_current(
    published: Published | None,
    *,
    fingerprint: str,
    profile: str,
    rules_version: str,
    box: Box,
) -> bool:
    """Whether a pyramid is the one that would be made again; takes what ``ImageBucket.head`` gave."""
    if published is None or published.content_type != PYRAMID_CONTENT_TYPE or not is_intact(published):
        return False
    if None in (published.width, published.height, published.levels, published.tile_size):
        return False
    wanted = _identity(fingerprint, profile, rules_version, box)
    return all(published.metadata.get(name) == value for name, value in wanted.items())


def _identity(fingerprint: str, profile: str, rules_version: str, box: Box) -> dict[str, str]:
    return {
        f"{PREFIX}fingerprint": fingerprint,
        f"{PREFIX}profile": profile,
        f"{PREFIX}rules": rules_version,
        f"{PREFIX}box": f"{box.width}x{box.height}",
    }


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[1-9][0-9]{0,9}", text) else None
