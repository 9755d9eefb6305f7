"""What happens at the worst moment: between two calls of a run, or between two runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from marble_images.local import layout
from marble_images.local.stack import LocalStack
from marble_images.models import FileReport, Outcome
from marble_images.pipeline.one_file import FilePipeline, Job
from marble_images_tests.assets.pipeline_run import failure_of, make_pyramids
from marble_images_tests.promise.conftest import Sources, picture
from marble_images_tests.promise.invariant import check_promise
from marble_images_tests.promise.runs import DAILY, reasons_of, reports_of

# As long as it takes: the test lets it go on.
HELD = 50
OLD, NEW = picture(90, 70, shade=10), picture(120, 80, shade=200)


@pytest.fixture(autouse=True)
def _patient(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is slow here is slow on purpose.
    for name in ("APPSYNC_READ_TIMEOUT", "S3_READ_TIMEOUT", "SOURCE_READ_TIMEOUT", "SOURCE_DEADLINE"):
        monkeypatch.setenv(name, "60")


@contextmanager
def at(stack: LocalStack, fault: int, act: Callable[[], object]) -> Iterator[None]:
    """Do something as soon as a fault strikes, and let what it delays go on, while the block runs."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            if stack.faults.hits(fault):
                act()
                stack.faults.remove(fault)
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join(30)


def change(stack: LocalStack, path: str) -> None:
    """Give a file a new source, as its owner does."""
    stack.s3.put_object(Bucket=layout.SOURCE_BUCKET, Key=f"in/{path}", Body=NEW)
    stack.appsync.touch(path)


def assert_is_new(stack: LocalStack, sources: Sources, path: str) -> None:
    assert check_promise(stack, [path]).published == {path}
    assert sources.of(path)["width"] == 120
    assert sources.picture_in_bucket(path.replace(".jpg", ".tif")).size == (120, 80)


