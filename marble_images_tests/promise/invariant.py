"""The promise, checked from outside: the queue, the image bucket and the state are read independently.

Nothing of the pipeline's own code says here what is right: object names, the form of a pyramid and the
entries of the state are read with other programs' eyes.
"""

from __future__ import annotations

import io
import json
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tifffile

from marble_images.local import layout
from marble_images.local.stack import LocalStack


@dataclass(frozen=True)
class Ends:
    """What became of the files: every one is in exactly one of the three."""

    published: frozenset[str]
    waiting: Mapping[str, str]
    removed: frozenset[str]


def check_promise(
    stack: LocalStack,
    listed: Iterable[str],
    *,
    reasons: Mapping[str, str | None] | None = None,
    may_be_removed: Iterable[str] = (),
) -> Ends:
    """Assert that the promise holds for every file that was listed, and tell what became of each.

    Parameters
    ----------
    reasons
        The reasons that a run reported, besides those in the state: by file, ``None`` for none.
    may_be_removed
        The files that their sources really do not have.
    """
    gone = set(may_be_removed)
    records = {str(record.get("filePath")): record for record in stack.appsync.records()}
    on_record = {**state_reasons(stack), **{path: text for path, text in (reasons or {}).items() if text}}
    published: set[str] = set()
    waiting: dict[str, str] = {}
    removed: set[str] = set()
    for path in listed:
        record = records.get(path)
        if record is None:
            assert path in gone, f"{path} was removed, and its source has it"
            removed.add(path)
        elif record.get("dateLastProcessed"):
            check_published(stack, path, record)
            published.add(path)
        else:
            if reasons is not None:
                assert on_record.get(path), f"{path} waits, and nothing says why"
            waiting[path] = on_record.get(path, "")
    return Ends(frozenset(published), waiting, frozenset(removed))


def check_published(stack: LocalStack, path: str, record: Mapping[str, Any]) -> None:
    """Assert that a file's pyramid is whole, and that AppSync and the metadata tell its size."""
    found = stack.s3.get_object(Bucket=layout.IMAGE_BUCKET, Key=pyramid_key(path))
    check_object(found["Body"].read(), found["Metadata"], path)
    told = (found["Metadata"]["width"], found["Metadata"]["height"])
    assert (str(record["width"]), str(record["height"])) == told, f"AppSync has another size of {path}"


def check_object(body: bytes, metadata: Mapping[str, str], name: str) -> None:
    """Assert that an object is a whole pyramid, as its metadata says; every tile is decoded."""
    with tifffile.TiffFile(io.BytesIO(body)) as tiff:
        pages = list(tiff.pages)
        height, width = pages[0].shape[:2]
        told = (metadata["width"], metadata["height"], metadata["pages"])
        assert told == (str(width), str(height), str(len(pages))), f"{name} has metadata of another version"
        for page in pages:
            page.asarray()
    assert metadata["marble-bytes"] == str(len(body)), f"{name} is not the object that was sent"


def check_bucket(stack: LocalStack) -> set[str]:
    """Assert that no object of the image bucket is half, or has metadata of another version; the keys."""
    keys: set[str] = set()
    for page in stack.s3.get_paginator("list_objects_v2").paginate(Bucket=layout.IMAGE_BUCKET):
        for item in page.get("Contents", []):
            found = stack.s3.get_object(Bucket=layout.IMAGE_BUCKET, Key=item["Key"])
            if item["Key"].endswith(".tif"):
                check_object(found["Body"].read(), found["Metadata"], item["Key"])
            keys.add(item["Key"])
    return keys


def pyramid_key(path: str) -> str:
    """The key that the outside world expects a file's pyramid under."""
    return posixpath.splitext(path)[0] + ".tif"


def state_reasons(stack: LocalStack) -> dict[str, str]:
    """Why files wait, as the state bucket has it: the failures on record."""
    found: dict[str, str] = {}
    pages = stack.s3.get_paginator("list_objects_v2").paginate(
        Bucket=layout.STATE_BUCKET, Prefix="marble-images/failures/"
    )
    for page in pages:
        for item in page.get("Contents", []):
            body = stack.s3.get_object(Bucket=layout.STATE_BUCKET, Key=item["Key"])["Body"].read()
            entry = json.loads(body)
            found[entry["file_path"]] = entry["reason"]
    return found


def files_left(work: Path) -> list[Path]:
    """The files that lie in a work folder."""
    return [path for path in work.rglob("*") if path.is_file()] if work.is_dir() else []
