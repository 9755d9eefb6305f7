"""The names of objects in the image bucket, made from file ids that nobody checked before."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from marble_images.errors import UnusableRecord

PYRAMID_SUFFIX = ".tif"
PDF_SUFFIX = ".pdf"

# S3's limit, in bytes of UTF-8.
_LONGEST_KEY = 1024

_LINE_SEPARATORS = "\u2028\u2029"


def object_key(file_path: str, suffix: str = PYRAMID_SUFFIX) -> str:
    """The key under which a file is published: its id, with the extension replaced.

    The extension is what follows the last dot of the last part of the id: ``a.b/c.jpg`` becomes
    ``a.b/c.tif``, ``a.b/c`` becomes ``a.b/c.tif``. Ids that differ in nothing but the extension share
    one key, as they did in the archived system; ``key_collisions`` finds them.

    An id is never mended, because readers of the bucket derive the key by the same rule: it gives a
    key as it is, or none at all.

    Parameters
    ----------
    file_path
        The id.
    suffix
        The new extension, with its dot.

    Raises
    ------
    UnusableRecord
        The id is empty, absolute, names a folder, has empty, ``.`` or ``..`` parts or control
        characters, is nothing but an extension, or gives a key longer than 1024 bytes.
    """
    refusal = _refusal(file_path)
    if refusal:
        raise UnusableRecord(f"the id cannot name an object: it {refusal}", detail=repr(file_path)[:2000])
    key = _replace_extension(file_path, suffix)
    if len(key.encode("utf-8")) > _LONGEST_KEY:
        raise UnusableRecord(f"the id cannot name an object: the key would be over {_LONGEST_KEY} bytes long")
    return key


def _refusal(file_path: str) -> str | None:
    """Why an id can name no object, to be read after "it"; ``None`` if it can."""
    parts = _parts(file_path)
    stem = posixpath.splitext(parts[-1])[0]
    checks = (
        (not file_path.strip(), "is empty"),
        (any(_unprintable(character) for character in file_path), "has line breaks or control characters"),
        (re.match(r"[/\\]|[A-Za-z]:[/\\]", file_path), "is an absolute path"),
        (parts[-1].strip() == "", "names a folder"),
        (any(part.strip() in (".", "..") for part in parts), "has . or .. in its path"),
        (any(not part.strip() for part in parts), "has an empty folder name in its path"),
        (
            not stem.strip(". ") or (stem[0] == "." and stem == parts[-1] and stem.count(".") == 1),
            "has no name before its extension",
        ),
    )
    return next((reason for found, reason in checks if found), None)


def _unprintable(character: str) -> bool:
    # Cc are control characters; Cs are halves of surrogate pairs, which have no UTF-8.
    return unicodedata.category(character) in ("Cc", "Cs") or character in _LINE_SEPARATORS


def key_collisions(file_paths: Iterable[str], suffix: str = PYRAMID_SUFFIX) -> dict[str, list[str]]:
    """The keys that more than one of the ids would be published under, with those ids, sorted.

    Ids that can name no object are passed over.
    """
    by_key: defaultdict[str, set[str]] = defaultdict(set)
    for file_path in file_paths:
        if _refusal(file_path) is None:
            by_key[_replace_extension(file_path, suffix)].add(file_path)
    return {key: sorted(ids) for key, ids in by_key.items() if len(ids) > 1}


def _replace_extension(file_path: str, suffix: str) -> str:
    name = _parts(file_path)[-1]
    folder = file_path[: len(file_path) - len(name)]
    return folder + posixpath.splitext(name)[0] + suffix


def _parts(file_path: str) -> list[str]:
    # A copy of the bucket on Windows takes backslashes for separators.
    return re.split(r"[/\\]", file_path)
