"""The checks of `pyramid_tiffs`: what the work on a file says of them, and how they are looked at again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from marble_images.checksums import sha256_of
from marble_images.errors import FileError, InvalidPyramid, PublishError, RecordMissing
from marble_images.models import ChangedFile, FileReport, Outcome
from marble_images.object_metadata import Published
from marble_images.partitions import image_file_partitions
from marble_images.publishing import PYRAMID_CONTENT_TYPE, ImageBucket, object_key
from marble_images.pyramid.model import ARCHIVED_BOX, COPYRIGHT_BOX, Box

if TYPE_CHECKING:
    from marble_images.pyramid.structure import Problem

PYRAMID_TIFFS = dg.AssetKey("pyramid_tiffs")

VALID, HELD, BOX = "pyramid_is_valid", "bucket_holds_what_was_made", "copyright_box_holds"

CHECKS = [
    dg.AssetCheckSpec(
        name, asset=PYRAMID_TIFFS, partitions_def=image_file_partitions, description=description
    )
    for name, description in (
        (VALID, "The pyramid is as docs/valid-pyramid.md says: its structure, and every tile's pixels."),
        (HELD, "The object in the image bucket has the size, checksum and metadata of what was made."),
        (BOX, "At most 843 x 560 pixels when the file is copyrighted, at most 4000 x 4000 otherwise."),
    )
]

_READERS = 4
_PROBLEMS_NAMED = 20


@dataclass(frozen=True)
class Finding:
    """What one check came to for one file."""

    check: str
    passed: bool
    description: str
    metadata: Mapping[str, Any]

    def evaluation(self, key: str) -> dg.AssetCheckEvaluation:
        """The event of a partition."""
        return dg.AssetCheckEvaluation(
            asset_key=PYRAMID_TIFFS,
            check_name=self.check,
            passed=self.passed,
            partition=key,
            description=self.description,
            metadata={name: value for name, value in self.metadata.items() if value is not None},
        )


def findings_of(report: FileReport) -> Iterator[Finding]:
    """What the work on a file says of its checks; nothing of those that it did not come to."""
    if report.outcome in (Outcome.MADE, Outcome.CURRENT):
        yield from _of_published(report)
    elif report.code == InvalidPyramid.code:
        yield Finding(VALID, False, report.reason or "", _reason(report))
    elif report.code == PublishError.code:
        yield Finding(HELD, False, report.reason or "", _reason(report))


def _of_published(report: FileReport) -> Iterator[Finding]:
    made_now = report.outcome is Outcome.MADE
    when = "before it was uploaded" if made_now else "when it was made; it has not changed since"
    yield Finding(
        VALID,
        True,
        f"Every tile was read {when}.",
        {"levels": report.levels, "seconds": report.seconds.get("validate")},
    )
    how = "The object was compared with what was sent." if made_now else "The object is the current one."
    yield Finding(
        HELD, True, how, {"bytes": report.bytes_out, "object": report.uri, "SHA-256": report.sha256}
    )
    yield _box(report.width or 0, report.height or 0, report.copyrighted)


def _box(width: int, height: int, copyrighted: bool) -> Finding:
    box = _box_of(copyrighted)
    fits = 0 < width <= box.width and 0 < height <= box.height
    return Finding(
        BOX,
        fits,
        f"{width} x {height} {'fits' if fits else 'does not fit'} {box}.",
        {"width": width, "height": height, "box": str(box), "copyrighted": copyrighted},
    )


def _box_of(copyrighted: bool) -> Box:
    return COPYRIGHT_BOX if copyrighted else ARCHIVED_BOX


def _reason(report: FileReport) -> dict[str, Any]:
    return {"reason": report.reason, "code": report.code, "detail": report.detail}


# --- to look again ---------------------------------------------------------------------------------

Made = Mapping[str, Any]
"""The metadata of a partition's last materialization, as plain values."""


