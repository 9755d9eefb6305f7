"""Memory: many files in one pool of workers, and a whole run on archival TIFFs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.inputs import CONVERSIONS, made
from benchmarks.local_day import filled_stack, run_a_day
from benchmarks.measure import Watch, median, memory_of_tree
from benchmarks.pipeline import mixed
from benchmarks.report import keep, line, mb, table

_SOAK = "import sys; from benchmarks.memory import soak; soak(int(sys.argv[1]), sys.argv[2:])"


def run(folder: Path, results: Path, *, quick: bool) -> None:
    """Measure both; print the memory at tenths of the soak, and the peak of the run."""
    count = 200 if quick else 2000
    files = mixed(folder, 50)
    process = subprocess.Popen(
        [sys.executable, "-c", _SOAK, str(count), *map(str, files)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    done: list[tuple[int, float, int]] = []
    with Watch(process.pid, every=0.5) as watch:
        began = time.monotonic()
        done += (
            (int(said), time.monotonic() - began, memory_of_tree(process.pid)) for said in process.stdout
        )
    if process.wait():
        raise RuntimeError("the soak failed")
    tenth = max(1, len(done) // 10)
    # One look depends on what the workers are just doing: the median of a tenth's looks does not.
    tenths = [
        (done[n + tenth - 1][0], median(memory for _, _, memory in done[n : n + tenth]))
        for n in range(0, tenth * 10, tenth)
    ]
    table(f"Memory of a pool, {count} files", ("files", "MB"), [(n, mb(memory)) for n, memory in tenths])
    line(f"after the last tenth {tenths[-1][1] / tenths[0][1]:.3f} of the memory after the first")
    paths = made(tuple(item for item in CONVERSIONS if item.name in ("scan", "map")), folder / "inputs")
    with filled_stack([*paths.values()] * 4, ("S3",)) as stack:
        day = run_a_day(stack, {"CONVERSION_PROCESSES": "2"})
    line(f"a run of {day['files']} archival TIFFs at 2 workers: {mb(day['peak'])} MB at most, all processes")
    found = {"soak": {"samples": watch.samples, "done": done, "tenths": tenths}, "archival_day": day}
    keep("memory", found, results)


def soak(count: int, sources: list[str]) -> None:
    """Convert so many files in one pool; prints how many are done after each."""
    from marble_images.pyramid.pool import PyramidPool

    cores = len(os.sched_getaffinity(0))
    with (
        tempfile.TemporaryDirectory() as folder,
        PyramidPool(processes=cores, work_folder=Path(folder)) as pool,
    ):

        def convert(number: int) -> None:
            target = Path(folder) / f"{number}.tif"
            pool.convert(Path(sources[number % len(sources)]), target)
            target.unlink()

        with ThreadPoolExecutor(cores) as threads:
            for number, _ in enumerate(threads.map(convert, range(count)), start=1):
                print(number, flush=True)
