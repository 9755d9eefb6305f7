"""One file, from its record to its mark in the queue.

The order keeps the promise that no file is lost: a pyramid is uploaded and verified, then the record is
read again, and only if it is still the one that the work began with is the file marked processed. Dying at
any point leaves the file waiting, and doing it again is harmless.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from marble_images import RULES_VERSION, __version__
from marble_images.errors import (
    ChangedMeanwhile,
    FileError,
    FileQueueError,
    MarbleImagesError,
    PublishError,
    QueueRefused,
    RecordMissing,
)
from marble_images.formats import ImageFormat, identify_file
from marble_images.models import ChangedFile, FileReport, Outcome, SourceFile
from marble_images.object_metadata import FILE
from marble_images.pipeline.marks import QueueMarks
from marble_images.pipeline.reports import described_source, failed, unexpected
from marble_images.publishing import (
    PYRAMID_CONTENT_TYPE,
    ImageBucket,
    Published,
    is_current,
    is_of,
    object_key,
    pyramid_metadata,
)
from marble_images.pyramid.model import ARCHIVED_BOX, COPYRIGHT_BOX, Box, ConvertOptions, Pyramid
from marble_images.pyramid.pool import PyramidPool
from marble_images.sources import SourceFetcher
from marble_images.state import StateStore

if TYPE_CHECKING:
    from marble_images.appsync import AppSyncQueue

_MOST_ROUNDS = 3


@dataclass(frozen=True)
class Options:
    """What a run may choose.

    Attributes
    ----------
    remake
        Make a pyramid even when the bucket holds a current one.
    keep
        Ids of files that are not made again while their pyramids are current, whatever ``remake`` says.
    retry_quarantined
        Try files that are set aside after failing again and again.
    profile
        How pyramids are compressed; a name of ``pyramid.profiles``.
    max_pixels
        Pixels of the largest image that is opened.
    """

    remake: bool = True
    keep: frozenset[str] = frozenset()
    retry_quarantined: bool = True
    profile: str = "deflate"
    max_pixels: int = 2_000_000_000


@dataclass(frozen=True)
class Services:
    """What the pipeline talks to; each is safe to use from many threads."""

    queue: AppSyncQueue
    images: ImageBucket
    state: StateStore
    fetcher: SourceFetcher
    pool: PyramidPool


@dataclass
class Clock:
    """Seconds spent by phase."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the block to a phase."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - began, 4)


@dataclass(frozen=True)
class Job:
    """One file of a run: the id that was asked for, and what AppSync says of it."""

    file_path: str
    record: ChangedFile | FileError | None


