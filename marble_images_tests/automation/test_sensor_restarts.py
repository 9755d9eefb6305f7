"""The sensor under Dagster's real daemon code, killed in mid-tick."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest

from marble_images.definitions import state
from marble_images.local.stack import LocalStack
from marble_images_tests.automation.test_pyramid_sensor import DAY, keys_of, make_list

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

QUEUED_ONLY = "telemetry: {enabled: false}\nconcurrency: {runs: {max_concurrent_runs: 1}}\n"
PATHS = [f"{n:03}.tif" for n in range(0, 24, 2)]


def tick(crash_at: str = "-", times: int = 1) -> int:
    command = [sys.executable, "-m", "marble_images_tests.automation.one_tick", crash_at, str(times)]
    return subprocess.run(command, capture_output=True, check=False, timeout=300).returncode


def asked(instance: dg.DagsterInstance) -> Counter[str]:
    counted: Counter[str] = Counter()
    for run in instance.get_runs():
        partition = run.tags.get("dagster/partition")
        counted.update(keys_of(dg.RunRequest(partition_key=partition, tags=run.tags), instance))
    return counted


@pytest.mark.parametrize("point", ["TICK_CREATED", "RUN_IDS_RESERVED", "RUN_CREATED", "RUN_LAUNCHED"])
def test_a_daemon_that_is_killed_in_mid_tick_asks_for_no_run_twice_and_forgets_none(
    stack: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text(QUEUED_ONLY)
    with dg.DagsterInstance.get() as instance:
        # Every other key, so that each is a run of its own.
        instance.add_dynamic_partitions("image_files", [f"{n:03}.tif" for n in range(24)])
        make_list(instance, state.store(), PATHS, DAY)
        assert tick(point) == -signal.SIGKILL
        assert len(asked(instance)) < len(PATHS)
        assert tick(times=2) == 0
        assert asked(instance) == Counter(PATHS)
    assert os.environ["DAGSTER_HOME"] == str(tmp_path)
