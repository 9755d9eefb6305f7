"""Converts images in processes of their own, so that a bad one costs a file and not the run.

Each worker is one process with a socket of its own, and no lock or queue is shared between workers:
pebble's and the standard library's pools share them, and one killed worker breaks the whole pool.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from marble_images.errors import MarbleImagesError
from marble_images.pyramid.model import ConvertOptions, Pyramid
from marble_images.pyramid.own_folder import OwnFolder
from marble_images.pyramid.worker_process import WorkerNotStarted, WorkerProcess

__all__ = ["PoolStopped", "PyramidPool", "WorkerNotStarted"]


class PoolStopped(MarbleImagesError):
    """The pool was closed or stopped before the conversion was done; the file is not to blame."""

    code = "pool-stopped"


class PyramidPool:
    """A bounded number of worker processes that make pyramids; safe to use from many threads.

    Parameters
    ----------
    processes
        How many images are converted at once; each takes one core.
    deadline
        Seconds that one conversion may take.
    memory_limit
        Bytes that one worker may use.
    files_per_process
        A worker is replaced after so many files, so that no leak of a decoder grows.
    work_folder
        Where temporary files go. Leftovers of pools that were killed are removed from it.

    Raises
    ------
    OSError
        The work folder cannot be made.
    """

    def __init__(
        self,
        *,
        processes: int,
        deadline: float = 600,
        memory_limit: int = 3 * 2**30,
        files_per_process: int = 100,
        work_folder: Path,
    ) -> None:
        if processes < 1 or files_per_process < 1 or deadline <= 0 or memory_limit <= 0:
            raise ValueError("a pool needs at least one process, one file a process, time and memory")
        self._deadline = deadline
        self._memory_limit = memory_limit
        self._files_per_process = files_per_process
        self._folder = OwnFolder(work_folder)
        # The kernel ends a worker when the *thread* that started it ends: this one lives as long as the pool.
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pyramid-pool")
        self._changed = threading.Condition()
        self._workers = [self._new_worker(i) for i in range(processes)]
        self._idle = list(self._workers)
        self._closed = False
        self._stopped = False

    def _new_worker(self, index: int) -> WorkerProcess:
        return WorkerProcess(self._folder.path / f"worker-{index}", self._memory_limit, self._starter)

    def __enter__(self) -> PyramidPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.stop()

    def convert(self, source: Path, target: Path, options: ConvertOptions | None = None) -> Pyramid:
        """Make a pyramid as `convert.make_pyramid` does, in a worker; waits for one and for the result.

        Raises
        ------
        ConversionTimeout, ConversionOutOfMemory, DecoderCrashed
            The worker was stopped at the deadline or the memory limit, or died.
        PoolStopped, WorkerNotStarted
            The pool was closed or stopped meanwhile, or cannot work at all: the file is not to blame.
        MarbleImagesError
            What `make_pyramid` raised.
        """
        worker = self._take()
        try:
            return self._convert(worker, source.absolute(), target.absolute(), options or ConvertOptions())
        finally:
            self._give_back(worker)

    def _convert(self, worker: WorkerProcess, source: Path, target: Path, options: ConvertOptions) -> Pyramid:
        try:
            with worker.folder_for(target) as folder:
                written = folder / "pyramid.tif"
                pyramid = worker.convert(source, written, options, self._deadline)
                written.replace(target)
                return pyramid
        except MarbleImagesError:
            if self._stopped:
                raise PoolStopped("the conversion was stopped") from None
            raise

    def _take(self) -> WorkerProcess:
        with self._changed:
            self._changed.wait_for(lambda: self._idle or self._closed)
            if self._closed:
                raise PoolStopped("the pool of workers is closed")
            return self._idle.pop()

    def _give_back(self, worker: WorkerProcess) -> None:
        if self._stopped or worker.files >= self._files_per_process:
            worker.end()
        worker.empty_folder()
        with self._changed:
            self._idle.append(worker)
            self._changed.notify_all()

    def close(self) -> None:
        """Let running conversions finish, take no new ones, end the workers and remove their files."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._idle) == len(self._workers))
        for worker in self._workers:
            worker.end()
        self._starter.shutdown()
        self._folder.remove()

    def stop(self) -> None:
        """Kill the workers at once; conversions that run end with `PoolStopped`."""
        self._stopped = True
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.stop()
        self.close()
