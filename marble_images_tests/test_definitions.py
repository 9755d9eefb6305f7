"""The whole asset graph in one snapshot, so that a change of it shows in review.

After a change that is meant, run these tests with ``UPDATE_SNAPSHOTS=1`` in the environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from marble_images.definitions import defs
from marble_images.settings import Settings

SNAPSHOT = Path(__file__).with_name("asset_graph.json")


def asset_graph() -> dict[str, Any]:
    repository = defs.get_repository_def()
    graph = repository.asset_graph
    assets = {
        node.key.to_user_string(): {
            "parents": sorted(parent.to_user_string() for parent in node.parent_keys),
            "partitions": str(node.partitions_def),
            "backfill": str(node.backfill_policy),
            "group": node.group_name,
            "kinds": sorted(node.kinds),
            "owners": sorted(node.owners),
            "tags": {k: v for k, v in node.tags.items() if not k.startswith("dagster/")},
            "code version": node.code_version,
            "has description": bool(node.description),
            "freshness": str(node.freshness_policy) if node.freshness_policy else None,
            "checks": sorted(key.name for key in node.check_keys),
        }
        for node in graph.asset_nodes
    }
    jobs = sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__"))
    schedules = {
        s.name: [s.cron_schedule, s.execution_timezone, s.job_name] for s in repository.schedule_defs
    }
    sensors = {s.name: s.default_status.value for s in repository.sensor_defs}
    resources = sorted(repository.get_top_level_resources())
    graph_shown = {
        "assets": assets,
        "jobs": jobs,
        "schedules": schedules,
        "sensors": sensors,
        "resources": resources,
    }
    return dict(json.loads(json.dumps(graph_shown, sort_keys=True)))


def test_the_asset_graph_is_the_one_that_was_reviewed() -> None:
    shown = asset_graph()
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(json.dumps(shown, indent=2, sort_keys=True) + "\n")
    assert shown == json.loads(SNAPSHOT.read_text())


def test_every_asset_has_a_description_owners_kinds_and_a_group() -> None:
    for asset in asset_graph()["assets"].values():
        assert asset["has description"]
        assert asset["owners"]
        assert asset["kinds"]
        assert asset["group"] == "marble_images"


@pytest.mark.parametrize("with_settings", [False, True])
def test_dagster_finds_the_definitions_valid_with_and_without_settings(
    with_settings: bool, tmp_path: Path
) -> None:
    ours = {name.upper() for name in Settings.model_fields}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment["DAGSTER_HOME"] = str(tmp_path)
    if with_settings:
        environment |= {
            "IMAGE_BUCKET": "images",
            "STATE_BUCKET": "state",
            "GRAPHQL_API_URL_KEY_PATH": "/all/url",
            "GRAPHQL_API_KEY_KEY_PATH": "/all/key",
        }
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-m", "marble_images.definitions"]
    checked = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "Validation successful" in checked.stderr + checked.stdout


def test_the_jobs_take_the_configuration_that_the_launchpad_offers() -> None:
    for name, op, config in (
        ("changed_files_job", "changed_files", {"remake": True}),
        ("pyramid_tiffs_job", "make_pyramids", {"remake": False, "profile": "jpeg", "files_in_flight": 4}),
    ):
        job = defs.resolve_job_def(name)
        assert dg.validate_run_config(job, {"ops": {op: {"config": config}}})
        assert dg.validate_run_config(job)
