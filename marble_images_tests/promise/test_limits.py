"""Disk and memory that run out: those files fail with that reason, and the others go on."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from PIL import Image

from marble_images.local.stack import LocalStack
from marble_images_tests.promise.conftest import Sources, picture
from marble_images_tests.promise.invariant import check_promise
from marble_images_tests.promise.runs import outcome, reasons_of, reports_of

_DISK = 12 * 2**20


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A work folder on a disk of 12 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.getuid() != 0:
        pytest.skip("only root can mount a small disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_costs_the_files_that_do_not_fit(
    stack: LocalStack,
    sources: Sources,
    instance: dg.DagsterInstance,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORK_FOLDER", str(small_disk))
    monkeypatch.setenv("FREE_SPACE_RESERVE", "0")
    large = io.BytesIO()
    # Noise: its pyramid is many times the size of the JPEG, which fits.
    Image.effect_noise((2600, 2000), 90).convert("RGB").save(large, "JPEG", quality=50)
    assert len(large.getvalue()) < _DISK / 2
    sources.s3("1-good.jpg", picture())
    sources.put("S3", "2-source-too-large.jpg", picture() + bytes(_DISK))
    sources.put("Uri", "3-source-too-large.jpg", picture() + bytes(_DISK))
    sources.s3("4-pyramid-too-large.jpg", large.getvalue())
    sources.put("Uri", "5-good.jpg")
    paths = [path["filePath"] for path in stack.appsync.records()]
    reports = reports_of(instance, paths, files_in_flight=1)
    ends = check_promise(stack, paths, reasons=reasons_of(paths, reports))
    assert ends.published == {"1-good.jpg", "5-good.jpg"}
    assert {reports[path].code for path in ends.waiting} == {"no-disk-space"}, ends.waiting
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []


@pytest.mark.slow
def test_an_image_beyond_the_memory_cap_costs_itself(
    stack: LocalStack,
    sources: Sources,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONVERSION_MEMORY", str(250 * 2**20))
    large = io.BytesIO()
    # A progressive JPEG is decoded only when all of its coefficients are in memory: six bytes a pixel.
    Image.new("RGB", (9000, 9000), (200, 30, 90)).save(large, "JPEG", progressive=True, subsampling=0)
    sources.s3("1-good.jpg", picture())
    sources.s3("2-large.jpg", large.getvalue())
    sources.s3("3-good.jpg", picture(shade=50))
    paths = ["1-good.jpg", "2-large.jpg", "3-good.jpg"]
    reports = reports_of(instance, paths)
    ends = check_promise(stack, paths, reasons=reasons_of(paths, reports))
    assert ends.published == {"1-good.jpg", "3-good.jpg"}
    assert outcome(reports["2-large.jpg"]) == "waits: `conversion-memory`"
