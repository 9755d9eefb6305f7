"""Memory of processes over time, medians, and the machine that all was measured on."""

from __future__ import annotations

import math
import os
import platform
import statistics
import threading
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

_LOOK_SECONDS = 0.1


class Watch:
    """Looks at the memory of a process and all its descendants for as long as the ``with`` block lasts.

    Memory is the sum of what each process has for itself (its proportional share of pages that several
    map), so that libraries are counted once.

    Attributes
    ----------
    peak
        Bytes, the largest sum seen.
    samples
        Seconds since the beginning, and bytes.
    """

    def __init__(self, pid: int, every: float = _LOOK_SECONDS) -> None:
        self.peak = 0
        self.samples: list[tuple[float, int]] = []
        self._pid = pid
        self._every = every
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        began = time.monotonic()
        while not self._ended.wait(self._every):
            used = memory_of_tree(self._pid)
            self.samples.append((round(time.monotonic() - began, 2), used))
            self.peak = max(self.peak, used)


def memory_of_tree(pid: int) -> int:
    """Bytes that a process and its descendants have in memory."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(_memory(member) for member in family)


def _memory(process: psutil.Process) -> int:
    try:
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        line = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        pass
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def median(values: Iterable[float]) -> float:
    """The median."""
    return statistics.median(values)


def geometric_mean(values: Iterable[float]) -> float:
    """The geometric mean of ratios."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs))


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory": psutil.virtual_memory().total,
        "processor": _processor(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "load": os.getloadavg(),
        "packages": {
            name: metadata.version(name)
            for name in ("dagster", "imagecodecs", "pyvips", "pyvips-binary", "tifffile")
        },
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
