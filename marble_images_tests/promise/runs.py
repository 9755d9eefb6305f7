"""Runs of the real job whose reports a test gets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dagster as dg

from marble_images.models import FileReport, Outcome
from marble_images.partitions import IMAGE_FILES
from marble_images.pipeline.progress import listening
from marble_images_tests.assets.pipeline_run import make_pyramids

DAILY = {"remake": False, "retry_quarantined": False}


def reports_of(instance: dg.DagsterInstance, paths: Iterable[str], **config: Any) -> dict[str, FileReport]:
    """The reports of one run, by file; none for files that the run did not come to."""
    # A range covers all between its ends: the keys of earlier runs must not lie among these.
    for key in instance.get_dynamic_partitions(IMAGE_FILES):
        instance.delete_dynamic_partition(IMAGE_FILES, key)
    reports: dict[str, FileReport] = {}
    with listening(lambda report: reports.update({report.file_path: report})):
        make_pyramids(instance, sorted(paths), **config)
    return reports


def reasons_of(paths: Iterable[str], reports: dict[str, FileReport]) -> dict[str, str | None]:
    """Why files wait, as a run tells it; a run that ended before its files names the reason for all."""
    return {path: reports[path].reason if path in reports else "the run ended" for path in paths}


def outcome(report: FileReport | None) -> str:
    """What became of a file, in the words of the table."""
    if report is None:
        return "waits: the run fails"
    if report.outcome in (Outcome.MADE, Outcome.CURRENT):
        return "published"
    return "removed" if report.outcome is Outcome.REMOVED else f"waits: `{report.code}`"
