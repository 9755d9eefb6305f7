"""One worker process: started when it is needed, watched while it works, killed when it must be."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import psutil

from marble_images.errors import (
    ConversionOutOfMemory,
    ConversionTimeout,
    DecoderCrashed,
    MarbleImagesError,
)
from marble_images.pyramid.model import ConvertOptions, Pyramid

_START_SECONDS = 120.0
# A worker's memory is looked at so often; in that time one can write to some 200 MB.
_LOOK_SECONDS = 0.05
_LARGEST_ANSWER = 16 * 2**20
_DETAIL_BYTES = 2000
# Nothing secret: what decodes strangers' files has no use for credentials.
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "HOME", "TZ")
_OUT_OF_MEMORY = (b"failed to allocate", b"bad_alloc", b"out of memory", b"MemoryError")

# Only imports by name from the parent's own path: the current folder holds files of strangers.
_COMMAND = "import sys; sys.path[:] = {path!r}; from marble_images.pyramid.worker import main; main({args})"
_FATAL = (ConversionTimeout, ConversionOutOfMemory)


class WorkerNotStarted(MarbleImagesError):
    """A worker process did not come up; the detail holds what it said last."""

    code = "worker-not-started"


class WorkerProcess:
    """One process, started when it is needed, and used by one thread at a time."""

    def __init__(self, folder: Path, memory_limit: int, starter: ThreadPoolExecutor) -> None:
        self.files = 0
        self._folder = folder
        self._log = folder.with_suffix(".log")
        self._memory_limit = memory_limit
        self._starter = starter
        self._stopped = False
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        folder.mkdir()

    @contextlib.contextmanager
    def folder_for(self, target: Path) -> Iterator[Path]:
        """A folder on the target's file system, removed afterwards whatever the worker left in it."""
        beside = target.parent.stat().st_dev != self._folder.stat().st_dev
        folder = Path(tempfile.mkdtemp(prefix=".pyramid-", dir=target.parent if beside else self._folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def convert(self, source: Path, target: Path, options: ConvertOptions, deadline: float) -> Pyramid:
        """Have the process make one pyramid; it is gone afterwards if it did not answer."""
        connection = self._running()
        self.files += 1
        try:
            connection.send((source, target, options))
            return _pyramid(self._answer(connection, deadline), self._limit_text)
        except (EOFError, OSError):
            raise self._died() from None
        except BaseException as problem:
            if not isinstance(problem, MarbleImagesError) or isinstance(problem, _FATAL):
                self.kill()
                self.end()
            raise

    def _answer(self, connection: Connection, deadline: float) -> dict[str, Any]:
        process = self._process
        assert process is not None
        watched = psutil.Process(process.pid)
        until = time.monotonic() + deadline
        while not connection.poll(min(_LOOK_SECONDS, max(0.0, until - time.monotonic()))):
            if time.monotonic() >= until:
                raise ConversionTimeout(f"took longer than {deadline:g} s")
            if _memory_of(watched) > self._memory_limit:
                raise ConversionOutOfMemory(f"needed more than {self._limit_text}")
        return _read(connection)

    @property
    def _limit_text(self) -> str:
        return f"{self._memory_limit / 2**30:.3g} GB"

    def _died(self) -> MarbleImagesError:
        process = self._process
        assert process is not None
        # Its socket is closed, so it is dead or dying.
        self.kill(grace=2.0)
        code = process.wait()
        said = self._last_words()
        self.end()
        if any(sign in said for sign in _OUT_OF_MEMORY):
            return ConversionOutOfMemory(f"needed more than {self._limit_text}")
        how = f"signal {_signal_name(-code)}" if code < 0 else f"exit code {code}"
        text = said.decode("utf-8", "replace").strip()
        return DecoderCrashed("the decoder crashed", detail=f"{how}\n{text}" if text else how)

    def _last_words(self) -> bytes:
        with contextlib.suppress(OSError), self._log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _DETAIL_BYTES))
            return log.read()
        return b""

    def _running(self) -> Connection:
        # A worker that died while it waited is no fault of the next file.
        if self._connection is not None and self._process is not None:
            if self._process.poll() is None and not self._connection.poll():
                with contextlib.suppress(OSError):
                    os.truncate(self._log, 0)
                return self._connection
            self.end()
        self._starter.submit(self._start).result()
        assert self._connection is not None
        try:
            answer = _read(self._connection) if self._connection.poll(_START_SECONDS) else None
        except (EOFError, OSError):
            detail = self._died().detail
            raise WorkerNotStarted("a worker process died while it started", detail=detail) from None
        if answer is None or "error" in answer:
            self.kill()
            self.end()
            late = WorkerNotStarted(f"a worker process did not start within {_START_SECONDS:g} s")
            raise late if answer is None else _error(answer)
        return self._connection

    def _start(self) -> None:
        ours, theirs = Pipe()
        arguments = f"{theirs.fileno()}, {os.getpid()}, {self._memory_limit}"
        command = _COMMAND.format(path=[str(Path(p).absolute()) for p in sys.path], args=arguments)
        with theirs, self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and text
                [sys.executable, "-c", command],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=self._environment(),
                start_new_session=True,
            )
        self._connection = ours
        self.files = 0
        if self._stopped:
            self.kill()

    def _environment(self) -> dict[str, str]:
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        return passed | {
            "TMPDIR": str(self._folder),
            # glibc keeps what is freed in one arena a thread; libvips' own threads make many.
            "MALLOC_ARENA_MAX": "2",
            "VIPS_CONCURRENCY": "1",
            "VIPS_BLOCK_UNTRUSTED": "1",
            "VIPS_WARNING": "0",
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def stop(self) -> None:
        """Kill the process, and any that is being started; called from another thread than the user's."""
        self._stopped = True
        self.kill()

    def kill(self, grace: float = 0.0) -> None:
        """End the process at once, or after the seconds that it has to die by itself."""
        process = self._process
        if process is None:
            return
        if grace:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace)
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Close the socket, so that an idle process ends, and wait until it is gone."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            self.kill(grace=5.0)
            self._process.wait()
            self._process = None

    def empty_folder(self) -> None:
        """Remove what the process left in its folder for temporary files."""
        with contextlib.suppress(OSError):
            for entry in self._folder.iterdir():
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry, ignore_errors=True)
                else:
                    entry.unlink(missing_ok=True)


