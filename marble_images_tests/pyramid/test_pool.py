"""Whatever a worker does, it costs one file: deadline, memory, crash, kill, and the death of the parent."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import tifffile
from PIL import Image

from marble_images.errors import (
    ConversionOutOfMemory,
    ConversionTimeout,
    DecoderCrashed,
    MarbleImagesError,
    NotAnImage,
    SettingsError,
    TruncatedImage,
)
from marble_images.pyramid import worker_process
from marble_images.pyramid.model import Box, ConvertOptions, Pyramid
from marble_images.pyramid.pool import PoolStopped, PyramidPool, WorkerNotStarted
from marble_images.pyramid.validate import validate_pyramid
from marble_images_tests.pyramid.images import rgb
from marble_images_tests.pyramid.pyramids import noise, photograph

OPTIONS = ConvertOptions()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PyramidPool]:
    with PyramidPool(processes=2, work_folder=tmp_path_factory.mktemp("work")) as pool:
        yield pool


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.tif"
    tifffile.imwrite(path, rgb(), photometric="rgb")
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A picture that takes seconds to convert."""
    path = tmp_path / "large.tif"
    tifffile.imwrite(path, noise(4000, 4000), photometric="rgb")
    return path


def workers_of(pool: PyramidPool) -> list[psutil.Process]:
    """Processes of this pool: they work in its folder."""
    folder = str(pool._folder.path)
    return [p for p in psutil.Process().children() if p.status() != "zombie" and p.cwd().startswith(folder)]


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


@contextmanager
def running(pool: PyramidPool, source: Path, target: Path) -> Iterator[Future[Pyramid]]:
    """A conversion in the background whose worker has started to write."""
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(pool.convert, source, target, OPTIONS)
        wait_for(lambda: future.done() or any(pool._folder.path.rglob("*.part")))
        assert not future.done()
        yield future


def files_in(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file()] if folder.exists() else []


def test_a_picture_becomes_a_valid_pyramid(shared: PyramidPool, picture: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.tif"
    made = shared.convert(picture, target, ConvertOptions(profile="jpeg", box=Box(50, 50)))
    assert (made.width, made.height, made.profile) == (50, 33, "jpeg")
    assert made.bytes == target.stat().st_size
    assert made.thumbnail.startswith(b"\xff\xd8")
    assert not validate_pyramid(target, box=Box(50, 50), profile="jpeg")


def test_errors_come_across_with_class_reason_and_detail(shared: PyramidPool, tmp_path: Path) -> None:
    target = tmp_path / "out.tif"
    page = tmp_path / "scan.jpg"
    page.write_text("<html><body>no</body></html>")
    with pytest.raises(NotAnImage, match="HTML"):
        shared.convert(page, target, OPTIONS)
    cut = tmp_path / "cut.png"
    Image.fromarray(photograph(300, 300)).save(cut)
    cut.write_bytes(cut.read_bytes()[:-1000])
    with pytest.raises(TruncatedImage) as raised:
        shared.convert(cut, target, OPTIONS)
    assert "\n" not in raised.value.reason
    assert raised.value.fate == TruncatedImage.fate
    with pytest.raises(SettingsError, match="no pyramid profile"):
        shared.convert(cut, target, ConvertOptions(profile="none such"))
    assert not target.exists()


def test_a_missing_source_is_an_error_of_that_file(shared: PyramidPool, tmp_path: Path) -> None:
    with pytest.raises(MarbleImagesError):
        shared.convert(tmp_path / "none.tif", tmp_path / "out.tif", OPTIONS)


def test_many_threads_share_few_workers(shared: PyramidPool, picture: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda i: shared.convert(picture, tmp_path / f"{i}.tif", OPTIONS), range(24)))
    assert len({(tmp_path / f"{i}.tif").read_bytes() for i in range(24)}) == 1
    assert len(workers_of(shared)) <= 2


def test_a_deadline_stops_the_file_and_names_itself(large: Path, tmp_path: Path, work: Path) -> None:
    target = tmp_path / "out.tif"
    target.write_bytes(b"what was there")
    with PyramidPool(processes=1, deadline=0.5, work_folder=work) as pool:
        with pytest.raises(ConversionTimeout, match=r"^took longer than 0.5 s$"):
            pool.convert(large, target, OPTIONS)
        assert workers_of(pool) == []
        assert not [p for p in files_in(work) if p.suffix != ".log"]
    assert target.read_bytes() == b"what was there"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["large.tif", "out.tif", "work"]


