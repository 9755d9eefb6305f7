"""One picture at a time: ours with every check, beside three references, in turns."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.inputs import CONVERSIONS, made
from benchmarks.measure import geometric_mean, median
from benchmarks.report import keep, line, mb, table

PROFILES = ("deflate", "jpeg", "webp")
REFERENCES = ("archived", "command line", "floor")
_SIDE = 4000

Figures = dict[str, float]


def run(folder: Path, results: Path, *, quick: bool) -> None:
    """Measure every input; the medians and the ratios to the archived settings."""
    inputs = tuple(item for item in CONVERSIONS if item.quick or not quick)
    paths = made(inputs, folder / "inputs")
    contenders = [*REFERENCES, *(PROFILES[:2] if quick else PROFILES)]
    if shutil.which("vips") is None:
        contenders.remove("command line")
        line("no vips command: apt-get install libvips-tools brings it; left out")
    rounds = 1 if quick else 3
    seen: dict[str, dict[str, list[Figures]]] = {name: defaultdict(list) for name in paths}
    for _ in range(rounds):
        for name, path in paths.items():
            for contender in contenders:
                seen[name][contender].append(_measure(contender, path))
    medians = {
        name: {contender: _median(found) for contender, found in by_contender.items()}
        for name, by_contender in seen.items()
    }
    _show(medians, contenders)
    ratios = _ratios(medians, contenders)
    keep("conversion", {"rounds": rounds, "medians": medians, "ratios": ratios}, results)


def _measure(contender: str, source: Path) -> Figures:
    # Read once before, so that none of them pays for the disk.
    with source.open("rb") as file:
        while file.read(2**24):
            pass
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        target = Path(folder) / "pyramid.tif"
        if contender == "command line":
            return _command_line(source, target, Path(folder))
        said = subprocess.run(
            [sys.executable, "-m", "benchmarks.child", contender, str(source), str(target)],
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
    found: dict[str, Any] = json.loads(said)
    phases = found.get("phases", {})
    return {
        "seconds": found["seconds"],
        "cpu": found["cpu"],
        "bytes": found["bytes"],
        "peak": found["peak"],
        "validate": phases.get("validate", 0.0),
        "convert": phases.get("convert", 0.0),
    }


def _command_line(source: Path, target: Path, folder: Path) -> Figures:
    small = folder / "small.v"
    shrink = ["vips", "thumbnail", str(source), str(small), str(_SIDE), "--size", "down"]
    save = ["vips", "tiffsave", str(small), str(target), "--compression", "deflate", "--tile"]
    save += ["--tile-width", "512", "--tile-height", "512", "--pyramid"]
    # The file between the two commands is libvips' own, which our workers refuse as untrusted.
    environment = {name: value for name, value in os.environ.items() if name != "VIPS_BLOCK_UNTRUSTED"}
    environment["VIPS_CONCURRENCY"] = "1"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    peak = 0
    for command in (shrink, save):
        process = subprocess.Popen(command, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{command[1]} failed")
        peak = max(peak, used.ru_maxrss * 1024)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu": cpu, "bytes": target.stat().st_size, "peak": peak}


def _median(found: list[Figures]) -> Figures:
    return {name: median(figures[name] for figures in found) for name in found[0]}


def _show(medians: dict[str, dict[str, Figures]], contenders: list[str]) -> None:
    rows = [
        (
            name,
            contender,
            figures["seconds"],
            figures["cpu"],
            figures["seconds"] / by_contender["archived"]["seconds"],
            figures["cpu"] / by_contender["archived"]["cpu"],
            mb(figures["bytes"]),
            figures["bytes"] / by_contender["archived"]["bytes"],
            mb(figures["peak"]),
            figures.get("validate") or "",
        )
        for name, by_contender in medians.items()
        for contender, figures in by_contender.items()
        if contender in contenders
    ]
    columns = ("input", "what", "s", "CPU s", "s / archived", "CPU / archived", "MB", "MB / archived")
    table("Conversion (medians)", (*columns, "peak MB", "validate s"), rows)


def _ratios(medians: dict[str, dict[str, Figures]], contenders: list[str]) -> dict[str, Any]:
    ratios: dict[str, Any] = {}
    rows = []
    for contender in contenders[1:]:
        wall, cpu, size = (
            [found[contender][what] / found["archived"][what] for found in medians.values()]
            for what in ("seconds", "cpu", "bytes")
        )
        ratios[contender] = {
            "seconds": geometric_mean(wall),
            "worst_seconds": max(wall),
            "cpu": geometric_mean(cpu),
            "worst_cpu": max(cpu),
            "bytes": geometric_mean(size),
            "worst_bytes": max(size),
        }
        rows.append((contender, *ratios[contender].values()))
    columns = ("what", "seconds", "worst", "CPU seconds", "worst", "bytes", "worst")
    table("Against the archived settings (geometric means of ratios, and the worst input)", columns, rows)
    return ratios
