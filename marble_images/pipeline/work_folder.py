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
        sweep(parent)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    except OSError as error:
        raise NoDiskSpace(f"no work folder can be made in {parent}: {error.strerror}") from None
    lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep(parent: Path) -> None:
    """Remove the work folders in ``parent`` whose runs no longer live."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            lock = os.open(folder / _LOCK, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
