"""The production instance's configuration, without a database or AWS."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.instance.config import dagster_instance_config
from dagster._core.instance.ref import InstanceRef
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._grpc.types import ExecuteRunArgs
from sqlalchemy.engine import make_url

from marble_images.definitions import defs
from marble_images_tests.deploy.test_image import spot_home

PROJECT = Path(__file__).resolve().parents[2]

LARGEST_OVERRIDES = 8192


def homes(tmp_path: Path) -> list[Path]:
    """The two homes that the image has."""
    instance = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    made = []
    for name, config in (("plain", instance), ("spot", spot_home.with_spot(instance))):
        home = tmp_path / name
        home.mkdir()
        (home / "dagster.yaml").write_text(yaml.safe_dump(config))
        made.append(home)
    return made


def test_it_is_what_dagster_takes(tmp_path: Path) -> None:
    for home in homes(tmp_path):
        config, custom = dagster_instance_config(str(home))
        assert custom is None
        assert config["telemetry"] == {"enabled": False}
        assert config["freshness"] == {"enabled": True}


def test_no_value_that_differs_between_deployments_is_in_it() -> None:
    text = re.sub(r"#.*", "", (PROJECT / "dagster.yaml").read_text())
    assert not re.search(r"\d{12}|amazonaws|arn:|subnet-|password: [^{]", text)


def test_the_database_driver_is_one_that_is_installed() -> None:
    """SQLAlchemy's own choice for plain `postgresql` is another than dagster-postgres brings."""
    config = yaml.safe_load((PROJECT / "dagster.yaml").read_text())["storage"]["postgres"]["postgres_db"]
    url = make_url(f"{config['scheme']}://user:password@127.0.0.1/dagster")
    assert url.get_dialect().import_dbapi().__name__ == "psycopg2"


def test_backfills_leave_room_for_the_day() -> None:
    limits = yaml.safe_load((PROJECT / "dagster.yaml").read_text())["concurrency"]
    pool, runs = limits["pools"]["default_limit"], limits["runs"]
    for limit in runs["tag_concurrency_limits"]:
        assert limit["limit"] < pool
    assert runs["max_concurrent_runs"] > pool + max(x["limit"] for x in runs["tag_concurrency_limits"])


def test_the_workspace_takes_its_address_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_CODE_SERVER_HOST", "code.internal")
    monkeypatch.setenv("DAGSTER_CODE_SERVER_PORT", "4000")
    (origin,) = WorkspaceFileTarget(paths=[str(PROJECT / "workspace.yaml")]).create_origins()
    found: Any = origin
    assert (found.host, found.port, found.location_name) == ("code.internal", 4000, "marble_images")


@pytest.mark.parametrize("name", ["x" * 255, None], ids=["longest possible", "our longest"])
def test_the_longest_command_fits_into_what_ecs_allows(tmp_path: Path, name: str | None) -> None:
    """Names of partitions are not in it: they are tags of the run, in the database."""
    longest = name or max((job.name for job in defs.resolve_all_job_defs()), key=len)
    for home in homes(tmp_path):
        origin = JobPythonOrigin(
            longest,
            RepositoryPythonOrigin(
                executable_path="/opt/marble-images/bin/python",
                code_pointer=ModuleCodePointer("marble_images.definitions", "defs", "/var/lib/marble-images"),
                container_image="123456789012.dkr.ecr.us-gov-west-1.amazonaws.com/" + "x" * 256,
                entry_point=["dagster"],
                container_context={},
            ),
        )
        asked = ExecuteRunArgs(
            job_origin=origin,
            run_id="01234567-89ab-cdef-0123-456789abcdef",
            instance_ref=InstanceRef.from_dir(str(home)),
        )
        overrides = {"containerOverrides": [{"name": "run", "command": asked.get_command_args()}]}
        assert len(json.dumps(overrides)) < LARGEST_OVERRIDES
