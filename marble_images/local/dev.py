"""``marble-images dev``: the stand-ins, and Dagster's daemon and UI on them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from marble_images.local.home import dagster_home
from marble_images.local.stack import LocalStack


def run_dev(folder: Path, port: int) -> int:
    """Run the stand-ins and ``dagster dev`` until a person stops them; the exit status of the latter."""
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
        print(f"Dagster's UI: http://127.0.0.1:{port}    Ctrl-C stops all of it.", flush=True)  # noqa: T201
        dagster = subprocess.Popen(
            [
                *(sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(port)),
                *("-m", "marble_images.definitions"),
            ],
            env=environment,
            cwd=home,
        )
        return _wait(dagster)


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Pass a stop on to the process and wait until it has ended what it started."""

    def stop(_signal: int, _frame: object) -> None:
        process.send_signal(signal.SIGINT)

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                # The terminal sent it to the process too.
                continue
    finally:
        signal.signal(signal.SIGTERM, previous)
        if process.poll() is None:
            process.kill()