def _memory_of(process: psutil.Process) -> int:
    """Bytes of memory that are the process's own; pages of mapped files can be dropped at any time."""
    try:
        found = process.memory_info()
    except psutil.Error:
        return 0
    return int(found.rss) - int(getattr(found, "shared", 0))


def _read(connection: Connection) -> dict[str, Any]:
    try:
        answer = json.loads(connection.recv_bytes(_LARGEST_ANSWER))
    except ValueError as problem:
        raise OSError("the worker's answer cannot be read") from problem
    if not isinstance(answer, dict):
        raise OSError("the worker's answer cannot be read")
    return answer


def _pyramid(answer: dict[str, Any], limit: str) -> Pyramid:
    if "error" in answer:
        problem = _error(answer)
        full = isinstance(problem, ConversionOutOfMemory)
        raise ConversionOutOfMemory(f"needed more than {limit}") if full else problem
    try:
        fields = dict(answer["pyramid"])
        fields["thumbnail"] = base64.b64decode(fields["thumbnail"])
        fields["warnings"] = tuple(fields["warnings"])
        return Pyramid(**fields)
    except (KeyError, TypeError, ValueError) as problem:
        raise OSError("the worker's answer cannot be read") from problem


def _error(answer: dict[str, Any]) -> MarbleImagesError:
    kinds = {kind.code: kind for kind in _subclasses(MarbleImagesError)}
    kind = kinds.get(str(answer["error"]), DecoderCrashed)
    detail = answer.get("detail")
    return kind(str(answer.get("reason")), detail=None if detail is None else str(detail))


def _subclasses(kind: type[MarbleImagesError]) -> list[type[MarbleImagesError]]:
    # The more general last, so that a class and its subclass with one code give the class.
    return [found for child in kind.__subclasses__() for found in (*_subclasses(child), child)]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
