"""Conversion processes as a resource: of one run, or kept for the runs of a process."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil
import pytest
from PIL import Image

from marble_images.pyramid.pool import PyramidPool
from marble_images.resources import ConversionResource
from marble_images.resources.conversion import pools_kept


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.png"
    Image.new("RGB", (300, 200), (200, 30, 30)).save(path)
    return path


@pytest.fixture
def work(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    return path


def children() -> set[int]:
    """This process's workers; other tests' servers may be there, too."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "marble_images.pyramid.worker" in " ".join(child.cmdline()):
                found.add(child.pid)
    return found


def workers(pool: PyramidPool, source: Path) -> set[int]:
    """The processes that are there after a conversion."""
    target = source.with_suffix(".tif")
    assert pool.convert(source, target).width == 300
    target.unlink()
    return children()


def test_the_processes_of_a_run_end_with_it(source: Path, work: Path) -> None:
    with ConversionResource(processes=1).pool(work) as pool:
        assert workers(pool, source)
    assert not children()
    assert not list(work.iterdir())


def test_runs_of_one_process_share_the_processes_that_are_kept(source: Path, work: Path) -> None:
    with pools_kept(work):
        seen = []
        for _ in range(2):
            with ConversionResource(processes=1).pool(work / "unused") as pool:
                seen.append(workers(pool, source))
        assert seen[0] == seen[1] != set()
        with ConversionResource(processes=1, deadline=9).pool(work / "unused") as pool:
            assert workers(pool, source) > seen[0], "other limits, other processes"
    assert not children()
    assert not list(work.iterdir())


def break_off(work: Path, source: Path, seen: set[int]) -> None:
    """A run that is interrupted after its first conversion."""
    with ConversionResource(processes=1).pool(work) as pool:
        seen |= workers(pool, source)
        raise KeyboardInterrupt


def test_a_run_that_breaks_off_leaves_no_process_to_the_next(source: Path, work: Path) -> None:
    with pools_kept(work):
        broken: set[int] = set()
        with pytest.raises(KeyboardInterrupt):
            break_off(work, source, broken)
        assert broken
        assert not children()
        with ConversionResource(processes=1).pool(work) as pool:
            assert workers(pool, source).isdisjoint(broken)
    assert not list(work.iterdir())