def test_starting_a_worker_does_not_count_towards_the_deadline(
    picture: Path, tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "_COMMAND", f"import time; time.sleep(6); {worker_process._COMMAND}")
    with PyramidPool(processes=1, deadline=5, work_folder=work) as pool:
        assert pool.convert(picture, tmp_path / "out.tif", OPTIONS).width == 96


def test_a_memory_limit_stops_the_file_and_names_itself(large: Path, tmp_path: Path, work: Path) -> None:
    limit = 96 * 2**20
    named = pytest.raises(ConversionOutOfMemory, match=r"^needed more than 0.0938 GB$")
    with PyramidPool(processes=1, memory_limit=limit, work_folder=work) as pool, named:
        pool.convert(large, tmp_path / "out.tif", OPTIONS)
    assert not (tmp_path / "out.tif").exists()
    assert not files_in(work)


def test_a_worker_that_hangs_is_stopped_and_the_next_file_is_converted(
    large: Path, picture: Path, tmp_path: Path, work: Path
) -> None:
    with PyramidPool(processes=1, deadline=5, work_folder=work) as pool:
        with running(pool, large, tmp_path / "out.tif") as future:
            workers_of(pool)[0].suspend()
            with pytest.raises(ConversionTimeout):
                future.result()
        assert pool.convert(picture, tmp_path / "small.tif", OPTIONS).width == 96


@pytest.mark.parametrize(
    "sent",
    [
        signal.SIGKILL,
        signal.SIGSEGV,
        *(pytest.param(s, marks=pytest.mark.slow) for s in (signal.SIGABRT, signal.SIGBUS, signal.SIGILL)),
    ],
)
def test_a_crash_ends_its_own_file_only(
    large: Path, picture: Path, tmp_path: Path, work: Path, sent: signal.Signals
) -> None:
    with PyramidPool(processes=2, work_folder=work) as pool:
        with running(pool, large, tmp_path / "out.tif") as future:
            (worker,) = workers_of(pool)
            with ThreadPoolExecutor(1) as other:
                beside = other.submit(pool.convert, picture, tmp_path / "small.tif", OPTIONS)
                worker.send_signal(sent)
                with pytest.raises(DecoderCrashed, match=r"^the decoder crashed$") as raised:
                    future.result()
                assert beside.result().width == 96
        assert sent.name in str(raised.value.detail)
        assert pool.convert(picture, tmp_path / "small.tif", OPTIONS).width == 96
    assert not (tmp_path / "out.tif").exists()


def test_workers_that_are_killed_while_they_wait_cost_no_file(
    picture: Path, tmp_path: Path, work: Path
) -> None:
    with PyramidPool(processes=2, work_folder=work) as pool:
        for _ in range(3):
            with ThreadPoolExecutor(2) as threads:
                list(threads.map(lambda i: pool.convert(picture, tmp_path / f"{i}.tif", OPTIONS), range(4)))
            for worker in workers_of(pool):
                worker.kill()
                worker.wait(10)


def test_a_worker_is_replaced_after_so_many_files(picture: Path, tmp_path: Path, work: Path) -> None:
    with PyramidPool(processes=1, files_per_process=2, work_folder=work) as pool:
        seen = []
        for _ in range(4):
            pool.convert(picture, tmp_path / "out.tif", OPTIONS)
            seen.append([p.pid for p in workers_of(pool)])
    assert seen[1] == seen[3] == []
    assert len(seen[0]) == len(seen[2]) == 1
    assert seen[0] != seen[2]


def test_stopping_ends_running_conversions_at_once(large: Path, tmp_path: Path, work: Path) -> None:
    pool = PyramidPool(processes=1, work_folder=work)
    with running(pool, large, tmp_path / "out.tif") as future:
        processes = workers_of(pool)
        pool.stop()
        with pytest.raises(PoolStopped):
            future.result()
    assert not any(p.is_running() for p in processes)
    assert not files_in(work)
    assert not (tmp_path / "out.tif").exists()
    with pytest.raises(PoolStopped):
        pool.convert(large, tmp_path / "out.tif", OPTIONS)


def test_closing_lets_running_conversions_finish(large: Path, tmp_path: Path, work: Path) -> None:
    pool = PyramidPool(processes=1, work_folder=work)
    with running(pool, large, tmp_path / "out.tif") as future:
        pool.close()
        assert future.done()
    assert not validate_pyramid(tmp_path / "out.tif")
    assert not files_in(work)


def test_an_error_in_the_callers_block_stops_the_workers(picture: Path, tmp_path: Path, work: Path) -> None:
    pool = PyramidPool(processes=1, work_folder=work)
    pool.convert(picture, tmp_path / "out.tif", OPTIONS)
    processes = workers_of(pool)
    with pytest.raises(ZeroDivisionError), pool:
        raise ZeroDivisionError
    assert not any(p.is_running() for p in processes)


