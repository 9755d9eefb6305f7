"""Two hundred files through the whole path, beside the same files through bare libvips."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.day import PHASES
from benchmarks.inputs import MIXED, variants
from benchmarks.local_day import filled_stack, run_a_day
from benchmarks.report import keep, line, mb, table

LATENCIES = (0.0, 0.05, 0.2)
_KINDS = 20


def run(folder: Path, results: Path, *, quick: bool) -> None:
    """Measure the pipeline without and with latency, each between two runs of bare libvips."""
    files = mixed(folder, 40 if quick else 200)
    cores = len(os.sched_getaffinity(0))
    rows: list[dict[str, Any]] = []
    for latency in LATENCIES[::2] if quick else LATENCIES:
        rows += [{"what": f"bare, {how}", **bare(how, cores, files)} for how in ("libvips", "our writer")]
        rows.append({"what": f"pipeline, {1000 * latency:.0f} ms", "latency": latency, **day(files, latency)})
    rows.append({"what": "bare, libvips", **bare("libvips", cores, files)})
    ratios = _ratios(rows)
    _show(rows, ratios)
    keep("pipeline", {"files": len(files), "rows": rows, "ratios": ratios}, results)


def mixed(folder: Path, count: int) -> list[Path]:
    """Files of five kinds in turn; each kind has some files of its own bytes, used again and again."""
    each = min(_KINDS, max(1, count // len(MIXED)))
    kinds = [variants(item, each, folder / "mixed") for item in MIXED]
    return [kinds[n % len(kinds)][n // len(kinds) % each] for n in range(count)]


def bare(how: str, processes: int, files: list[Path]) -> dict[str, Any]:
    """Bare libvips on the files."""
    command = [sys.executable, "-m", "benchmarks.bare", how, str(processes), *map(str, files)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    found: dict[str, Any] = json.loads(said)
    return found


def day(files: list[Path], latency: float) -> dict[str, Any]:
    """A day of the pipeline on the files, with seconds added to every request of S3, AppSync and the web."""
    with filled_stack(files) as stack, ExitStack() as faults:
        if latency:
            for service in ("aws", "appsync", "uri", "curate", "google"):
                faults.enter_context(stack.faults.on("latency", service=service, seconds=latency))
        return run_a_day(stack)


def per_minute(row: dict[str, Any]) -> float:
    """Images a minute; of a day, from its beginning to its end."""
    return 60 * float(row["files"]) / float(row["seconds"])


def _ratios(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    # Each day is held against the bare runs just before and just after it: the machine is never quite still.
    ratios = {}
    for at, row in enumerate(rows):
        if "latency" not in row:
            continue
        around = [other for other in (rows[at - 2], rows[at + 1]) if other["what"] == "bare, libvips"]
        libvips = sum(per_minute(other) for other in around) / len(around)
        ratios[row["what"]] = {
            "of bare libvips": per_minute(row) / libvips,
            "of bare, our writer": per_minute(row) / per_minute(rows[at - 1]),
        }
    return ratios


def _show(rows: list[dict[str, Any]], ratios: dict[str, dict[str, float]]) -> None:
    def cells(row: dict[str, Any]) -> list[object]:
        phases = row.get("phases", {})
        return [
            row["what"],
            per_minute(row),
            row["seconds"],
            row["cpu"] + row.get("children_cpu", 0.0),
            *(phases.get(name, "") for name in PHASES),
            mb(row["peak"]) if "peak" in row else "",
        ]

    columns = ("what", "images/min", "s", "CPU s", *PHASES, "peak MB")
    table(
        f"Pipeline, {rows[0]['files']} files (phases: seconds summed over files)", columns, map(cells, rows)
    )
    for what, found in ratios.items():
        line(f"{what}: " + ", ".join(f"{ratio:.2f} {of}" for of, ratio in found.items()))
