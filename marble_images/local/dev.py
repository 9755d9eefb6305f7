"""``marble-images dev``: the stand-ins, and Dagster's daemon and UI on them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from marble_images.errors import SettingsError
from marble_images.local.home import dagster_home
from marble_images.local.stack import LocalStack

_PATIENCE = 30.0
"""Seconds that Dagster has to end by itself what it started."""


def run_dev(folder: Path, port: int) -> int:
    """Run the stand-ins and ``dagster dev`` until a person stops them; the exit status of the latter.

    Raises
    ------
    SettingsError
        Another program has the port.
    LocalStackFailed
        The stand-ins do not start.
    """
    _check_free(port)
    home = dagster_home(folder)
    with LocalStack(folder) as stack:
        environment = dict(os.environ)
        stack.apply(environment)
        environment |= {
            "DAGSTER_HOME": str(home),
            "WORK_FOLDER": str(stack.folder / "work"),
            "DAGSTER_BASE_URL": f"http://127.0.0.1:{port}",
            "ALERT_TOPIC_ARN": stack.alert_topic_arn,
            "PYTHONUNBUFFERED": "1",
        }
        command = [
            *(sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(port)),
            *("-m", "marble_images.definitions"),
        ]
        print(f"Dagster's UI: http://127.0.0.1:{port}    Ctrl-C stops all of it.", flush=True)  # noqa: T201
        return _run(command, environment, home)


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SettingsError(f"port {port} cannot be used: {reason}; --port takes another") from None


def _run(command: list[str], environment: dict[str, str], folder: Path) -> int:
    """Run a command until it ends or we are told to stop, and leave none of its processes behind."""
    # A session of its own: Ctrl-C in the terminal reaches only us, and whatever it starts can be found.
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=folder,
        start_new_session=True,
        # A shell's background jobs ignore this signal, and so would all that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    told: list[int] = []
    previous = {
        number: signal.signal(number, lambda number, _frame: told.append(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        while not told:
            try:
                return process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
        return _stop(process)
    finally:
        _end_session(process.pid)
        process.wait()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _stop(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
    # That it was stopped is no failure.
    return 0


def _end_session(session: int) -> None:
    """End the processes that a session has left, runs in flight among them, kindly and then not."""
    for process in _of_session(session):
        process.terminate()
    until = time.monotonic() + _PATIENCE / 2
    while (left := list(_of_session(session))) and time.monotonic() < until:
        time.sleep(0.1)
    for process in left:
        process.kill()


def _of_session(session: int) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except (ProcessLookupError, PermissionError, psutil.Error):
            continue
