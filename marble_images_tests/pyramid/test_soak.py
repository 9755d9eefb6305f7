"""Thousands of conversions leave a worker's memory flat; large sources fit their bounds."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile
from PIL import Image

from marble_images.errors import ImageError
from marble_images.pyramid.model import Box, ConvertOptions
from marble_images.pyramid.pool import PyramidPool
from marble_images_tests.pyramid.cases import CASES
from marble_images_tests.pyramid.pyramids import photograph

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

MIB = 2**20
LARGE = (10_240, 5_760)


def worker_of(pool: PyramidPool) -> psutil.Process:
    folder = str(pool._folder.path)
    (worker,) = [p for p in psutil.Process().children() if p.cwd().startswith(folder)]
    return worker


def test_two_thousand_conversions_leave_memory_flat(tmp_path: Path) -> None:
    sources = []
    for i, (name, case) in enumerate(sorted(CASES.items())):
        path = tmp_path / f"{i}{case.suffix}"
        case.write(path)
        sources.append((name, path))
    for i, size in enumerate([(1200, 900), (700, 1500), (2000, 300), (90, 2500)]):
        path = tmp_path / f"photograph {i}.jpg"
        Image.fromarray(photograph(*size)).save(path, quality=90)
        sources.append((path.name, path))
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(path.read_bytes()[:5000])
    sources.append(("cut", cut))

    used = []
    refused = {}
    with PyramidPool(processes=1, files_per_process=10_000, work_folder=tmp_path / "work") as pool:
        for i in range(2000):
            options = ConvertOptions(profile=("deflate", "jpeg")[i % 2], box=Box(1000, 1000))
            try:
                pool.convert(sources[i % len(sources)][1], tmp_path / "out.tif", options)
            except ImageError as problem:
                refused[sources[i % len(sources)][0]] = problem.reason
            used.append(worker_of(pool).memory_info().rss / MIB)
    assert refused == {"cut": "the JPEG file is truncated"}
    # The first rounds fill the libraries' own pools; from then on nothing may add up.
    second, last = statistics.median(used[500:1000]), statistics.median(used[1500:])
    assert last < second + 10, f"{second:.0f} MiB became {last:.0f} MiB"
    assert max(used[1500:]) < max(used[:1000]) * 1.1


def _write_large_tiff(path: Path) -> None:
    width, height = LARGE
    strip = photograph(width, 256)
    pixels = np.tile(strip, (-(-height // 256), 1, 1))[:height]
    tifffile.imwrite(path, pixels, photometric="rgb", rowsperstrip=64)


def _write_progressive_jpeg(path: Path) -> None:
    width, height = LARGE
    pixels = np.tile(photograph(width, 256), (-(-height // 256), 1, 1))[:height]
    Image.fromarray(pixels).save(path, "JPEG", quality=90, progressive=True)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(
    ("write", "limit"), [(_write_large_tiff, 300), (_write_progressive_jpeg, 800)], ids=["tiff", "jpeg"]
)
@pytest.mark.parametrize("profile", ["deflate", "jpeg"])
def test_a_worker_stays_within_its_memory(tmp_path: Path, write, limit: int, profile: str) -> None:
    source = tmp_path / "large"
    write(source)
    with PyramidPool(processes=1, work_folder=tmp_path / "work") as pool:
        made = pool.convert(source, tmp_path / "out.tif", ConvertOptions(profile=profile))
        status = Path(f"/proc/{worker_of(pool).pid}/status").read_text()
    assert (made.width, made.height) == (4000, 2250)
    peak = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak < limit, f"{peak:.0f} MiB"
