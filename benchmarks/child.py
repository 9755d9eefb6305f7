"""What is timed, each in a process of its own that has loaded all it needs before the clock starts.

``python -m benchmarks.child WHAT SOURCE TARGET`` prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("VIPS_CONCURRENCY", "1")

ARCHIVED_SIDE = 4000
TILE = 512


def archived(source: Path, target: Path) -> dict[str, Any]:
    """The archived task's settings by plain pyvips calls, without any check."""
    _fitted(source).tiffsave(
        str(target), compression="deflate", tile=True, tile_width=TILE, tile_height=TILE, pyramid=True
    )
    return {}


def floor(source: Path, target: Path) -> dict[str, Any]:
    """The same decode and shrink, saved uncompressed: what no encoder can beat."""
    _fitted(source).tiffsave(
        str(target), compression="none", tile=True, tile_width=TILE, tile_height=TILE, pyramid=True
    )
    return {}


def _fitted(source: Path) -> Any:
    import pyvips

    image: Any = pyvips.Image.new_from_file(str(source), access="sequential")
    ratio = max(image.width, image.height) / ARCHIVED_SIDE
    return image.shrink(ratio, ratio) if ratio > 1 else image


def ours(profile: str) -> Callable[[Path, Path], dict[str, Any]]:
    """``make_pyramid``: every check on, the source's checksum known as in the pipeline."""

    def convert(source: Path, target: Path) -> dict[str, Any]:
        from marble_images.pyramid.convert import make_pyramid
        from marble_images.pyramid.model import ConvertOptions

        made = make_pyramid(source, target, ConvertOptions(profile=profile, source_sha256="0" * 64))
        return {"phases": dict(made.seconds), "size": [made.width, made.height]}

    return convert


def main(what: str, source: Path, target: Path) -> None:
    """Run one conversion and tell what it took."""
    import marble_images.pyramid.convert
    import marble_images.pyramid.validate  # noqa: F401

    references = {"archived": archived, "floor": floor}
    work = references.get(what) or ours(what)
    began, cpu = time.perf_counter(), time.process_time()
    found = work(source, target)
    found["seconds"] = time.perf_counter() - began
    found["cpu"] = time.process_time() - cpu
    found["bytes"] = target.stat().st_size
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
