"""Room on disk: asked for beforehand, shared between files, and run out of."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from marble_images.errors import NoDiskSpace, SourceTooLarge
from marble_images.sources.disk import DiskBudget, FileSink
from marble_images_tests.sources.conftest import (
    make_fetcher,
    nothing_left,
    png,
    s3_at,
    s3_file,
    settings,
    web_file,
)
from marble_images_tests.sources.servers import ScriptedServer, chunked, good, packed, raw

PICTURE = png(64, 64)
MIB = 2**20


def free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let the tests mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_file_that_does_not_fit_is_refused_before_its_body(web: ScriptedServer, tmp_path: Path) -> None:
    web.script = [raw(f"HTTP/1.1 200 OK\r\nContent-Length: {free(tmp_path) + MIB}\r\n\r\n".encode())]
    with pytest.raises(NoDiskSpace, match="no room"):
        make_fetcher(settings(max_bytes=2**60)).fetch(web_file(web.url()), tmp_path / "work")
    assert len(web.asked) == 1
    assert nothing_left(tmp_path / "work")


@pytest.mark.parametrize("step", [good(PICTURE), chunked(PICTURE)])
def test_the_reserve_stays_free(step: object, web: ScriptedServer, tmp_path: Path) -> None:
    web.script = [step]  # type: ignore[list-item]
    with pytest.raises(NoDiskSpace):
        make_fetcher(settings(free_space_reserve=free(tmp_path) * 2)).fetch(web_file(web.url()), tmp_path)
    assert nothing_left(tmp_path)


def test_files_that_are_being_fetched_share_what_is_free(tmp_path: Path) -> None:
    budget = DiskBudget(reserve=0)
    most = free(tmp_path) * 3 // 4
    first, second = (FileSink(tmp_path, budget, 2**60) for _ in range(2))
    first.expect(most)
    with pytest.raises(NoDiskSpace):
        second.expect(most)
    first.discard()
    second.expect(most)
    second.discard()
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("step", [chunked(png(1600, 1600)), packed(png(1600, 1600)), good(png(1600, 1600))])
def test_a_full_disk_fails_the_file_with_that_reason(
    step: object, web: ScriptedServer, small_disk: Path
) -> None:
    web.script = [step]  # type: ignore[list-item]
    with pytest.raises(NoDiskSpace):
        make_fetcher().fetch(web_file(web.url()), small_disk)
    assert nothing_left(small_disk)


def test_a_full_disk_fails_objects_of_s3_and_small_files_go_on(moto: str, small_disk: Path) -> None:
    client = s3_at(moto)
    client.put_object(Bucket="sources", Key="large.png", Body=png(1600, 1600))
    client.put_object(Bucket="sources", Key="small.png", Body=PICTURE)
    fetcher = make_fetcher(s3_client=lambda: client)
    with pytest.raises(NoDiskSpace, match="room"):
        fetcher.fetch(s3_file("large.png"), small_disk)
    assert fetcher.fetch(s3_file("small.png"), small_disk).path.read_bytes() == PICTURE


def test_a_disk_that_fills_up_while_a_file_is_written_is_a_reason_of_its_own(
    web: ScriptedServer, tmp_path: Path
) -> None:
    # A limit of the process stands for a quota: the kernel refuses the write in the same way.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    web.script = [good(png(400, 400))]
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(NoDiskSpace, match="disk of the work folder is full"):
            make_fetcher().fetch(web_file(web.url()), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert nothing_left(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named_as_the_reason(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(NoDiskSpace, match="cannot be written"):
        FileSink(tmp_path / "work", DiskBudget(0), MIB)


def test_a_folder_that_is_a_file_is_named_as_the_reason(tmp_path: Path) -> None:
    (tmp_path / "work").write_bytes(b"")
    with pytest.raises(NoDiskSpace, match="cannot be written"):
        FileSink(tmp_path / "work", DiskBudget(0), MIB)


def test_a_sink_that_starts_again_forgets_everything(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, DiskBudget(0), MIB)
    sink.write(b"wrong")
    sink.restart()
    sink.write(b"right")
    sink.close()
    assert sink.path.read_bytes() == b"right"
    assert sink.size == 5
    assert sink.md5() == "7c4f29407893c334a6cb7a87bf045c0d"


def test_a_sink_refuses_the_byte_beyond_its_limit(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, DiskBudget(0), 10)
    sink.write(bytes(10))
    with pytest.raises(SourceTooLarge):
        sink.write(b"!")
    sink.discard()
