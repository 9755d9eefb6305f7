"""A folder for temporary files that is emptied whatever happens, if need be by the next process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path


class OwnFolder:
    """A folder of this pool in the work folder, locked so that other pools know that it is in use."""

    def __init__(self, work_folder: Path) -> None:
        work_folder.mkdir(parents=True, exist_ok=True)
        # No other pool may look for leftovers between the making of a folder and its lock.
        everyone = self._open(work_folder)
        try:
            fcntl.flock(everyone, fcntl.LOCK_EX)
            for old in work_folder.glob("pyramid-pool-*"):
                self._remove_if_abandoned(old)
            self.path = Path(tempfile.mkdtemp(prefix="pyramid-pool-", dir=work_folder.absolute()))
            self._lock = self._open(self.path)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(everyone)

    @staticmethod
    def _open(folder: Path) -> int:
        return os.open(folder, os.O_RDONLY | os.O_CLOEXEC)

    @classmethod
    def _remove_if_abandoned(cls, folder: Path) -> None:
        with contextlib.suppress(OSError):
            descriptor = cls._open(folder)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)

    def remove(self) -> None:
        """Remove the folder; once is enough."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1