def test_a_worker_outlives_the_thread_that_first_used_it(picture: Path, tmp_path: Path, work: Path) -> None:
    with PyramidPool(processes=1, work_folder=work) as pool:
        thread = threading.Thread(target=pool.convert, args=(picture, tmp_path / "out.tif", OPTIONS))
        thread.start()
        thread.join()
        (first,) = workers_of(pool)
        pool.convert(picture, tmp_path / "out.tif", OPTIONS)
        assert workers_of(pool) == [first]


PARENT = """
import sys
from pathlib import Path
from marble_images.pyramid.pool import PyramidPool
pool = PyramidPool(processes=1, work_folder=Path(sys.argv[1]))
pool.convert(Path(sys.argv[2]), Path(sys.argv[3]))
"""


def test_workers_die_with_a_parent_that_is_killed_and_the_next_pool_tidies_up(
    large: Path, tmp_path: Path, work: Path
) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, work, large, tmp_path / "out.tif"])
    try:
        wait_for(lambda: any(c.cpu_times().user > 0.5 for c in psutil.Process(parent.pid).children()))
        workers = psutil.Process(parent.pid).children()
    finally:
        parent.kill()
        parent.wait()
    gone, alive = psutil.wait_procs(workers, timeout=20)
    assert gone
    assert not alive
    assert list(work.iterdir())
    PyramidPool(processes=1, work_folder=work).close()
    assert not list(work.iterdir())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["large.tif", "work"]


def test_the_folder_of_a_pool_that_lives_is_left_alone(picture: Path, tmp_path: Path, work: Path) -> None:
    with PyramidPool(processes=1, work_folder=work) as first:
        first.convert(picture, tmp_path / "out.tif", OPTIONS)
        with PyramidPool(processes=1, work_folder=work) as second:
            second.convert(picture, tmp_path / "out.tif", OPTIONS)
        first.convert(picture, tmp_path / "out.tif", OPTIONS)


def test_workers_get_no_secrets(
    picture: Path, tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    with PyramidPool(processes=1, work_folder=work) as pool:
        pool.convert(picture, tmp_path / "out.tif", OPTIONS)
        (worker,) = workers_of(pool)
        environment = worker.environ()
    assert "AWS_SECRET_ACCESS_KEY" not in environment
    assert environment["MALLOC_ARENA_MAX"] == "2"
    assert Path(environment["TMPDIR"]).is_relative_to(work)


def test_a_module_in_the_current_folder_is_not_imported(
    picture: Path, tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "json.py").write_text("raise SystemExit('a file of a stranger was run')")
    with PyramidPool(processes=1, work_folder=work) as pool:
        assert pool.convert(picture, tmp_path / "out.tif", OPTIONS).width == 96


def test_a_worker_that_cannot_start_is_not_the_files_fault(
    picture: Path, tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with PyramidPool(processes=1, work_folder=work) as pool, pytest.raises(WorkerNotStarted):
        pool.convert(picture, tmp_path / "out.tif", OPTIONS)


def test_names_are_never_parsed_for_options(shared: PyramidPool, tmp_path: Path) -> None:
    source = tmp_path / "scan.tif[page=3,shrink=8]"
    tifffile.imwrite(source, rgb(), photometric="rgb")
    target = tmp_path / "out[compression=none].tif"
    assert shared.convert(source, target, OPTIONS).width == 96
    assert not validate_pyramid(target, profile="deflate")


def test_importing_the_pool_loads_no_decoder() -> None:
    code = "import marble_images.pyramid.pool, sys; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    ).stdout.split()
    assert not {"pyvips", "numpy", "PIL", "tifffile", "imagecodecs", "pypdfium2"} & set(loaded)


@pytest.mark.parametrize(
    "wrong", [{"processes": 0}, {"deadline": 0}, {"memory_limit": 0}, {"files_per_process": 0}]
)
def test_settings_that_cannot_work_are_refused(work: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        PyramidPool(**{"processes": 1, "work_folder": work, **wrong})  # type: ignore[arg-type]


def test_nothing_is_left_open(picture: Path, tmp_path: Path, work: Path) -> None:
    before = psutil.Process().num_fds()
    for _ in range(3):
        with PyramidPool(processes=1, work_folder=work) as pool:
            pool.convert(picture, tmp_path / "out.tif", OPTIONS)
    assert psutil.Process().num_fds() == before
    assert not list(work.iterdir())
