"""The folder in which one run keeps its files while it works on them."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from marble_images.errors import NoDiskSpace

_PREFIX = "marble-images-"
_LOCK = ".lock"


def default_parent() -> Path:
    """Where work folders are made when no setting says so."""
    return Path(tempfile.gettempdir())


@contextmanager
def work_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder for one run, gone when the run ends, however it ends.

    The folders of runs that were killed are removed first: each run holds a lock on a file in its own,
    which the system takes back when the process dies.

    Raises
    ------
    NoDiskSpace
        The folder cannot be made.
    """
    parent = parent or default_parent()
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with _alone_in(parent):
            sweep(parent)
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise NoDiskSpace(f"WORK_FOLDER: no folder can be made in {parent}: {error.strerror}") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextmanager
def _alone_in(parent: Path) -> Iterator[None]:
    """Let no other run look for leftovers between the making of a folder and its lock."""
    descriptor = os.open(parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Some network file systems lock no folders.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sweep(parent: Path) -> None:
    """Remove the work folders in ``parent`` whose runs no longer live."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            # One without a lock was left by a run that died as it made or removed it.
            lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