def look_again(
    keys: Mapping[str, str],
    records: Mapping[str, ChangedFile | FileError | None],
    made: Callable[[str], Made],
    images: ImageBucket,
    *,
    folder: Path,
    checks: Collection[str],
) -> Iterator[tuple[str, list[Finding]]]:
    """Download published pyramids and check them anew, several at once.

    Parameters
    ----------
    keys
        Partition keys by file id.
    records
        What AppSync says of the files now; the copyright box is that of the record.
    made
        The metadata of a partition's last materialization; empty if there is none.
    images
        Where the pyramids are.
    folder
        Room for the downloads; each is deleted when it was looked at.
    checks
        The names of the checks to evaluate.

    Yields
    ------
    Partition keys with the findings of their checks, in the order given.
    """

    def one(file_path: str) -> list[Finding]:
        return _look_at(file_path, records.get(file_path), made(keys[file_path]), images, folder, checks)

    with ThreadPoolExecutor(_READERS) as readers:
        yield from zip(keys.values(), readers.map(one, keys), strict=True)


def _look_at(
    file_path: str,
    record: ChangedFile | FileError | None,
    made: Made,
    images: ImageBucket,
    folder: Path,
    checks: Collection[str],
) -> list[Finding]:
    try:
        if isinstance(record, FileError):
            raise record
        if record is None:
            raise RecordMissing("AppSync has no record of this file")
        published = images.head(object_key(file_path))
        if published is None:
            raise PublishError("the image bucket has no pyramid of this file")
        with tempfile.TemporaryDirectory(dir=folder) as room:
            path = Path(room) / "pyramid.tif"
            if {VALID, HELD} & set(checks):
                images.download(published, path)
            found = _findings(path, record, published, made, checks)
            return list(found)
    except FileError as error:
        metadata = {"reason": error.reason, "code": error.code, "detail": error.detail}
        return [Finding(check, False, error.reason, metadata) for check in sorted(checks)]


def _findings(
    path: Path, record: ChangedFile, published: Published, made: Made, checks: Collection[str]
) -> Iterator[Finding]:
    if VALID in checks:
        # Brings numpy and codecs, which loading the definitions needs not.
        from marble_images.pyramid.validate import validate_pyramid

        yield _validity(validate_pyramid(path, profile=published.metadata.get("marble-profile")))
    if HELD in checks:
        yield _held(path, published, made)
    if BOX in checks:
        yield _box(published.width or 0, published.height or 0, record.copyrighted)


def _validity(problems: Iterable[Problem]) -> Finding:
    found = list(problems)
    errors = [f"{problem.where}: {problem.message}" for problem in found if problem.kind == "error"]
    listed = "\n".join(f"- {p.kind}: {p.where}: {p.message}" for p in found[:_PROBLEMS_NAMED])
    return Finding(
        VALID,
        not errors,
        errors[0] if errors else "Every tile was downloaded and read.",
        {"problems": dg.MetadataValue.md(listed) if found else None},
    )


def _held(path: Path, published: Published, made: Made) -> Finding:
    sha256 = sha256_of(path)
    shown = {
        "content type": (published.content_type, PYRAMID_CONTENT_TYPE),
        "bytes": (path.stat().st_size, made.get("bytes")),
        "pyramid checksum": (sha256, made.get("pyramid checksum")),
        "source checksum": (published.metadata.get("marble-source-sha256"), made.get("source checksum")),
        "profile": (published.metadata.get("marble-profile"), made.get("profile")),
        "width": (published.width, made.get("width")),
        "height": (published.height, made.get("height")),
        "levels": (published.levels, made.get("levels")),
        "tile size": (published.tile_size, made.get("tile size")),
    }
    # What no event tells, as Dagster's history was cleared, says nothing against the object.
    differ = {name: pair for name, pair in shown.items() if pair[1] is not None and pair[0] != pair[1]}
    incomplete = None in (published.width, published.height, published.levels, published.tile_size)
    if differ:
        description = "The object is not the one that was made: " + "; ".join(
            f"{name} is {held}, was {was}" for name, (held, was) in differ.items()
        )
    elif incomplete:
        description = "The object lacks metadata that the IIIF server reads: width, height, pages, tilesize."
    else:
        description = "The object was downloaded; it is the one that was made."
    return Finding(
        HELD,
        not differ and not incomplete,
        description,
        {"bytes": published.size, "object": published.uri, "SHA-256": sha256, "ETag": published.etag},
    )
