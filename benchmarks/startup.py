"""What starting costs: the command's help, and the definitions that every run loads."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.measure import median
from benchmarks.report import keep, table

_STARTS = {
    "marble-images --help": [str(Path(sys.executable).with_name("marble-images")), "--help"],
    "load the definitions": [sys.executable, "-c", "import marble_images.definitions"],
    "import dagster alone": [sys.executable, "-c", "import dagster"],
    "a conversion worker": [
        sys.executable,
        "-c",
        "import marble_images.pyramid.convert, marble_images.pyramid.validate",
    ],
}
_TIMES = 5


def run(_folder: Path, results: Path, *, quick: bool) -> None:  # noqa: ARG001
    """Medians of five, in turns."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in _STARTS}
    for _ in range(_TIMES):
        for name, command in _STARTS.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))
            seconds = time.perf_counter() - began
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            seen[name].append((seconds, used))
    medians = {
        name: {"seconds": median(s for s, _ in found), "cpu": median(c for _, c in found)}
        for name, found in seen.items()
    }
    rows = [(name, found["seconds"], found["cpu"]) for name, found in medians.items()]
    table(f"Start-up (medians of {_TIMES})", ("what", "s", "CPU s"), rows)
    keep("startup", {"medians": medians}, results)
