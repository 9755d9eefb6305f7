"""A deployment's description is checked before anything is made of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from marble_images_tests.deploy.conftest import EXAMPLES
from marble_images_tests.deploy.synthesis import DEPLOY

sys.path.insert(0, str(DEPLOY))
from marble_stack.deployment import FARGATE_MEMORY, Deployment, DeploymentError

GOOD: dict[str, Any] = json.loads((DEPLOY / "contexts/new.json").read_text())


def load(tmp_path: Path, **changes: Any) -> Deployment:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**GOOD, **changes}))
    return Deployment.load(path)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_good(path: Path) -> None:
    assert Deployment.load(path).account


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ui": {"allowed_cidrs": ["0.0.0.0/0"]}}, "ui.allowed_cidrs.0"),
        ({"ui": {"allowed_cidrs": ["10.0.0.1/16"]}}, "ui.allowed_cidrs.0"),
        ({"account": "123"}, "account"),
        ({"region": "New York"}, "region"),
        ({"image_bucket": "Not A Bucket"}, "image_bucket"),
        ({"graphql_api_url_key_path": "no-slash"}, "graphql_api_url_key_path"),
        ({"network": {}}, "network"),
        ({"network": {"stack": "a", "vpc_id": "b"}}, "network"),
        ({"network": {"vpc_id": "b", "private_subnet_ids": ["c"], "availability_zones": ["d"]}}, "network"),
        ({"run": {"cpu": 2048, "memory_mib": 2048}}, "run"),
        ({"run": {"cpu": 2000}}, "run"),
        ({"run": {"ephemeral_gib": 10}}, "run.ephemeral_gib"),
        ({"kms_key_arns": ["arn:aws:kms:*:*:key/*"]}, "kms_key_arns.0"),
        ({"log_days": 91}, "log_days"),
        ({"imagebucket": "misspelt"}, "imagebucket"),
        ({"schedule_hour": 24}, "schedule_hour"),
        ({"settings": {"STATE_PREFIX": "elsewhere/"}}, "settings.STATE_PREFIX.[key]"),
        ({"settings": {"graphql_api_key": "a secret"}}, "settings.graphql_api_key.[key]"),
    ],
)
def test_a_bad_value_is_named_in_one_line(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(DeploymentError) as caught:
        load(tmp_path, **changes)
    assert f"mine.json: {named}: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match=r"nothing\.json: No such file"):
        Deployment.load(tmp_path / "nothing.json")


@pytest.mark.parametrize("cpu", FARGATE_MEMORY)
def test_the_smallest_and_largest_memory_of_each_size_are_taken(tmp_path: Path, cpu: int) -> None:
    lowest, highest, step = FARGATE_MEMORY[cpu]
    for memory in (lowest, highest):
        assert load(tmp_path, run={"cpu": cpu, "memory_mib": memory}).run.memory_mib == memory
    with pytest.raises(DeploymentError):
        load(tmp_path, run={"cpu": cpu, "memory_mib": highest + step})
