"""What people do in the UI, through the API that the UI uses: a real server, daemon and code location."""

from __future__ import annotations

import io
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from PIL import Image

from marble_images.days import ZONE, day_of
from marble_images.local import layout
from marble_images.partitions import partition_key
from marble_images_tests.ui.dev_server import DEMO_FAILED, DevServer, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def jpeg(shade: int = 90) -> bytes:
    rng = np.random.default_rng(shade)
    pixels = rng.integers(0, 255, (300, 400, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def put(ui: DevServer, path: str, content: bytes, added: datetime | None = None) -> None:
    key = f"in/{partition_key(path)}"
    ui.stack.s3.put_object(Bucket=layout.SOURCE_BUCKET, Key=key, Body=content)
    moment = (added or datetime.now(timezone.utc)).astimezone(timezone.utc).replace(tzinfo=None)
    ui.stack.appsync.put_records(
        [
            {
                "id": path,
                "filePath": path,
                "sourceType": "S3",
                "sourceBucketName": layout.SOURCE_BUCKET,
                "sourceFilePath": key,
                "dateAddedToDynamo": moment.isoformat(),
            }
        ]
    )


def list_today(ui: DevServer) -> None:
    assert ui.ended(ui.launch(day_of(datetime.now(timezone.utc)), ["changed_files"])) == "SUCCESS"


def wait_for(ui: DevServer, status: str, paths: Iterable[str]) -> None:
    keys = {partition_key(path) for path in paths}
    until(lambda: keys <= ui.statuses("pyramid_tiffs")[status], f"{status} state of {keys}")


def wait_for_history(ui: DevServer, path: str, length: int) -> list[dict[str, str]]:
    """The events of a file's partition, once there are so many."""
    key = partition_key(path)

    def events() -> list[dict[str, str]] | None:
        found = ui.history("pyramid_tiffs", key)
        return found if len(found) >= length else None

    return until(events, f"event no. {length} of {path}")


def modified(ui: DevServer, key: str) -> Any:
    return ui.stack.s3.head_object(Bucket=layout.IMAGE_BUCKET, Key=key)["LastModified"], (
        ui.stack.s3.head_object(Bucket=layout.IMAGE_BUCKET, Key=key)["Metadata"]["marble-upload"]
    )


def test_the_demos_runs_are_there_and_the_daemon_does_not_do_them_again(ui: DevServer) -> None:
    wait_for(ui, "failed", [DEMO_FAILED])
    assert len(ui.statuses("pyramid_tiffs")["materialized"]) >= 10
    until(lambda: "MATERIALIZED" in ui.days("day_results").values(), "result of the demo's day")
    by_sensor = [run for run in ui.runs() if {"key": "marble/trigger", "value": "command"} in run["tags"]]
    assert sorted(run["jobName"] for run in by_sensor) == ["changed_files_job", "pyramid_tiffs_job"]


def test_after_a_failure_only_what_was_not_made_is_done_again(ui: DevServer) -> None:
    # Their range stands between no others, so they share one run.
    paths = [f"AAA/{n}.jpg" for n in range(3)]
    put(ui, paths[0], jpeg(1))
    put(ui, paths[1], jpeg(2)[:9000])
    put(ui, paths[2], jpeg(3))
    list_today(ui)
    wait_for(ui, "materialized", [paths[0], paths[2]])
    wait_for(ui, "failed", [paths[1]])
    failed = next(
        run
        for run in ui.runs(statuses=["FAILURE"])
        if {"key": "dagster/asset_partition_range_start", "value": paths[0]} in run["tags"]
    )
    before = [modified(ui, f"AAA/{n}.tif") for n in (0, 2)]
    put(ui, paths[1], jpeg(2))
    assert ui.ended(ui.again_from_failure(failed["runId"])) == "SUCCESS"
    wait_for(ui, "materialized", paths)
    assert [modified(ui, f"AAA/{n}.tif") for n in (0, 2)] == before
    assert modified(ui, "AAA/1.tif")


STRANGE = {
    "dots": "kinds/x...y.jpg",
    "a comma": "kinds/a,b.jpg",
    "brackets": "kinds/a[1](2){3}.jpg",
    "blanks": "kinds/a  b .jpg",
    "200 characters": "kinds/" + "n" * 190 + ".jpg",
    "another script": "kinds/ссылка/файл.jpg",
    "accents": "kinds/na\u0308ive-é.jpg",
    "percents": "kinds/100%20done%.jpg",
    "quotes and marks": 'kinds/it\'s "quoted" & <b>|*?#;:.jpg',
    "a range": "[a...b].jpg",
    "all": "kinds/a, b [1]/x...y é %2C.jpg",
}
NAMELESS = {"line breaks": "kinds/two\nlines\r\n.jpg", "a folder": "kinds/folder/"}


def test_files_with_strange_ids_are_made_shown_and_made_again(ui: DevServer) -> None:
    ids = {**STRANGE, **NAMELESS}
    keys = {kind: partition_key(path) for kind, path in ids.items()}
    for path in ids.values():
        put(ui, path, jpeg())
    list_today(ui)
    wait_for(ui, "materialized", STRANGE.values())
    wait_for(ui, "failed", NAMELESS.values())
    assert set(keys.values()) <= set(ui.keys("pyramid_tiffs"))
    before = {kind: ui.history("pyramid_tiffs", key) for kind, key in keys.items()}
    assert {kind: events[0]["file"] for kind, events in before.items()} == ids
    statuses = ui.runs_of(ui.backfill("pyramid_tiffs", list(keys.values())))
    assert set(statuses) <= {"SUCCESS", "FAILURE"}
    wait_for(ui, "materialized", STRANGE.values())
    wait_for(ui, "failed", NAMELESS.values())
    for kind, key in keys.items():
        events = ui.history("pyramid_tiffs", key)
        assert (kind, len(events)) == (kind, len(before[kind]) + 1)
        assert events[0]["outcome"] == ("made" if kind in STRANGE else "failed"), kind
    forget(ui, NAMELESS.values())


def forget(ui: DevServer, paths: Iterable[str]) -> None:
    """Take files off the queue that would fail in each list of the tests that follow."""
    for path in paths:
        ui.stack.appsync.remove(path)


CHECKS = """
query($asset: AssetKeyInput!) { assetNodeOrError(assetKey: $asset) { ... on AssetNode {
  assetChecksOrError { ... on AssetChecks { checks { name } } } } } }
"""
EVALUATIONS = """
query($asset: AssetKeyInput!, $check: String!) {
  assetCheckExecutions(assetKey: $asset, checkName: $check, limit: 50) {
    runId status evaluation { success partition description } } }
"""


def evaluation(ui: DevServer, check: str, run_id: str) -> dict[str, Any]:
    found = ui.ask(EVALUATIONS, asset={"path": ["pyramid_tiffs"]}, check=check)["assetCheckExecutions"]
    (one,) = [execution["evaluation"] for execution in found if execution["runId"] == run_id]
    return dict(one)


def test_the_checks_alone_look_at_the_published_pyramid_again(ui: DevServer) -> None:
    key = "BlueMarble/world/bmng-001.jpg"
    names = ["pyramid_is_valid", "bucket_holds_what_was_made", "copyright_box_holds"]
    checks = [("pyramid_tiffs", name) for name in names]
    run = ui.launch(key, [], checks)
    assert ui.ended(run) == "SUCCESS"
    found = [evaluation(ui, name, run) for name in names]
    assert [one["success"] for one in found] == [True] * 3
    assert found[0]["description"] == "Every tile was downloaded and read."
    pyramid = "BlueMarble/world/bmng-001.tif"
    held = ui.stack.s3.get_object(Bucket=layout.IMAGE_BUCKET, Key=pyramid)
    whole = held["Body"].read()
    copy = {"Bucket": layout.IMAGE_BUCKET, "Key": pyramid, "ContentType": held["ContentType"]}
    try:
        cut = whole[: len(whole) // 2]
        ui.stack.s3.put_object(**copy, Body=cut, Metadata=held["Metadata"])
        run = ui.launch(key, [], checks)
        assert ui.ended(run) == "SUCCESS"
        found = [evaluation(ui, name, run) for name in names]
        assert [one["success"] for one in found] == [False, False, True]
        assert "bytes is" in found[1]["description"]
    finally:
        ui.stack.s3.put_object(**copy, Body=whole, Metadata=held["Metadata"])


def test_a_backfill_over_days_is_one_run_and_their_pyramids_follow(ui: DevServer) -> None:
    start = datetime.now(ZONE) - timedelta(days=20)
    days = [day_of(start + timedelta(days=n)) for n in range(3)]
    paths = [f"backfill/{n}.jpg" for n in range(3)]
    for n, path in enumerate(paths):
        put(ui, path, jpeg(n), start + timedelta(days=n))
    backfill = ui.backfill("changed_files", days)
    wait_for(ui, "materialized", paths)
    tags = [{"key": "dagster/backfill", "value": backfill}]
    (run,) = ui.runs(tags=tags)
    assert run["status"] == "SUCCESS"
    until(lambda: set(days) <= all_days(ui), "results of the days of the backfill")


def all_days(ui: DevServer) -> set[str]:
    query = """query($asset: AssetKeyInput!) { assetNodeOrError(assetKey: $asset) { ... on AssetNode {
        assetMaterializations { partition } } } }"""
    found = ui.ask(query, asset={"path": ["day_results"]})["assetNodeOrError"]["assetMaterializations"]
    return {event["partition"] for event in found}


STALE = """
query($asset: AssetKeyInput!, $key: String!) { assetNodeOrError(assetKey: $asset) { ... on AssetNode {
  staleStatus(partition: $key) staleCauses(partition: $key) { reason } } } }
"""


def test_a_pyramid_is_current_whatever_lists_are_made_later(ui: DevServer) -> None:
    found = ui.ask(STALE, asset={"path": ["pyramid_tiffs"]}, key="Relief/world/shaded-relief-001.jpg")
    assert found["assetNodeOrError"] == {"staleStatus": "FRESH", "staleCauses": []}
