"""Sample records for the queue, with files behind them at all four kinds of sources."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from marble_images.errors import SettingsError
from marble_images.local import layout
from marble_images.local.queue_table import Record, now_without_zone
from marble_images.local.sample_images import make_images
from marble_images.local.stack import LocalStack
from marble_images.models import Outcome, fold_id

_COPYRIGHTED = "In Copyright - for educational use"

# What Python's own table of types lacks on some systems.
_MORE_TYPES = {
    **{f".{name}": "image/jpeg" for name in ("jpe", "jfif")},
    **{f".{name}": "image/jp2" for name in ("jp2", "j2k", "jpx", "jpf", "jpm")},
    ".webp": "image/webp",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".avif": "image/avif",
    ".ptif": "image/tiff",
    ".btf": "image/tiff",
    ".bmp": "image/bmp",
    ".jxl": "image/jxl",
}


@dataclass(frozen=True)
class Sample:
    """One file of the demo.

    Attributes
    ----------
    record
        As DynamoDB stores it.
    expected
        How a run must end for it.
    note
        What is special about it.
    """

    record: Record
    expected: Outcome = Outcome.MADE
    note: str = ""

    @property
    def file_path(self) -> str:
        """The file's id."""
        return str(self.record["filePath"])


@dataclass(frozen=True)
class FolderSamples:
    """A person's folder of images as files of the queue.

    Attributes
    ----------
    samples
        One for each image.
    skipped
        What is no sample, and why, by its path in the folder.
    """

    samples: list[Sample] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def seed_samples(stack: LocalStack) -> list[Sample]:
    """Put the samples' files at their sources, and their records into the queue.

    A record that the queue has, or ever had from here, is left as it is, so a second call finds only
    what still waits.
    """
    made = make_images(stack.folder / "samples")
    samples = [*_in_s3(stack, made), *_on_the_web(stack, made), *_in_drive(stack, made)]
    stack.appsync.seed_records(sample.record for sample in samples)
    return samples


def seed_folder(stack: LocalStack, folder: Path) -> FolderSamples:
    """Serve a person's folder of images through S3, and put them into the queue.

    Nothing is copied. A file that changed since the last call waits anew; one that did not is left as
    it is.

    Raises
    ------
    SettingsError
        There is no such folder, or no image in it.
    """
    found = _find_images(folder)
    known = {record["SK"]: record for record in stack.appsync.records()}
    samples, changed = [], []
    for path, name in found.images:
        kind = _content_type(path)
        try:
            etag = stack.link_source(f"own-files/{name}", path, kind)
        except (OSError, RuntimeError) as error:
            found.skipped[name] = f"cannot be read ({error})"
            continue
        record = _s3_record(name, f"own-files/{name}", path.stat().st_size, etag, kind)
        before = known.get(f"FILEPATH#{fold_id(name)}")
        if before is None or before.get("eTag") != etag or before.get("filePath") != name:
            changed.append(record)
        samples.append(Sample(record))
    if not samples:
        raise SettingsError(f"there is no image in {folder}")
    stack.appsync.put_records(changed)
    return FolderSamples(samples, found.skipped)


# --- the samples -----------------------------------------------------------------------------------


def _in_s3(stack: LocalStack, made: dict[str, Path]) -> Iterator[Sample]:
    def sample(name: str, file_id: str, **more: Any) -> Sample:
        path, kind = made[name], _content_type(made[name])
        etag = stack.link_source(file_id, path, kind)
        record = _s3_record(file_id, file_id, path.stat().st_size, etag, kind)
        return Sample(record | more.pop("fields", {}), **more)

    yield sample("africa.tif", "BlueMarble/Africa and Europe/Africa 001.tif", note="blanks in its key")
    yield sample("relief.jpg", "Relief/world/shaded-relief-001.jpg", note="10,800 x 5,400")
    yield sample(
        "sea-floor.tif",
        "Relief/sea-floor/etopo1-002.tif",
        note="copyrighted",
        fields={"copyrightStatus": _COPYRIGHTED},
    )
    yield sample("atlas.pdf", "Relief/atlas/atlas-of-the-world.pdf", note="two pages")
    yield sample(
        "cut.jpg", "Relief/sea-floor/etopo1-003.jpg", note="truncated at its source", expected=Outcome.FAILED
    )


