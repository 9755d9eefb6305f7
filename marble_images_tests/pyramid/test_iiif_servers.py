"""Real IIIF servers serve our pyramids, of every profile, and what they serve is the source's picture."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from PIL import Image

from marble_images.pyramid.convert import make_pyramid
from marble_images.pyramid.model import Box, ConvertOptions, Pyramid
from marble_images.pyramid.profiles import PROFILES, available
from marble_images_tests.pyramid.iiif_servers import IIPSRV, Answer, iiif_processor, iipsrv
from marble_images_tests.pyramid.pyramids import Array, grey_noise, photograph

SIZES = {
    "large": (1500, 1101),
    "odd": (1025, 515),
    "tile": (512, 512),
    "small": (128, 77),
    "dot": (1, 1),
    "thread": (1, 1300),
}
OTHER_SIZES = ("odd", "tile", "small", "thread")
PROFILE_NAMES = [name for name in PROFILES if available(name)]


class Server(Protocol):
    def get(self, path: str) -> Answer: ...


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[Array, Pyramid]]]:
    folder = tmp_path_factory.mktemp("served")
    made = {}
    for profile in PROFILE_NAMES:
        for size, (width, height) in SIZES.items():
            made[f"{profile}-{size}"] = _make(folder, f"{profile}-{size}", photograph(width, height), profile)
        grey = np.asarray(Image.fromarray(grey_noise(70, 50)[..., 0]).resize((700, 500)))[..., None]
        made[f"{profile}-grey"] = _make(folder, f"{profile}-grey", grey, profile)
    return folder, made


def _make(folder: Path, name: str, picture: Array, profile: str) -> tuple[Array, Pyramid]:
    source = folder / f"{name}.source"
    Image.fromarray(picture if picture.shape[2] == 3 else picture[..., 0]).save(source, "PNG")
    made = make_pyramid(source, folder / f"{name}.tif", ConvertOptions(profile=profile, box=Box(4000, 4000)))
    sizes = {"width": made.width, "height": made.height, "pages": made.levels}
    (folder / f"{name}.json").write_text(json.dumps(sizes))
    return picture, made


@pytest.fixture(scope="module", params=["iiif-processor", "iiif-processor with metadata", "iipsrv"])
def server(
    request: pytest.FixtureRequest, served: tuple[Path, dict[str, tuple[Array, Pyramid]]]
) -> Iterator[tuple[str, Server]]:
    kind: str = request.param
    if kind == "iipsrv":
        if not IIPSRV:
            pytest.skip("Debian's iipimage-server is not installed")
        with iipsrv(served[0]) as running:
            yield kind, running
    else:
        if not shutil.which("npm") or not shutil.which("node"):
            pytest.skip("Node.js and npm are not installed")
        with iiif_processor(served[0], measured="metadata" in kind) as started:
            yield kind, started


def _picture(answer: Answer) -> Array:
    assert answer.status == 200, answer.content[:500]
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))


def _shrunk(picture: Array, width: int, height: int) -> Array:
    image = Image.fromarray(picture if picture.shape[2] == 3 else picture[..., 0]).convert("RGB")
    return np.asarray(image.resize((width, height), Image.Resampling.BOX))


def _same(served: Array, due: Array, tolerance: float) -> None:
    """Whether means of blocks are the same: servers shrink in their own ways and answer in JPEG."""
    size = (max(1, due.shape[1] // 16), max(1, due.shape[0] // 16))
    apart = np.abs(_shrunk(served, *size).astype(np.int16) - _shrunk(due, *size))
    assert apart.mean() < tolerance
    assert np.percentile(apart, 98) < 5 * tolerance


@pytest.mark.parametrize(
    "size", ["large", "dot", "grey", *(pytest.param(s, marks=pytest.mark.slow) for s in OTHER_SIZES)]
)
@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_info_and_every_tile_of_every_level_are_served(
    server: tuple[str, Server],
    served: tuple[Path, dict[str, tuple[Array, Pyramid]]],
    profile: str,
    size: str,
) -> None:
    running = server[1]
    name = f"{profile}-{size}"
    picture, made = served[1][name]
    height, width = picture.shape[:2]
    if profile == "zstd" and server[0] != "iipsrv":
        # The libvips that comes with sharp has no Zstandard: it must say so, and not serve something else.
        assert running.get(f"{name}/0,0,{width},{height}/{width},/0/default.jpg").status >= 400
        return
    answer = running.get(f"{name}/info.json")
    assert answer.status == 200, answer.content[:500]
    info = json.loads(answer.content)
    assert (info["width"], info["height"]) == (width, height)

    for level in range(made.levels):
        scale = 2**level
        step = made.tile_size * scale
        for top in range(0, height, step):
            for left in range(0, width, step):
                region = picture[top : top + step, left : left + step]
                rows, columns = (max(1, -(-side // scale)) for side in region.shape[:2])
                path = f"{name}/{left},{top},{region.shape[1]},{region.shape[0]}/{columns},/0/default.jpg"
                found = _picture(running.get(path))
                if scale > 1 and min(region.shape[:2]) < 2 * scale:
                    # Less than two pixels of the level: a server may take its neighbours.
                    continue
                assert abs(found.shape[0] - rows) <= 1
                due = _shrunk(region, found.shape[1], found.shape[0])
                if min(region.shape[:2]) >= 16 or profile in ("deflate", "zstd"):
                    _same(found, due, 8)
                else:
                    # In the blocks of few pixels lossy codecs keep the padding of the tile too.
                    _same(_brightness(found), _brightness(due), 20)


def _brightness(picture: Array) -> Array:
    return np.asarray(Image.fromarray(picture).convert("L"))[..., None]
