"""What a report says of a file that failed, and of where a file comes from."""

from __future__ import annotations

import re
from dataclasses import replace

from marble_images.errors import Fate, FileError, one_line
from marble_images.models import ChangedFile, FileReport, Outcome

_HOST = re.compile(r"([\w.~%-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")


def failed(report: FileReport, error: FileError) -> FileReport:
    """The report of a file that ended with an error."""
    outcome = {Fate.WAITS: Outcome.FAILED, Fate.LEFT: Outcome.LEFT, Fate.REMOVED: Outcome.REMOVED}[error.fate]
    return replace(report, outcome=outcome, code=error.code, reason=error.reason, detail=error.detail)


def unexpected(report: FileReport, error: BaseException) -> FileReport:
    """The report of a file that met a fault of ours."""
    name = type(error).__name__
    return replace(
        report,
        outcome=Outcome.FAILED,
        code="unexpected",
        reason=f"unexpected {name}",
        detail=one_line(repr(error)),
    )


def described_source(record: ChangedFile) -> str | None:
    """Where a record says that its file is, without a query or credentials."""
    if record.source_bucket_name or record.source_file_path:
        return f"s3://{record.source_bucket_name or '?'}/{record.source_file_path or '?'}"
    return _without_secrets(record.source_uri) if record.source_uri else None


def _without_secrets(address: str) -> str:
    scheme, mark, rest = address.partition("://")
    if not mark or not _SCHEME.fullmatch(scheme.strip()):
        scheme, mark, rest = "", "", address
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if not mark or not _HOST.fullmatch(host):
        # Whatever it is, what people write before an @ may be a password.
        rest = rest.rpartition("@")[2]
    return f"{scheme}{mark}{re.split(r'[?#]', rest, maxsplit=1)[0]}"
