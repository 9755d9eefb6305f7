"""Runs that are killed or interrupted: what they leave, and what the next run makes of it."""

from __future__ import annotations

import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from marble_images.local.stack import LocalStack
from marble_images_tests.promise.commands import Command
from marble_images_tests.promise.conftest import IMPATIENT, Sources, picture
from marble_images_tests.promise.invariant import check_bucket, check_promise, files_left

Start = Callable[[], Command]


@pytest.fixture
def start(stack: LocalStack, sources: Sources, tmp_path: Path, work: Path) -> Start:
    environment = {
        **stack.environment,
        **IMPATIENT,
        # What hangs here waits for the kill, not for a time-out.
        **dict.fromkeys(("S3_READ_TIMEOUT", "SOURCE_READ_TIMEOUT", "APPSYNC_READ_TIMEOUT"), "120"),
        "SOURCE_DEADLINE": "240",
        "WORK_FOLDER": str(work),
        "TMPDIR": str(tmp_path),
    }
    return lambda: Command("run", environment=environment, log=tmp_path / "run.log")


def fill(sources: Sources, number: int, width: int = 400) -> list[str]:
    paths = [f"{n % 3}/{n:02}.jpg" for n in range(number)]
    for n, path in enumerate(paths):
        sources.put(("S3", "Uri", "Curate", "Museum")[n % 4], path, picture(width + n, 300, shade=n))
    return paths


def finish(start: Start, stack: LocalStack, paths: list[str], work: Path) -> None:
    """A run that nothing disturbs publishes all, and sweeps what killed ones have left."""
    with start() as command:
        assert command.ended() == 0, command.output
    assert check_promise(stack, paths).published == set(paths)
    assert check_bucket(stack) == {path.replace(".jpg", ".tif") for path in paths}
    assert files_left(work) == []


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"service": "uri", "path": "01.jpg"}, marks=pytest.mark.slow),
        pytest.param(
            {"service": "aws", "operation": "PutObject", "path": "/images/", "when": "after"},
            marks=pytest.mark.slow,
        ),
        {"service": "appsync", "operation": "saveFileLastProcessedDate", "when": "after"},
    ],
    ids=["fetching", "uploading", "marking"],
)
def test_a_run_that_is_killed_is_made_good_by_the_next(
    stack: LocalStack, sources: Sources, start: Start, work: Path, fault: dict[str, str]
) -> None:
    paths = fill(sources, 4)
    hanging = stack.faults.add("hang", seconds=240, **fault)
    with start() as command:
        command.wait_until(lambda: stack.faults.hits(hanging) > 0)
        command.send(signal.SIGKILL)
        assert command.ended() == -signal.SIGKILL
    stack.faults.clear()
    check_promise(stack, paths)
    check_bucket(stack)
    assert files_left(work), "the test has killed it too late"
    finish(start, stack, paths, work)


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_run_that_is_interrupted_leaves_nothing_running_and_nothing_half(
    stack: LocalStack, sources: Sources, start: Start, work: Path, number: signal.Signals
) -> None:
    paths = fill(sources, 4)
    stack.faults.add("hang", seconds=240, service="uri", path="01.jpg")
    with start() as command:
        command.wait_until(lambda: len(check_promise(stack, paths).published) == 3)
        command.send(number)
        assert command.ended() == 130
        assert command.output.strip().endswith(
            "marble-images: interrupted; the files that were not done still wait"
        )
    ends = check_promise(stack, paths)
    assert set(ends.waiting) == {"1/01.jpg"}
    assert ends.waiting["1/01.jpg"] == "", "being interrupted is no failure of the file"
    assert files_left(work) == []


def kill_after(command: Command, stack: LocalStack, counter: int, requests: float, pause: float) -> None:
    """Kill a run when it has made so many requests, and after a pause that leads it between two of them."""
    command.wait_until(lambda: stack.faults.hits(counter) >= requests or not command.running())
    time.sleep(pause)
    command.send(signal.SIGKILL)
    command.ended()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_is_killed_at_any_moment_is_made_good_by_the_next(
    stack: LocalStack, sources: Sources, start: Start, work: Path
) -> None:
    paths = fill(sources, 16, width=1500)
    # It delays nothing: it counts the requests, which say how far a run is on a machine of any speed.
    seen = stack.faults.add("latency", seconds=0)
    finish(start, stack, paths, work)
    of_a_whole_run = stack.faults.hits(seen)
    moments = random.Random(4)
    published_at_the_kill = set()
    for twentieth in range(20):
        for path in check_promise(stack, paths).published:
            stack.appsync.touch(path)
        before = stack.faults.hits(seen)
        enough = before + 1 + of_a_whole_run * (twentieth + moments.random()) / 20
        with start() as command:
            kill_after(command, stack, seen, enough, pause=moments.uniform(0, 0.3))
        published_at_the_kill.add(len(check_promise(stack, paths).published))
        check_bucket(stack)
    assert len(published_at_the_kill) > 2, "the kills were spread over the run"
    finish(start, stack, paths, work)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "demo"
    with Command("demo", "--folder", str(folder), environment={}, log=tmp_path / "log") as command:
        command.wait_until(lambda: re.search(r"^\d+/\d+ made ", command.output, re.M) is not None)
        command.send(number)
        assert command.ended() == 130, command.output
    assert "Traceback" not in command.output
    assert files_left(folder / "work") == []
    assert list((folder / "s3" / "images").rglob("*.tif")), "what was made stays"
