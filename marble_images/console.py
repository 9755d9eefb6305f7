"""What the command shows: a live display on a terminal, plain lines in a log, and the table at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TextIO, cast

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from marble_images.models import ChangedFile, FileReport, Outcome

_STYLES = {
    Outcome.MADE: "green",
    Outcome.CURRENT: "green",
    Outcome.REMOVED: "yellow",
    Outcome.LEFT: "yellow",
    Outcome.QUARANTINED: "magenta",
    Outcome.FAILED: "red",
}


_LOG_WIDTH = 180


class _Patient:
    """A stream that takes everything, also once nobody reads it: the pipe is closed, or the disk full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or forget it."""
        with self._or_nowhere():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or forget what is left."""
        with self._or_nowhere():
            self._stream.flush()

    @contextmanager
    def _or_nowhere(self) -> Iterator[None]:
        try:
            yield
        except ValueError:
            # It is closed.
            return
        except OSError:
            # What is still buffered would fail once more as the process ends, and change its exit status.
            with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())


def standard_output() -> Console:
    """Standard output; in a log, where no terminal says how wide it is, wide enough for the table.

    Nobody has to read it to the end: a day goes on when its output is closed.
    """
    file = cast("TextIO", _Patient(sys.stdout)) if sys.stdout is not None else None
    console = Console(file=file)
    return console if console.is_terminal else Console(file=file, width=_LOG_WIDTH)


class Display(Protocol):
    """Told of a day's progress."""

    def listed(self, files: Sequence[ChangedFile]) -> None:
        """The day's list is made."""

    def done(self, report: FileReport) -> None:
        """One file is done."""


class LogDisplay:
    """A line a file, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._listed = self._done = 0

    def listed(self, files: Sequence[ChangedFile]) -> None:
        self._listed = len(files)
        self._console.print(f"{len(files)} files listed", highlight=False)

    def done(self, report: FileReport) -> None:
        self._done += 1
        self._console.print(
            f"{self._done}/{self._listed} {describe(report)}", markup=False, highlight=False, soft_wrap=True
        )


class LiveDisplay:
    """A bar that moves, and the last lines above it, for terminals."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("asking AppSync which files changed", total=None)

    def listed(self, files: Sequence[ChangedFile]) -> None:
        self._progress.update(self._task, total=len(files), description="making pyramids")

    def done(self, report: FileReport) -> None:
        style = _STYLES[report.outcome]
        self._progress.console.print(f"[{style}]{escape(describe(report))}[/]", highlight=False)
        self._progress.advance(self._task)


@contextmanager
def display(console: Console) -> Iterator[Display]:
    """The display that fits where ``console`` writes."""
    if not console.is_terminal:
        yield LogDisplay(console)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield LiveDisplay(progress)


def describe(report: FileReport) -> str:
    """One line about one file."""
    head = f"{report.outcome.value:<9} {' '.join(report.file_path.split())}"
    if report.reason:
        return f"{head}: {report.reason}"
    seconds = sum(report.seconds.values())
    return f"{head} {report.width} x {report.height}, {report.levels} levels, {seconds:.1f} s"


def result_table(reports: Sequence[FileReport]) -> Table:
    """All files of a day: what became of each."""
    table = Table(title=None, show_lines=False, expand=False)
    for name, options in _COLUMNS:
        table.add_column(name, **options)  # type: ignore[arg-type]
    for report in reports:
        table.add_row(*(escape(cell) for cell in _cells(report)), style=_STYLES[report.outcome])
    return table


_COLUMNS: tuple[tuple[str, dict[str, object]], ...] = (
    ("file", {"overflow": "fold", "min_width": 24}),
    ("source", {"no_wrap": True}),
    ("outcome", {"no_wrap": True}),
    ("width x height", {"no_wrap": True, "justify": "right"}),
    ("levels", {"justify": "right"}),
    ("bytes", {"no_wrap": True, "justify": "right"}),
    ("seconds", {"justify": "right"}),
    ("reason", {"overflow": "fold", "min_width": 20}),
)


def _cells(report: FileReport) -> list[str]:
    seconds = sum(report.seconds.values())
    return [
        " ".join(report.file_path.split()),
        report.source_type or "",
        report.outcome.value,
        f"{report.width} x {report.height}" if report.width else "",
        str(report.levels or ""),
        f"{report.bytes_out:,}" if report.bytes_out else "",
        f"{seconds:.1f}" if seconds else "",
        report.reason or "",
    ]


def totals(reports: Sequence[FileReport], reconciliation: str) -> str:
    """The sums under the table."""
    megabytes_in = sum(report.bytes_in for report in reports) / 1e6
    megabytes_out = sum(report.bytes_out for report in reports) / 1e6
    return f"{reconciliation}; {megabytes_in:.1f} MB in, {megabytes_out:.1f} MB out"
