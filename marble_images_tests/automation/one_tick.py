"""Ticks of the sensors by Dagster's own daemon code, in a process that may be killed in mid-tick."""

from __future__ import annotations

import logging
import signal
import sys
from unittest import mock

import dagster as dg
from dagster._core.remote_representation.external import RemoteSensor
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.sensor import execute_sensor_iteration


def main(crash_at: str, times: int) -> None:
    """Tick so many times, as the daemon does; with a point in the tick, die there."""
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
        # Else how long the machine takes for a tick would decide whether the next one is due.
        mock.patch.object(RemoteSensor, "min_interval_seconds", 0),
    ):
        for _ in range(times):
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
    main(sys.argv[1], int(sys.argv[2]))
