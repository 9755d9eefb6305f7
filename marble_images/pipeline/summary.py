"""What a run came to: counts that add up, and the table that people read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from marble_images.models import FileReport, Outcome

_ORDER = (
    Outcome.FAILED,
    Outcome.QUARANTINED,
    Outcome.LEFT,
    Outcome.REMOVED,
    Outcome.MADE,
    Outcome.CURRENT,
)
_NAMED_IN_A_FAILURE = 10


@dataclass
class RunSummary:
    """The reports of one run's files."""

    listed: int
    reports: list[FileReport] = field(default_factory=list)

    @property
    def counts(self) -> dict[Outcome, int]:
        """Files by outcome; every outcome is there."""
        counted = Counter(report.outcome for report in self.reports)
        return {outcome: counted[outcome] for outcome in Outcome}

    @property
    def failures(self) -> list[FileReport]:
        """The files that failed, in the order of their ids."""
        return sorted(
            (report for report in self.reports if report.outcome is Outcome.FAILED),
            key=lambda report: report.file_path,
        )

    @property
    def fuse_blown(self) -> bool:
        """Whether so many files seemed gone that none was removed."""
        return any(report.code == "removal-fuse" for report in self.reports)

    def check(self) -> None:
        """Assert that every file listed has come to exactly one end."""
        ended = [report.file_path for report in self.reports]
        assert len(ended) == len(set(ended)), "a file has two outcomes"
        assert self.listed == len(ended), f"{self.listed} files listed, {len(ended)} accounted for"

    def reconciliation(self) -> str:
        """One line: files listed = the sum of the outcomes."""
        parts = " + ".join(f"{count} {outcome.value}" for outcome, count in self.counts.items())
        return f"{self.listed} listed = {parts}"

    def by_reason(self) -> dict[str, int]:
        """Files that were not made, by the code of their reason."""
        return dict(Counter(report.code for report in self.reports if report.code).most_common())

    def in_order(self) -> list[FileReport]:
        """The reports, failed ones first."""
        return sorted(self.reports, key=lambda report: (_ORDER.index(report.outcome), report.file_path))

    def failure_message(self) -> str:
        """Names the first ten files that failed, with their reasons; a reason that all share, once."""
        failures = self.failures
        named = failures[:_NAMED_IN_A_FAILURE]
        more = len(failures) - len(named)
        head = f"{self._fuse_text()}{len(failures)} of {self.listed} files failed"
        shared = {failure.reason for failure in failures}
        if len(failures) > 1 and len(shared) == 1:
            paths = ", ".join(failure.file_path for failure in named)
            return f"{head}: {shared.pop()} ({paths}{f' and {more} more' if more else ''})"
        text = "; ".join(f"{failure.file_path}: {failure.reason}" for failure in named)
        return f"{head}: {text}{f'; and {more} more' if more else ''}"

    def _fuse_text(self) -> str:
        return "A whole source seems to be down, so nothing was removed. " if self.fuse_blown else ""

    def as_json(self) -> dict[str, Any]:
        """The summary as it is kept in the state."""
        return {
            "listed": self.listed,
            "counts": {outcome.value: count for outcome, count in self.counts.items()},
            "by_reason": self.by_reason(),
            "bytes_in": sum(report.bytes_in for report in self.reports),
            "bytes_out": sum(report.bytes_out for report in self.reports),
            "files": [report_json(report) for report in self.in_order()],
        }


def report_json(report: FileReport) -> dict[str, Any]:
    """A report without its picture, and without what is empty."""
    values = asdict(report) | {"outcome": report.outcome.value}
    values.pop("thumbnail")
    return {name: value for name, value in values.items() if value not in (None, 0, (), {})}


def report_from_json(values: dict[str, Any]) -> FileReport:
    """The inverse of :func:`report_json`."""
    return FileReport(
        **{
            **values,
            "outcome": Outcome(values["outcome"]),
            "warnings": tuple(values.get("warnings", ())),
        }
    )


def markdown_table(reports: Iterable[FileReport], limit: int = 200) -> str:
    """Reports as a table for Dagster's UI."""
    rows: Sequence[FileReport] = list(reports)
    lines = ["| file | outcome | size | levels | kB | reason |", "| --- | --- | --- | --- | --- | --- |"]
    for report in rows[:limit]:
        size = f"{report.width} x {report.height}" if report.width else ""
        size_kb = f"{report.bytes_out / 1000:.0f}" if report.bytes_out else ""
        cells = (
            report.file_path,
            report.outcome.value,
            size,
            report.levels or "",
            size_kb,
            report.reason or "",
        )
        lines.append("| " + " | ".join(_cell(str(cell)) for cell in cells) + " |")
    if len(rows) > limit:
        lines.append(f"| and {len(rows) - limit} more | | | | | |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return " ".join(escaped.split())
