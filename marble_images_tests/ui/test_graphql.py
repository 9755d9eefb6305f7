"""What people do in the UI, through the API that the UI uses: a real server, daemon and code location."""

from __future__ import annotations

from typing import Any

import pytest

from marble_images.local import layout
from marble_images.partitions import partition_key
from marble_images_tests.ui.dev_server import DEMO_FAILED, DevServer, until
from marble_images_tests.ui.workload import NAMELESS, STRANGE, Begun, jpeg, modified, put, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_demos_runs_are_there_and_the_daemon_does_not_do_them_again(ui: DevServer) -> None:
    wait_for(ui, "failed", [DEMO_FAILED])
    assert len(ui.statuses("pyramid_tiffs")["materialized"]) >= 10
    until(lambda: "MATERIALIZED" in ui.days("day_results").values(), "result of the demo's day")
    by_sensor = [run for run in ui.runs() if {"key": "marble/trigger", "value": "command"} in run["tags"]]
    assert sorted(run["jobName"] for run in by_sensor) == ["changed_files_job", "pyramid_tiffs_job"]


def test_after_a_failure_only_what_was_not_made_is_done_again(ui: DevServer) -> None:
    paths = [f"again/{n}.jpg" for n in range(3)]
    put(ui, paths[0], jpeg(1))
    put(ui, paths[1], jpeg(2)[:9000])
    put(ui, paths[2], jpeg(3))
    for path in paths:
        ui.add_key("image_files", path)
    config = {"ops": {"make_pyramids": {"config": {"remake": False, "retry_quarantined": False}}}}
    run = ui.launch((paths[0], paths[-1]), ["pyramid_tiffs"], config=config)
    assert ui.ended(run) == "FAILURE"
    wait_for(ui, "materialized", [paths[0], paths[2]])
    wait_for(ui, "failed", [paths[1]])
    before = [modified(ui, f"again/{n}.tif") for n in (0, 2)]
    put(ui, paths[1], jpeg(2))
    assert ui.ended(ui.again_from_failure(run)) == "SUCCESS"
    wait_for(ui, "materialized", paths)
    assert [modified(ui, f"again/{n}.tif") for n in (0, 2)] == before
    assert modified(ui, "again/1.tif")


def test_files_with_strange_ids_are_made_shown_and_made_again(ui: DevServer) -> None:
    ids = {**STRANGE, **NAMELESS}
    keys = {kind: partition_key(path) for kind, path in ids.items()}
    wait_for(ui, "materialized", STRANGE.values())
    wait_for(ui, "failed", NAMELESS.values())
    assert set(keys.values()) <= set(ui.keys("pyramid_tiffs"))
    before = {kind: ui.history("pyramid_tiffs", key) for kind, key in keys.items()}
    assert {kind: events[0]["file"] for kind, events in before.items()} == ids
    assert set(ui.runs_of(ui.backfill("pyramid_tiffs", list(keys.values())))) <= {"SUCCESS", "FAILURE"}
    wait_for(ui, "materialized", STRANGE.values())
    wait_for(ui, "failed", NAMELESS.values())
    for kind, path in ids.items():
        events = ui.history("pyramid_tiffs", keys[kind])
        assert (kind, len(events), events[0]["file"]) == (kind, len(before[kind]) + 1, path)
        assert events[0]["outcome"] == ("made" if kind in STRANGE else "failed"), kind


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


def test_a_backfill_over_days_is_one_run_and_their_pyramids_follow(ui: DevServer, begun: Begun) -> None:
    assert ui.runs_of(begun.backfill) == ["SUCCESS"]
    wait_for(ui, "materialized", begun.backfilled.paths)
    until(lambda: set(begun.backfilled.days) <= all_days(ui), "results of the days of the backfill")


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