def _on_the_web(stack: LocalStack, made: dict[str, Path]) -> Iterator[Sample]:
    def uri(file_id: str, name: str | None, **more: Any) -> Sample:
        place = f"digital/{file_id}"
        address = f"{stack.web.uri_url}/{place}" if name is None else stack.web.put_uri(place, made[name])
        return Sample(_record(file_id, "Uri", sourceUri=address, sourceSystem="Aleph"), **more)

    def curate(file_id: str, name: str, item: str, **more: Any) -> Sample:
        content = made[name].read_bytes()
        address = stack.web.put_curate(item, content, PurePosixPath(file_id).name)
        checksum = hashlib.md5(content).hexdigest()
        record = _record(
            file_id, "Curate", sourceUri=address, sourceSystem="Curate", md5Checksum=checksum, bendoItem=item
        )
        return Sample(record, **more)

    yield uri("BlueMarble/world/bmng-001.jpg", "blue-marble.jpg")
    yield uri("BlueMarble/world/bmng-002.jpg", "upside-down.jpg", note="upside down, says its EXIF")
    yield uri("BlueMarble/world/bmng-003.jpg", None, note="missing at its source", expected=Outcome.REMOVED)
    yield curate("zp38w953p3c/Alps/alps-0001.tif", "alps.tif", "rb68x923t0f", note="its MD5 is in the record")
    yield curate("zp38w953p3c/Alps/asia-0002.tif", "grey.tif", "r494vh57780", note="grey")


def _in_drive(stack: LocalStack, made: dict[str, Path]) -> Iterator[Sample]:
    def museum(file_id: str, name: str, drive_id: str, **more: Any) -> Sample:
        address = stack.web.put_drive(drive_id, made[name], PurePosixPath(file_id).name)
        record = _record(file_id, "Museum", sourceUri=address, sourceSystem="EmbARK", storageSystem="Google")
        return Sample(record, **more)

    yield museum("1934.007.001/1934_007_001-v0001.jpg", "americas.jpg", "1LocalStackAmericas00000000000001")
    yield museum(
        "1934.007.001/1934_007_001-v0002.jpg",
        "iceland.jpg",
        "1LocalStackIceland000000000000002",
        note="smaller than a tile",
    )


def _record(file_id: str, source_type: str, **fields: Any) -> Record:
    now = now_without_zone()
    return {
        "id": file_id,
        "filePath": file_id,
        "TYPE": "FileToProcess",
        "sourceType": source_type,
        "storageSystem": source_type,
        "typeOfData": source_type,
        "description": PurePosixPath(file_id).name,
        "mimeType": _content_type(Path(file_id)),
        "dateAddedToDynamo": now,
        "dateModifiedInDynamo": now,
    } | fields


def _s3_record(file_id: str, key: str, size: int, etag: str, kind: str) -> Record:
    return _record(
        file_id,
        "S3",
        sourceBucketName=layout.SOURCE_BUCKET,
        sourceFilePath=key,
        eTag=etag,
        mimeType=kind,
        # Text, as in the queue's real records.
        size=str(size),
    )


def _content_type(path: Path) -> str:
    known = _MORE_TYPES.get(path.suffix.lower()) or mimetypes.guess_type(f"file{path.suffix.lower()}")[0]
    return known or "application/octet-stream"


# --- a person's own folder -------------------------------------------------------------------------


@dataclass
class _Found:
    images: list[tuple[Path, str]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def _find_images(folder: Path) -> _Found:
    folder = folder.expanduser()
    if not folder.is_dir():
        raise SettingsError(f"there is no folder {folder}")
    found = _Found()
    ids: dict[str, str] = {}
    pyramids: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts) or path.is_dir():
            continue
        name = relative.as_posix()
        reason = _why_not(path, name) or _clash(name, ids, pyramids)
        if reason:
            found.skipped[name.encode("utf-8", "replace").decode()] = reason
        else:
            found.images.append((path, name))
    return found


def _why_not(path: Path, name: str) -> str | None:
    if not path.is_file():
        return "is no file"
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    kind = _content_type(path)
    return None if kind.startswith("image/") or kind == "application/pdf" else "is no image, by its name"


def _clash(name: str, ids: dict[str, str], pyramids: dict[str, str]) -> str | None:
    first = ids.setdefault(fold_id(name), name)
    if first != name:
        return f"has the same id as {first}: case and blanks do not count"
    first = pyramids.setdefault(str(PurePosixPath(name).with_suffix("")), name)
    return None if first == name else f"its pyramid would be that of {first}"
