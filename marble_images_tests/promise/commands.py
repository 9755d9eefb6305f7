"""The command in a process of its own, that can be watched and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import psutil

_PATIENCE = 120.0


class Command:
    """``marble-images ...`` in a session of its own; killed with all it started when the block ends."""

    def __init__(self, *arguments: str, environment: dict[str, str], log: Path) -> None:
        self._log = log
        self.children: list[psutil.Process] = []
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "marble_images.cli", *arguments],
                env={"PATH": os.environ["PATH"], "HOME": str(log.parent), **environment},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Command:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.send(signal.SIGKILL)
        self.process.wait()
        for child in self.children:
            if child.is_running():
                child.kill()

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def running(self) -> bool:
        return self.process.poll() is None

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that the command does; fails when it ends before."""
        until = time.monotonic() + _PATIENCE
        while not condition():
            assert self.running(), self.output
            assert time.monotonic() < until, self.output
            time.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command's own process, after a look at what it has started."""
        try:
            self.children = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return
        os.kill(self.process.pid, number)

    def ended(self) -> int:
        """Wait for the end of the command and of all that it started; its exit status."""
        status = self.process.wait(_PATIENCE)
        _, alive = psutil.wait_procs(self.children, timeout=30)
        assert alive == [], "it left processes running"
        return status