class FilePipeline:
    """Works on files one by one; called from many threads at once."""

    def __init__(self, services: Services, options: Options, folder: Path) -> None:
        self._services = services
        self._options = options
        self._folder = folder
        self._stopped = threading.Event()
        self._refused: QueueRefused | None = None
        self.marks = QueueMarks(services.queue, self._go_on)

    def stop(self) -> None:
        """Begin no further phase: the run is being ended from outside."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Whether the run is being ended from outside."""
        return self._stopped.is_set()

    def process(self, job: Job) -> FileReport:
        """Do all that there is to do for one file; failures are part of the report, not raised."""
        clock = Clock()
        report = FileReport(job.file_path, Outcome.FAILED)
        try:
            self._go_on()
            record = self._record(job)
            report = replace(
                report,
                source_type=record.source_type,
                fingerprint=record.fingerprint,
                address=described_source(record),
                copyrighted=record.copyrighted,
            )
            report = self._process(record, report, clock)
        except FileError as error:
            report = failed(report, error)
        except QueueRefused as error:
            # No other file can be marked either: the run begins no more of them.
            self._refused = error
            report = replace(report, code=error.code, reason=error.reason, detail=error.detail)
        except MarbleImagesError as error:
            report = replace(report, code=error.code, reason=error.reason, detail=error.detail)
        except OSError as error:
            report = replace(
                report, code="work-folder", reason=f"the work folder failed: {error.strerror or error}"
            )
        except Exception as error:  # noqa: BLE001 - a fault of ours must cost one file, not the run
            report = unexpected(report, error)
        return replace(report, seconds=clock.seconds)

    def _record(self, job: Job) -> ChangedFile:
        if isinstance(job.record, FileError):
            raise job.record
        if job.record is None:
            raise RecordMissing("AppSync has no record of this file")
        return job.record

    def _process(self, record: ChangedFile, report: FileReport, clock: Clock) -> FileReport:
        kept = self._services.state.quarantined(record) if not self._options.retry_quarantined else None
        if kept is not None:
            return replace(report, outcome=Outcome.QUARANTINED, code=kept.code, reason=kept.reason)
        key = object_key(record.file_path)
        record.source  # noqa: B018 - a kind of source that we do not know is refused before any request
        if not self._options.remake or report.file_path in self._options.keep:
            with clock.phase("check"):
                published = self._services.images.head(key)
            if published is not None and self._is_current(record, published):
                return self._kept_or_made(record, key, published, report, clock)
        return self._make_as_often_as_needed(record, key, report, clock)

    def _kept_or_made(
        self, record: ChangedFile, key: str, published: Published, report: FileReport, clock: Clock
    ) -> FileReport:
        try:
            return self._keep(record, published, report, clock)
        except ChangedMeanwhile:
            newer = self._not_waiting_any_more(record, key)
            if newer is None:
                raise
        return self._make_as_often_as_needed(newer, key, report, clock)

    def _make_as_often_as_needed(
        self, record: ChangedFile, key: str, report: FileReport, clock: Clock
    ) -> FileReport:
        began = record
        for rounds_left in reversed(range(_MOST_ROUNDS)):
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            try:
                return self._make(record, key, folder, report, clock)
            except ChangedMeanwhile:
                newer = self._not_waiting_any_more(record, key)
                if newer is None or not rounds_left:
                    raise
                record = newer
            except FileError as error:
                if record is began:
                    raise
                # Nothing can make it wait again, so the reason has to say it.
                reason = "AppSync has it as processed, but its newest source is not published"
                raise type(error)(f"{reason}: {error.reason}", detail=error.detail) from None
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        raise AssertionError("the last round returns or raises")

    def _not_waiting_any_more(self, record: ChangedFile, key: str) -> ChangedFile | None:
        """The record as it is now, if it waits no more and the bucket holds another picture than its.

        Another run may publish and mark a newer source while we work on an older one; if ours is uploaded
        last, the bucket holds the older picture. Or a record is rewritten in the moment between our last
        look at it and our mark. The file must then be made again, from what the record says now.
        """
        now = self._services.queue.get_record(record.file_path)
        if now is None or now.waiting or now.file_path != record.file_path:
            return None
        return None if is_of(self._services.images.head(key), now.fingerprint) else now

    def _make(
        self, record: ChangedFile, key: str, folder: Path, report: FileReport, clock: Clock
    ) -> FileReport:
        self._go_on()
        with clock.phase("fetch"):
            source = self._services.fetcher.fetch(record, folder)
        self._go_on()
        target = folder / "pyramid.tif"
        pyramid = self._convert(record, source, target, clock)
        # Long since it was read: a picture of a newer source must not be replaced by an older one.
        self.marks.check_unchanged(record)
        with clock.phase("upload"):
            self._publish_pdf(record, source)
            published = self._services.images.publish(
                target,
                key,
                content_type=PYRAMID_CONTENT_TYPE,
                metadata=pyramid_metadata(
                    pyramid,
                    fingerprint=record.fingerprint,
                    source_sha256=source.sha256,
                    rules_version=RULES_VERSION,
                    box=self._box(record),
                    copyrighted=record.copyrighted,
                    version=__version__,
                    file_path=record.file_path,
                ),
            )
        # Another run may have published at the same moment: AppSync is told the size of what is there.
        width, height = published.width or pyramid.width, published.height or pyramid.height
        with clock.phase("mark"):
            self.marks.mark(record, height=height, width=width)
            warnings = self._look_once_more(record, key)
        return replace(
            report,
            outcome=Outcome.MADE,
            fingerprint=record.fingerprint,
            address=source.address,
            width=width,
            height=height,
            levels=published.levels or pyramid.levels,
            tile_size=pyramid.tile_size,
            bytes_in=source.size,
            bytes_out=pyramid.bytes,
            uri=published.uri,
            profile=pyramid.profile,
            sha256=pyramid.sha256,
            source_sha256=source.sha256,
            warnings=(*pyramid.warnings, *warnings),
            thumbnail=pyramid.thumbnail,
        )

    def _look_once_more(self, record: ChangedFile, key: str) -> tuple[str, ...]:
        """Make sure that the object is still of the source that is now marked; warnings, if it cannot be.

        Another run that began with an older record may upload between our upload and our mark, find the
        record still waiting, and leave.

        Raises
        ------
        ChangedMeanwhile
            The object is of another source, or not whole.
        """
        try:
            published = self._services.images.head(key)
        except PublishError as error:
            return (f"not looked at again after it was marked: {error.reason}",)
        if is_of(published, record.fingerprint):
            return ()
        other = published.metadata.get(FILE) if published is not None else None
        if other is not None and other != record.file_path:
            return (f"another file, {other}, is published under the same name",)
        raise ChangedMeanwhile("another run has published an older picture of it")

    def _convert(self, record: ChangedFile, source: SourceFile, target: Path, clock: Clock) -> Pyramid:
        options = ConvertOptions(
            profile=self._options.profile,
            box=self._box(record),
            max_pixels=self._options.max_pixels,
            source_sha256=source.sha256,
            # The work folder ends with the run.
            durable=False,
        )
        with clock.phase("wait and convert"):
            pyramid = self._services.pool.convert(source.path, target, options)
        waited = clock.seconds.pop("wait and convert") - sum(pyramid.seconds.values())
        clock.seconds |= {"wait": round(max(0.0, waited), 4), **pyramid.seconds}
        return pyramid

    def _publish_pdf(self, record: ChangedFile, source: SourceFile) -> None:
        if identify_file(source.path) is ImageFormat.PDF:
            self._services.images.publish_pdf(
                source.path,
                object_key(record.file_path, ".pdf"),
                fingerprint=record.fingerprint,
                source_sha256=source.sha256,
            )

    def _keep(
        self, record: ChangedFile, published: Published, report: FileReport, clock: Clock
    ) -> FileReport:
        width, height = published.width, published.height
        assert width is not None
        assert height is not None
        if record.waiting or (record.width, record.height) != (width, height):
            with clock.phase("mark"):
                self.marks.mark(record, height=height, width=width)
        return replace(
            report,
            outcome=Outcome.CURRENT,
            width=width,
            height=height,
            levels=published.levels,
            tile_size=published.tile_size,
            bytes_out=published.size,
            uri=published.uri,
            profile=self._options.profile,
        )

    def _go_on(self) -> None:
        if self.stopped:
            raise FileQueueError("the run was stopped before this file was done")
        if self._refused is not None:
            raise self._refused

    def _box(self, record: ChangedFile) -> Box:
        return COPYRIGHT_BOX if record.copyrighted else ARCHIVED_BOX

    def _is_current(self, record: ChangedFile, published: Published) -> bool:
        return is_current(
            published,
            fingerprint=record.fingerprint,
            profile=self._options.profile,
            rules_version=RULES_VERSION,
            box=self._box(record),
        )
