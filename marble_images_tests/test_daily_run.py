from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from marble_images.daily_run import DayFailed, dagster_instance, run_day
from marble_images.days import day_of
from marble_images.errors import SettingsError
from marble_images.interrupts import ended_by_signals
from marble_images.local import layout
from marble_images.local.stack import LocalStack
from marble_images.models import FileReport, Outcome
from marble_images_tests.assets.pipeline_run import list_days, materialized
from marble_images_tests.assets.test_pyramid_tiffs import Queue, jpeg


@pytest.fixture
def instance(
    stack: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("WORK_FOLDER", str(tmp_path / "work"))
    monkeypatch.setenv("GONE_PAUSE", "0.05")
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def queue(stack: LocalStack) -> Queue:
    return Queue(stack)


def test_a_day_is_listed_asked_for_and_made_and_every_file_is_accounted_for(
    instance: dg.DagsterInstance, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILES_PER_RUN", "3")
    for number in range(5):
        queue.s3(f"good/{number}.jpg", jpeg())
    queue.s3("good/gone.jpg", None)
    queue.s3("text.jpg", b"no image")
    told: list[FileReport] = []
    result = run_day(instance=instance, on_report=told.append)
    assert result.day == day_of(datetime.now(timezone.utc))
    assert result.summary.listed == 7
    assert {outcome: n for outcome, n in result.summary.counts.items() if n} == {
        Outcome.MADE: 5,
        Outcome.REMOVED: 1,
        Outcome.FAILED: 1,
    }
    assert not result.all_well
    assert sorted(report.file_path for report in told) == sorted(r.file_path for r in result.summary.reports)
    assert materialized(instance, "pyramid_tiffs") == {f"good/{number}.jpg" for number in range(5)}


def test_a_second_run_of_a_day_finds_only_what_still_waits(
    instance: dg.DagsterInstance, queue: Queue
) -> None:
    queue.s3("good.jpg", jpeg())
    queue.s3("text.jpg", b"no image")
    run_day(instance=instance)
    again = run_day(instance=instance)
    assert [(r.file_path, r.outcome) for r in again.summary.reports] == [("text.jpg", Outcome.FAILED)]


def test_a_list_that_cannot_be_made_is_one_line(stack: LocalStack, instance: dg.DagsterInstance) -> None:
    with (
        stack.faults.on("status", service="appsync", status=403),
        pytest.raises(DayFailed, match="API key") as caught,
    ):
        run_day(instance=instance)
    assert "\n" not in caught.value.reason


@pytest.mark.parametrize("day", ["yesterday", "2026-02-30", "2020-12-31", "2999-01-01"])
def test_a_day_that_has_no_list_is_refused(day: str, instance: dg.DagsterInstance) -> None:
    with pytest.raises(SettingsError, match=day):
        run_day(day, instance=instance)


def signal_at(instance: dg.DagsterInstance, event: str, number: signal.Signals) -> list[str]:
    """Let a signal come to this process as Dagster records the first event of a type; all of their types."""
    seen: list[str] = []
    as_dagster_records = instance.handle_new_event

    def record(entry: dg.EventLogEntry, **options: Any) -> Any:
        if entry.is_dagster_event:
            seen.append(entry.get_dagster_event().event_type_value)
            if seen[-1] == event and seen.count(event) == 1:
                os.kill(os.getpid(), number)
        return as_dagster_records(entry, **options)

    vars(instance)["handle_new_event"] = record
    return seen


@pytest.mark.parametrize(
    ("event", "number"),
    [
        ("PIPELINE_START", signal.SIGINT),
        ("RESOURCE_INIT_SUCCESS", signal.SIGTERM),
        ("STEP_START", signal.SIGHUP),
        ("STEP_SUCCESS", signal.SIGINT),
        ("PIPELINE_SUCCESS", signal.SIGTERM),
    ],
)
def test_a_signal_at_any_moment_of_a_run_ends_the_day_before_its_next(
    event: str, number: signal.Signals, instance: dg.DagsterInstance, queue: Queue
) -> None:
    queue.s3("1.jpg", jpeg())
    seen = signal_at(instance, event, number)
    with pytest.raises(KeyboardInterrupt), ended_by_signals():
        run_day(instance=instance)
    assert seen.count("PIPELINE_START") == 1
    assert queue.of("1.jpg").get("dateLastProcessed") is None


def test_a_signal_between_the_list_and_the_runs_ends_the_day(
    instance: dg.DagsterInstance, queue: Queue
) -> None:
    queue.s3("1.jpg", jpeg())
    with pytest.raises(KeyboardInterrupt), ended_by_signals():
        run_day(instance=instance, on_listed=lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert len(instance.get_runs()) == 1


def test_the_instance_of_a_command_without_a_home_is_swept_with_the_work_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("WORK_FOLDER", str(tmp_path / "work"))
    with dagster_instance() as instance:
        home = Path(instance.root_directory)
        assert tmp_path / "work" in home.parents
    assert not home.exists()


def command(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "marble_images.cli", *arguments],
        env={"PATH": os.environ["PATH"], "GONE_PAUSE": "0.05", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_needs_five_variables_and_no_account_for_servers_on_this_machine(
    stack: LocalStack, queue: Queue, tmp_path: Path
) -> None:
    queue.s3("a/1.jpg", jpeg())
    done = command(
        ["run"],
        {
            "GRAPHQL_API_URL": stack.appsync.url,
            "GRAPHQL_API_KEY": stack.appsync.api_key,
            "IMAGE_BUCKET": layout.IMAGE_BUCKET,
            "STATE_BUCKET": layout.STATE_BUCKET,
            "AWS_ENDPOINT_URL": stack.url("aws"),
            "HOME": str(tmp_path),
            "AWS_EC2_METADATA_DISABLED": "true",
        },
    )
    assert done.returncode == 0, done.stderr
    assert "1 listed = 1 made" in done.stdout
    assert queue.of("a/1.jpg")["dateLastProcessed"]


def test_the_command_says_with_its_exit_status_that_a_file_failed(stack: LocalStack, queue: Queue) -> None:
    queue.s3("text.jpg", b"no image")
    done = command(["run"], stack.environment)
    assert done.returncode == 3, done.stderr
    assert "text.jpg" in done.stdout


def test_the_command_names_a_missing_setting_in_one_line() -> None:
    done = command(["run"], {"IMAGE_BUCKET": "images"})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("marble-images: STATE_BUCKET is not set (bucket of the day lists")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IMAGE_BUCKET", "there-is-no-such-bucket"),
        ("STATE_BUCKET", "there-is-no-such-bucket"),
        ("PROFILE", "jpg"),
        ("WORK_FOLDER", "/dev/null/work"),
        ("FIRST_DAY", "yesterday"),
        ("GRAPHQL_API_URL", "appsync"),
        ("DAGSTER_HOME", "/dev/null"),
    ],
)
def test_the_command_ends_in_one_line_when_a_setting_makes_a_day_impossible(
    stack: LocalStack, queue: Queue, name: str, value: str
) -> None:
    queue.s3("1.jpg", jpeg())
    done = command(["run"], {**stack.environment, name: value})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("marble-images: ")
    assert name in line
    assert queue.of("1.jpg").get("dateLastProcessed") is None


def test_a_home_with_an_unreadable_configuration_is_one_line(stack: LocalStack, tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("storage: [")
    done = command(["run"], {**stack.environment, "DAGSTER_HOME": str(tmp_path)})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("marble-images: DAGSTER_HOME cannot be used: ")


def test_a_key_that_is_refused_in_mid_run_is_one_error_and_no_further_run_is_begun(
    stack: LocalStack, queue: Queue
) -> None:
    for number in range(6):
        queue.s3(f"{number}.jpg", jpeg())
    stack.faults.add("status", service="appsync", operation="saveFileLastProcessedDate", status=401)
    done = command(
        ["run"], {**stack.environment, "FILES_PER_RUN": "2", "TRANSFERS": "1", "CONVERSION_PROCESSES": "1"}
    )
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("marble-images: AppSync at ")
    assert "refused the API key" in line
    assert "6 listed = 0 made" in done.stdout
    assert stack.faults.count("appsync")["saveFileLastProcessedDate"] == 1


def test_lists_that_others_make_meanwhile_are_left_to_them(
    instance: dg.DagsterInstance, queue: Queue
) -> None:
    queue.s3("mine.jpg", jpeg())

    def another_process_lists(_: object) -> None:
        queue.s3("theirs.jpg", jpeg())
        list_days(instance, day_of(datetime.now(timezone.utc)))

    result = run_day(instance=instance, on_listed=another_process_lists)
    outcomes = {report.file_path: report.outcome for report in result.summary.reports}
    # The newest list is the one that counts; both runs of it, theirs and ours, may make what is new.
    assert outcomes == {"mine.jpg": Outcome.MADE, "theirs.jpg": Outcome.MADE}
    assert result.summary.listed == 2
    assert len(instance.get_runs()) == 3


def test_the_real_queues_records_are_each_listed_once(
    stack: LocalStack, instance: dg.DagsterInstance
) -> None:
    # In the manner of the real queue's: a folder, line breaks, doubled ids, sizes kept as text.
    ids = ["zp38w953p3c/r494vh57780/PO_005069928-0014.tif", "digital/civil_war/diaries_journals/arthur/"]
    ids += ["digital/a\nb.tif", "ArchivesSpace/MSH-LAT_0001/TIFF/MSH-LAT_001-129-0011.tif"]
    stack.appsync.put_records(
        [
            {
                "id": path,
                "filePath": path,
                "sourceType": "Curate",
                "sourceUri": "https://127.0.0.1:1/refused",
                "size": "3670016",
                "dateAddedToDynamo": "2021-04-06T06:09:29.753584",
            }
            for path in ids
        ]
    )
    result = run_day(instance=instance)
    assert sorted(file.file_path for file in result.files) == sorted(ids)
    assert result.summary.counts[Outcome.FAILED] == len(ids)
    reasons = {report.file_path: report.reason or "" for report in result.summary.reports}
    assert "cannot name an object" in reasons["digital/a\nb.tif"]
    assert all(reasons.values())


def test_the_stored_report_of_a_run_names_every_file(
    stack: LocalStack, instance: dg.DagsterInstance, queue: Queue
) -> None:
    queue.s3("1.jpg", jpeg())
    result = run_day(instance=instance)
    found = stack.s3.list_objects_v2(Bucket=layout.STATE_BUCKET, Prefix=f"marble-images/runs/{result.day}/")
    (item,) = found["Contents"]
    report = json.loads(stack.s3.get_object(Bucket=layout.STATE_BUCKET, Key=item["Key"])["Body"].read())
    assert report["counts"]["made"] == 1
    assert [file["file_path"] for file in report["files"]] == ["1.jpg"]
