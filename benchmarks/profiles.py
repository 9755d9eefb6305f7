"""The profiles side by side: bytes, time to make, and what a tile costs two IIIF servers."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.inputs import CONVERSIONS, made
from benchmarks.measure import geometric_mean, median
from benchmarks.report import keep, line, mb, table
from marble_images.pyramid.profiles import PROFILES, available
from marble_images_tests.pyramid.iiif_servers import (
    IIPSRV,
    IiifProcessor,
    Iipsrv,
    iiif_processor,
    iipsrv,
)

_PICTURES = ("scan", "noisy-map", "photo-24")
_TILE = 512
_TILES = 30


def run(folder: Path, results: Path, *, quick: bool) -> None:
    """Make each picture with each profile, and ask both servers for tiles, the profiles in turns."""
    paths = made(tuple(item for item in CONVERSIONS if item.name in _PICTURES), folder / "inputs")
    kinds = ["archived", *(name for name in PROFILES if available(name))]
    pyramids = folder / "pyramids"
    pyramids.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in paths}
    for name, path in paths.items():
        for kind in kinds:
            target = pyramids / f"{name}-{kind}.tif"
            command = [sys.executable, "-m", "benchmarks.child", kind, str(path), str(target)]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
            found[name][kind] = json.loads(said)
            _tell_sizes(target)
    _serve(pyramids, found, 1 if quick else 3)
    _show(found, kinds)
    keep("profiles", {"pictures": found}, results)


def _tell_sizes(target: Path) -> None:
    import tifffile

    with tifffile.TiffFile(target) as file:
        page = file.pages.first
        sizes = {"width": page.imagewidth, "height": page.imagelength, "pages": len(file.pages)}
    target.with_suffix(".json").write_text(json.dumps(sizes))


def _serve(pyramids: Path, found: dict[str, dict[str, dict[str, Any]]], rounds: int) -> None:
    with iiif_processor(pyramids, measured=True) as server:
        _ask("tile", server, pyramids, found, rounds)
    if IIPSRV:
        with iipsrv(pyramids) as other:
            _ask("iipsrv tile", other, pyramids, found, rounds)


def _ask(
    what: str,
    server: IiifProcessor | Iipsrv,
    pyramids: Path,
    found: dict[str, dict[str, dict[str, Any]]],
    rounds: int,
) -> None:
    choose = random.Random(1)
    for name, kinds in found.items():
        sizes = {kind: json.loads((pyramids / f"{name}-{kind}.json").read_text()) for kind in kinds}
        # The archived shrink rounds otherwise: regions that every one of them has.
        width = min(size["width"] for size in sizes.values())
        height = min(size["height"] for size in sizes.values())
        times: dict[str, list[float]] = {}
        for _ in range(_TILES * rounds):
            side = _TILE * choose.choice((1, 1, 2, 4))
            left = choose.randrange(max(1, width - side)) // side * side
            top = choose.randrange(max(1, height - side)) // side * side
            for kind in kinds:
                began = time.perf_counter()
                answer = server.get(f"{name}-{kind}/{left},{top},{side},{side}/{_TILE},/0/default.jpg")
                seconds = time.perf_counter() - began
                if answer.status == 200:
                    times.setdefault(kind, []).append(seconds)
        for kind, figures in kinds.items():
            figures[what] = median(times[kind]) if kind in times else None


def _show(found: dict[str, dict[str, dict[str, Any]]], kinds: list[str]) -> None:
    rows = [
        (
            name,
            kind,
            mb(figures["bytes"]),
            figures["seconds"],
            figures["cpu"],
            *(1000 * figures[w] if figures.get(w) else "not served" for w in ("tile", "iipsrv tile")),
        )
        for name, by_kind in found.items()
        for kind, figures in by_kind.items()
    ]
    table("Profiles", ("picture", "profile", "MB", "s", "CPU s", "ms a tile", "iipsrv"), rows)
    for kind in kinds:
        ratios = {
            what: [by[kind][what] / by["archived"][what] for by in found.values() if by[kind].get(what)]
            for what in ("bytes", "cpu", "tile", "iipsrv tile")
        }
        said = ", ".join(f"{what} {geometric_mean(r):.2f}" for what, r in ratios.items() if r)
        line(f"{kind} against archived: {said}")
