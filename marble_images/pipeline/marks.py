"""What the pipeline changes in the queue, and only while a record is still the one it began with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from marble_images.errors import ChangedMeanwhile, FileQueueError, QueueError, QueueRefused
from marble_images.models import ChangedFile

if TYPE_CHECKING:
    from marble_images.appsync import AppSyncQueue


class _GoneAlready(Exception):
    """There is no record any more: an earlier try has removed it."""


class QueueMarks:
    """Marks files processed and takes them off the queue; safe to use from many threads.

    AppSync does both whatever the record then says, so it is read again just before, and again before
    each further try: the answer to the first may be lost long before a second one is sent.

    Parameters
    ----------
    go_on
        Raises when the run is to end.
    """

    def __init__(self, queue: AppSyncQueue, go_on: Callable[[], None]) -> None:
        self._queue = queue
        self._go_on = go_on

    def mark(self, record: ChangedFile, *, height: int, width: int) -> None:
        """Mark a file processed, unless its record was rewritten since ``record`` was read.

        Raises
        ------
        ChangedMeanwhile
            The record differs from the one that the work began with. It still waits; or, if it was
            rewritten in the moment before the mark, it does no longer, and must be made from what it
            says now.
        FileQueueError
            AppSync failed; the file stays waiting.
        QueueRefused
            The API key is refused.
        """
        self.check_unchanged(record)
        try:
            with _about_the_file():
                marked = self._queue.mark_processed(
                    record.file_path,
                    height=height,
                    width=width,
                    before_retry=lambda: self.check_unchanged(record),
                )
        except FileQueueError as error:
            # The mark may have been made, and only its answers were lost.
            marked = self._read(record) or record
            if not _is_marked(marked, record, height=height, width=width):
                raise error from None
        if marked.revision != record.revision:
            self.check_unchanged(record)

    def remove(self, record: ChangedFile) -> None:
        """Take a file off the queue, unless its record was rewritten since ``record`` was read.

        Raises
        ------
        ChangedMeanwhile, FileQueueError, QueueRefused
            As in :meth:`mark`.
        """

        def look() -> None:
            if self._read(record) is None:
                raise _GoneAlready
            self.check_unchanged(record)

        self.check_unchanged(record)
        try:
            with _about_the_file():
                self._queue.remove(record.file_path, before_retry=look)
        except _GoneAlready:
            return

    def check_unchanged(self, record: ChangedFile) -> None:
        """Read a record again and compare it with ``record``.

        Raises
        ------
        ChangedMeanwhile, FileQueueError, QueueRefused
            As in :meth:`mark`.
        """
        self._go_on()
        now = self._read(record)
        if now is None:
            raise ChangedMeanwhile("its record was deleted while it was worked on")
        if now.revision != record.revision or now.file_path != record.file_path:
            raise ChangedMeanwhile("it changed again while it was worked on, and waits for the next run")

    def _read(self, record: ChangedFile) -> ChangedFile | None:
        with _about_the_file():
            return self._queue.get_record(record.file_path)


def _is_marked(now: ChangedFile, record: ChangedFile, *, height: int, width: int) -> bool:
    processed = not now.waiting and now.date_last_processed != record.date_last_processed
    return processed and (now.height, now.width) == (height, width)


@contextmanager
def _about_the_file() -> Iterator[None]:
    try:
        yield
    except QueueRefused:
        raise
    except QueueError as error:
        raise FileQueueError(error.reason, detail=error.detail) from None
