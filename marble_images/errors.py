"""Every way in which a file, the queue or the run itself can fail.

Each class says, in class attributes, what happens to the file: this is the one table that the
pipeline, the reports and ``docs/failures.md`` read. A failure's message is one line that a librarian
understands; what only an engineer needs is in ``detail``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import ClassVar

_LONGEST_REASON = 300


def one_line(text: str, limit: int = _LONGEST_REASON) -> str:
    """Fold white space and control characters into single blanks and cut at ``limit`` characters."""
    folded = re.sub(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).strip()
    return folded if len(folded) <= limit else folded[: limit - 1] + "…"


class Fate(str, Enum):
    """What becomes of a file in the queue after a failure."""

    WAITS = "waits"
    REMOVED = "removed"
    LEFT = "left"


class MarbleImagesError(Exception):
    """Base of all errors that marble_images raises on purpose.

    Parameters
    ----------
    reason
        One line for people; white space is folded.
    detail
        What an engineer needs besides: an address, a status, a library's own message. Never a secret.
    """

    code: ClassVar[str] = "error"

    def __init__(self, reason: str, *, detail: str | None = None) -> None:
        self.reason = one_line(reason)
        self.detail = detail
        super().__init__(self.reason)


class SettingsError(MarbleImagesError):
    """A setting is missing or cannot be read; the message names it."""

    code = "settings"


# --- the queue -------------------------------------------------------------------------------------


class QueueError(MarbleImagesError):
    """AppSync answered with an error, or with something that is no answer."""

    code = "queue"


class QueueRefused(QueueError):
    """AppSync refused the API key; trying again does not help."""

    code = "queue-refused"


class QueueUnavailable(QueueError):
    """AppSync could not be reached, was throttling or failing after all retries."""

    code = "queue-unavailable"


class RemovalFuseBlown(MarbleImagesError):
    """More files of one run are gone than a run may remove: a whole source seems to be down."""

    code = "removal-fuse"


class StateError(MarbleImagesError):
    """The state bucket cannot be read or written."""

    code = "state"


# --- one file --------------------------------------------------------------------------------------


class FileError(MarbleImagesError):
    """Base of the errors that end the work on one file and on no other.

    Attributes
    ----------
    transient
        Another try may succeed with nothing changed; retried within the run where the error arises.
    fate
        What becomes of the file in the queue.
    quarantine
        Counts towards quarantine: the same source would fail in the same way again.
    settings
        What else decides it: when one of these settings changes, a quarantined file gets another try.
    """

    code = "file"
    transient: ClassVar[bool] = False
    fate: ClassVar[Fate] = Fate.WAITS
    quarantine: ClassVar[bool] = False
    settings: ClassVar[tuple[str, ...]] = ()


class UnusableRecord(FileError):
    """The queue's record lacks what is needed, or its id cannot name an object or a partition."""

    code = "unusable-record"
    quarantine = True


class UnsupportedSourceType(UnusableRecord):
    """The record's ``sourceType`` is none that this pipeline reads."""

    code = "unsupported-source-type"


class RecordMissing(FileError):
    """AppSync has no record of the file: there is nothing to do, and nothing to mark."""

    code = "record-missing"


class ChangedMeanwhile(FileError):
    """The record was rewritten while its file was worked on; it stays waiting for its new source."""

    code = "changed-meanwhile"
    fate = Fate.LEFT


class FileQueueError(FileError):
    """AppSync failed in a call about this file; the file still waits."""

    code = "queue"
    transient = True


# --- its source ------------------------------------------------------------------------------------


class SourceError(FileError):
    """Base of the failures to get a file from its source."""

    code = "source"


class SourceGone(SourceError):
    """The source itself says, twice, that the file no longer exists."""

    code = "source-gone"
    fate = Fate.REMOVED


class SourceForbidden(SourceError):
    """The source refuses to give the file: credentials or permissions (401, 403)."""

    code = "source-forbidden"


class SourceUnavailable(SourceError):
    """The source could not be reached or kept failing, after all retries."""

    code = "source-unavailable"
    transient = True


class SourceTimeout(SourceUnavailable):
    """The source did not deliver the file within the deadline."""

    code = "source-timeout"


class SourceIncomplete(SourceUnavailable):
    """Fewer or more bytes arrived than the source had said."""

    code = "source-incomplete"


class SourceChecksumMismatch(SourceError):
    """The bytes are not those that the record or the source promises, even at a second try."""

    code = "source-checksum"


class SourceTooLarge(SourceError):
    """The file is larger than the size limit."""

    code = "source-too-large"
    quarantine = True
    settings = ("max_source_bytes",)


class UnsafeAddress(SourceError):
    """The address is one that a run must not open: scheme, port, credentials in it, or not public."""

    code = "unsafe-address"
    quarantine = True
    settings = ("allowed_source_hosts", "allowed_source_ports")


class NoDiskSpace(SourceError):
    """The work folder has no room for the file, or ran out of it."""

    code = "no-disk-space"
    transient = True


# --- its image -------------------------------------------------------------------------------------


class ImageError(FileError):
    """Base of the failures that lie in the image itself: the same bytes fail again."""

    code = "image"
    quarantine = True


class NotAnImage(ImageError):
    """The content is of no image format: a web page, text, an archive, nothing at all."""

    code = "not-an-image"


class UnsupportedFormat(ImageError):
    """An image format that is known by name but not read."""

    code = "unsupported-format"


class UnsafeImage(ImageError):
    """A format that can reference other files or run code (SVG, PostScript ...): never opened."""

    code = "unsafe-image"


class TruncatedImage(ImageError):
    """The image ends before its last pixel."""

    code = "truncated-image"


class CorruptImage(ImageError):
    """The image's structure or data is damaged."""

    code = "corrupt-image"


class ImageTooLarge(ImageError):
    """The image says that it has more pixels or pages than the limits allow."""

    code = "image-too-large"
    settings = ("max_pixels",)


class EncryptedPdf(ImageError):
    """The PDF needs a password."""

    code = "encrypted-pdf"


class PyramidTooLarge(ImageError):
    """The pyramid does not fit into a classic TIFF (4 GiB)."""

    code = "pyramid-too-large"
    settings = ("profile",)


class ConversionTimeout(ImageError):
    """The conversion took longer than its deadline and was stopped."""

    code = "conversion-timeout"
    settings = ("conversion_deadline",)


class ConversionOutOfMemory(ImageError):
    """The conversion needed more memory than its cap and was stopped."""

    code = "conversion-memory"
    settings = ("conversion_memory", "conversion_processes")


class DecoderCrashed(ImageError):
    """The process that decoded the image died."""

    code = "decoder-crashed"


class InvalidPyramid(ImageError):
    """The pyramid that was made is not valid, so it is not published."""

    code = "invalid-pyramid"


# --- publishing ------------------------------------------------------------------------------------


class PublishError(FileError):
    """The image bucket did not take the object, or does not hold what was sent."""

    code = "publish"
    transient = True


def with_subclasses(error: type[FileError]) -> Iterator[type[FileError]]:
    """A class of the tree, and all below it."""
    yield error
    for kind in error.__subclasses__():
        yield from with_subclasses(kind)
