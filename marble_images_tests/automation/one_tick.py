"""One tick of the sensors by Dagster's own daemon code, in a process that may be killed in mid-tick."""

from __future__ import annotations

import logging
import signal
import sys

import dagster as dg
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.sensor import execute_sensor_iteration


def main(crash_at: str) -> None:
    """Tick once, as the daemon does; with a point in the tick, die there."""
    flags = {"pyramids_of_changed_files": {crash_at: signal.SIGKILL}} if crash_at != "-" else None
    target = ModuleTarget(
        module_name="marble_images.definitions",
        attribute=None,
        working_directory=None,
        location_name="marble_images",
    )
    with (
        dg.DagsterInstance.get() as instance,
        create_test_daemon_workspace_context(target, instance) as workspace,
    ):
        ticks = execute_sensor_iteration(
            workspace,
            logging.getLogger("tick"),
            threadpool_executor=None,
            submit_threadpool_executor=None,
            debug_crash_flags=flags,
        )
        for failure in filter(None, ticks):
            raise RuntimeError(failure.message)


if __name__ == "__main__":
    main(sys.argv[1])