def test_a_mark_is_not_sent_again_for_a_record_that_was_rewritten_meanwhile(
    stack: LocalStack, sources: Sources, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPSYNC_BACKOFF", "3")
    sources.s3("1.jpg", OLD)
    lost = stack.faults.add("reset", operation="saveFileLastProcessedDate", times=1)
    with at(stack, lost, lambda: change(stack, "1.jpg")):
        reports = reports_of(instance, ["1.jpg"])
    assert reports["1.jpg"].outcome is Outcome.LEFT
    assert set(check_promise(stack, ["1.jpg"]).waiting) == {"1.jpg"}


def test_a_mark_that_was_made_and_never_answered_is_found(
    stack: LocalStack, sources: Sources, instance: dg.DagsterInstance
) -> None:
    sources.s3("1.jpg", OLD)
    stack.faults.add("reset", operation="saveFileLastProcessedDate", when="after")
    assert reports_of(instance, ["1.jpg"])["1.jpg"].outcome is Outcome.MADE
    assert check_promise(stack, ["1.jpg"]).published == {"1.jpg"}


def test_a_record_rewritten_in_the_moment_before_its_mark_is_made_anew(
    stack: LocalStack, sources: Sources, instance: dg.DagsterInstance
) -> None:
    sources.s3("1.jpg", OLD)
    slow = stack.faults.add("latency", operation="saveFileLastProcessedDate", seconds=HELD, times=1)
    with at(stack, slow, lambda: change(stack, "1.jpg")):
        assert reports_of(instance, ["1.jpg"])["1.jpg"].outcome is Outcome.MADE
    assert_is_new(stack, sources, "1.jpg")


@pytest.mark.slow
def test_a_current_pyramid_whose_record_is_rewritten_before_its_mark_is_made_anew(
    stack: LocalStack, sources: Sources, instance: dg.DagsterInstance
) -> None:
    sources.s3("1.jpg", OLD)
    failing = stack.faults.add("status", operation="saveFileLastProcessedDate")
    assert reports_of(instance, ["1.jpg"])["1.jpg"].outcome is Outcome.FAILED
    stack.faults.remove(failing)
    slow = stack.faults.add("latency", operation="saveFileLastProcessedDate", seconds=HELD, times=1)
    with at(stack, slow, lambda: change(stack, "1.jpg")):
        assert reports_of(instance, ["1.jpg"], **DAILY)["1.jpg"].outcome is Outcome.MADE
    assert_is_new(stack, sources, "1.jpg")


@pytest.mark.slow
def test_an_older_picture_that_is_uploaded_between_upload_and_mark_does_not_stay(
    stack: LocalStack, sources: Sources, instance: dg.DagsterInstance
) -> None:
    sources.s3("1.jpg", OLD)
    held = stack.faults.add("latency", operation="PutObject", path="images/1.tif", seconds=HELD, times=1)
    older: list[dg.ExecuteInProcessResult] = []
    with dg.DagsterInstance.ephemeral() as other:
        run = threading.Thread(target=lambda: older.append(make_pyramids(other, ["1.jpg"])))
        run.start()
        while not stack.faults.hits(held):
            time.sleep(0.02)
        change(stack, "1.jpg")
        # The newer run has uploaded, and its mark waits until the older one has uploaded and left.
        marking = stack.faults.add("latency", operation="saveFileLastProcessedDate", seconds=HELD, times=1)

        def let_the_older_one_upload() -> None:
            stack.faults.remove(held)
            run.join(HELD)

        with at(stack, marking, let_the_older_one_upload):
            assert make_pyramids(instance, ["1.jpg"]).success
        assert not run.is_alive()
    assert older[0].success
    assert_is_new(stack, sources, "1.jpg")


def test_an_object_that_holds_other_bytes_than_were_sent_is_not_taken_for_current(
    stack: LocalStack, sources: Sources, instance: dg.DagsterInstance
) -> None:
    sources.s3("1.jpg", OLD)
    reports_of(instance, ["1.jpg"])
    held = stack.s3.get_object(Bucket=layout.IMAGE_BUCKET, Key="1.tif")
    damaged = bytearray(held["Body"].read())
    damaged[len(damaged) // 2] ^= 0xFF
    stack.s3.put_object(
        Bucket=layout.IMAGE_BUCKET,
        Key="1.tif",
        Body=bytes(damaged),
        Metadata=held["Metadata"],
        ContentType=held["ContentType"],
    )
    record = sources.of("1.jpg")
    stack.appsync.put_records([{name: v for name, v in record.items() if name != "dateLastProcessed"}])
    assert reports_of(instance, ["1.jpg"], **DAILY)["1.jpg"].outcome is Outcome.MADE
    whole = stack.s3.get_object(Bucket=layout.IMAGE_BUCKET, Key="1.tif")["Body"].read()
    assert whole != bytes(damaged)


def test_a_key_that_is_refused_in_mid_run_ends_it_with_one_reason(
    stack: LocalStack, sources: Sources, instance: dg.DagsterInstance
) -> None:
    paths = [f"{number}.jpg" for number in range(6)]
    for path in paths:
        sources.s3(path, OLD)
    stack.faults.add("status", status=403, operation="saveFileLastProcessedDate")
    stack.faults.forget_requests()
    result = make_pyramids(instance, paths, files_in_flight=1)
    message = failure_of(result)
    assert message.startswith("6 of 6 files failed: AppSync at ")
    assert message.count("refused the API key") == 1
    assert stack.faults.count("aws")["GetObject"] <= 1 + len(paths), "no more files were begun"
    fetched = [r for r in stack.faults.requests("aws", "GetObject") if "/in/" in r.path]
    assert len(fetched) == 1
    assert set(check_promise(stack, paths, reasons={}).waiting) == set(paths)


def test_the_runs_of_a_day_together_remove_no_more_than_a_day_may(
    stack: LocalStack, sources: Sources, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_REMOVED_A_DAY", "3")
    first, second = ["1.jpg", "2.jpg"], ["3.jpg", "4.jpg"]
    for path in first + second:
        sources.s3(path, None)
    reports = {**reports_of(instance, first), **reports_of(instance, second)}
    assert {reports[path].outcome for path in first} == {Outcome.REMOVED}
    assert {reports[path].code for path in second} == {"removal-fuse"}
    assert "4 files seem gone today" in str(reports["3.jpg"].reason)
    ends = check_promise(stack, first + second, reasons={}, may_be_removed=first)
    assert set(ends.waiting) == set(second)
    monkeypatch.setenv("MAX_REMOVED_A_DAY", "4")
    assert {report.outcome for report in reports_of(instance, second).values()} == {Outcome.REMOVED}


def test_without_a_note_of_it_nothing_is_removed(
    stack: LocalStack, sources: Sources, instance: dg.DagsterInstance
) -> None:
    sources.s3("1.jpg", None)
    stack.faults.add("status", operation="PutObject", path="/removals/")
    reports = reports_of(instance, ["1.jpg"])
    assert reports["1.jpg"].code == "state"
    check_promise(stack, ["1.jpg"], reasons=reasons_of(["1.jpg"], reports))


def test_a_thread_that_dies_costs_its_file_and_every_file_is_accounted_for(
    stack: LocalStack, sources: Sources, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [f"{number}.jpg" for number in range(3)]
    for path in paths:
        sources.s3(path, OLD)
    process = FilePipeline.process

    def dying(pipeline: FilePipeline, job: Job) -> FileReport:
        if job.file_path == "1.jpg":
            raise SystemExit
        return process(pipeline, job)

    monkeypatch.setattr(FilePipeline, "process", dying)
    reports = reports_of(instance, paths, files_in_flight=1)
    assert {path: report.code for path, report in reports.items()} == {
        "0.jpg": None,
        "1.jpg": "unexpected",
        "2.jpg": None,
    }
    assert set(check_promise(stack, paths, reasons=reasons_of(paths, reports)).waiting) == {"1.jpg"}


def test_ids_that_differ_in_case_or_folder_only_never_mix(
    stack: LocalStack, sources: Sources, instance: dg.DagsterInstance, work: Path
) -> None:
    # AppSync keeps ids that differ in case as one record; a partition of each may be known from before.
    sources.s3("a/X.jpg", OLD)
    sources.s3("b/X.jpg", NEW)
    reports = reports_of(instance, ["a/X.jpg", "A/x.JPG", "b/X.jpg"])
    assert {report.outcome for report in reports.values()} <= {Outcome.MADE, Outcome.CURRENT}
    assert check_promise(stack, ["a/X.jpg", "b/X.jpg"]).published == {"a/X.jpg", "b/X.jpg"}
    assert sources.picture_in_bucket("a/X.tif").size == (90, 70)
    assert sources.picture_in_bucket("b/X.tif").size == (120, 80)
    keys = {i["Key"] for i in stack.s3.list_objects_v2(Bucket=layout.IMAGE_BUCKET)["Contents"]}
    assert keys == {"a/X.tif", "b/X.tif"}
