"""Plain libvips in as many processes as there are cores: what the pipeline is held against.

``python -m benchmarks.bare HOW PROCESSES FILE...`` prints one line of JSON. It neither downloads, validates
nor uploads, and Dagster is not there.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

os.environ["VIPS_CONCURRENCY"] = "1"


def with_libvips(source: Path, folder: Path) -> int:
    """Decode, shrink and save by libvips, at the deflate level after which more time saves next to nothing.

    No level's files are as small as ours: it fills what of a tile sticks out with what was there before.
    """
    from benchmarks.child import TILE, _fitted

    target = folder / f"{os.getpid()}.tif"
    options = {"compression": "deflate", "level": 3, "predictor": "horizontal"}
    _fitted(source).tiffsave(
        str(target), tile=True, tile_width=TILE, tile_height=TILE, pyramid=True, **options
    )
    return target.stat().st_size


def with_our_writer(source: Path, folder: Path) -> int:
    """The same steps as a conversion of ours, the checks left out."""
    from marble_images.pyramid.convert import prepare
    from marble_images.pyramid.model import ConvertOptions
    from marble_images.pyramid.profiles import PROFILES
    from marble_images.pyramid.write import write_pyramid

    target = folder / f"{os.getpid()}.tif"
    image = prepare(source, ConvertOptions()).image
    write_pyramid(image, target, PROFILES["deflate"], description="benchmark")
    return target.stat().st_size


HOW = {"libvips": with_libvips, "our writer": with_our_writer}


def warm_up(_: int) -> None:
    """Load what the work needs."""
    import marble_images.pyramid.convert  # noqa: F401

    time.sleep(0.3)


def main(how: str, processes: int, sources: list[Path]) -> None:
    """Convert all files and tell what it took, from the moment that the processes are ready."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        list(pool.map(warm_up, range(processes * 2)))
        began = time.perf_counter()
        sizes = list(pool.map(partial(HOW[how], folder=Path(folder)), sources))
        seconds = time.perf_counter() - began
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = children.ru_utime + children.ru_stime
    print(json.dumps({"files": len(sizes), "seconds": seconds, "bytes": sum(sizes), "cpu": cpu}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
