"""Tiny files: what Dagster, AppSync and S3 take for each, whatever its size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.inputs import TINY, variants
from benchmarks.local_day import filled_stack, run_a_day
from benchmarks.report import keep, mb, table


def run(folder: Path, results: Path, *, quick: bool) -> None:
    """Measure days of 1, 10, 100 and 1,000 tiny files."""
    found: dict[int, dict[str, Any]] = {}
    for count in (1, 10, 100) if quick else (1, 10, 100, 1000):
        files = variants(TINY, count, folder / "tiny")
        with filled_stack(files, ("S3",)) as stack:
            found[count] = run_a_day(stack)
    rows = [
        (
            count,
            day["seconds"],
            1000 * day["seconds"] / count,
            1000 * _working(day) / count,
            1000 * day["cpu"] / count,
            1000 * day["children_cpu"] / count,
            day["requests"].get("appsync", 0) / count,
            day["requests"].get("aws", 0) / count,
            mb(day["peak"]),
        )
        for count, day in found.items()
    ]
    columns = ("files", "s", "ms a file", "of it after the list", "CPU ms a file", "workers' CPU ms a file")
    table("Overhead of tiny files", (*columns, "AppSync requests a file", "AWS requests a file", "MB"), rows)
    keep(
        "overhead",
        {"days": found, "seconds_a_file": {n: d["seconds"] / n for n, d in found.items()}},
        results,
    )


def _working(day: dict[str, Any]) -> float:
    return float(day["seconds"]) - float(day["list"])
