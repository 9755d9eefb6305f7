"""The image: its Dockerfile, what goes into it, and how it says that it is well."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from license_expression import get_spdx_licensing  # type: ignore[import-untyped]

from marble_images_tests.deploy.synthesis import DEPLOY, PROJECT

sys.path.insert(0, str(DEPLOY))
from marble_stack import tasks

DOCKERFILE = (PROJECT / "Dockerfile").read_text()
LOCK = (PROJECT / "requirements.lock").read_text()

# What may be installed beside Apache-2.0 code and run; see docs/licenses.md.
COMPATIBLE = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "MIT-CMU"),
    *("LGPL-3.0-only", "LGPL-3.0-or-later", "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib"),
}


def load(name: str) -> ModuleType:
    """One of the image's own scripts, as a module."""
    spec = importlib.util.spec_from_file_location(f"docker_{name}", PROJECT / f"docker/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


rehearse, healthcheck, spot_home, licenses = map(load, ("rehearse", "healthcheck", "spot_home", "licenses"))


class TestDockerfile:
    """As the engine will read it."""

    def test_hadolint_finds_nothing(self) -> None:
        hadolint = Path(sys.executable).with_name("hadolint")
        if not hadolint.exists():
            pytest.skip("hadolint is published for Linux on x86-64 only")
        ran = subprocess.run([hadolint, "--failure-threshold", "info", PROJECT / "Dockerfile"], check=False)
        assert ran.returncode == 0

    def test_everything_that_is_copied_is_in_the_context_and_nothing_else_is(self) -> None:
        context = rehearse.context_files()
        copied = set()
        for name, argument in rehearse.instructions(DOCKERFILE):
            words = argument.split()
            if name == "COPY" and not any(word.startswith("--from") for word in words):
                copied |= {word for word in words[:-1] if not word.startswith("--")}
        for path in copied:
            assert path in context or any(found.startswith(f"{path}/") for found in context), path
        assert {
            path for path in context if path.partition("/")[0] not in copied and path not in copied
        } == set()
        assert not [path for path in context if path.startswith("marble_images/local")]

    def test_it_does_not_run_as_root_and_writes_to_one_folder(self) -> None:
        given = dict(rehearse.instructions(DOCKERFILE))
        assert given["USER"] == "10001:10001"
        assert json.loads(given["VOLUME"]) == [tasks.WORK_FOLDER]
        assert "HEALTHCHECK" in given

    def test_the_stack_and_the_image_agree_where_things_are(self) -> None:
        for path in (tasks.WORK_FOLDER, tasks.WORKSPACE, tasks.HOME, tasks.SPOT_HOME, tasks.HEALTHCHECK):
            assert path in DOCKERFILE
        assert f"WORK_FOLDER={tasks.WORK_FOLDER}" in DOCKERFILE
        assert f"DAGSTER_HOME={tasks.HOME}" in DOCKERFILE

    def test_it_runs_the_python_that_the_tests_run(self) -> None:
        version = re.search(r"ARG PYTHON_VERSION=(\d+\.\d+)", DOCKERFILE)
        assert version is not None
        assert licenses.IMAGE["python_version"] == version[1]


class TestProductionInstall:
    """What is in the image besides our code."""

    def test_no_stand_in_and_no_test_library(self) -> None:
        extras = (PROJECT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2]
        named = {
            name.lower()
            for name in re.findall(r'^  "([\w-]+)', extras.partition("[project.scripts]")[0], re.MULTILINE)
        }
        assert {"moto", "ariadne", "pytest", "hypothesis", "aws-cdk-lib"} <= named
        # Dagster's web server and google-auth bring these two by themselves.
        assert named & set(licenses.locked_names(LOCK)) == {"cryptography", "uvicorn"}

    def test_every_license_is_listed_and_compatible(self) -> None:
        page = licenses.page(LOCK)
        assert page == (PROJECT / "docs/licenses.md").read_text()
        parse = get_spdx_licensing().parse
        for name in licenses.locked_names(LOCK):
            keys = {
                key.upper() for key in get_spdx_licensing().license_keys(parse(licenses.license_of(name)))
            }
            assert keys, name
            assert keys <= {known.upper() for known in COMPATIBLE}, name

    @pytest.mark.slow
    def test_no_known_vulnerability_has_a_fix(self) -> None:
        audit = [
            Path(sys.executable).with_name("pip-audit"),
            "--format",
            "json",
            "--no-deps",
            "--disable-pip",
        ]
        ran = subprocess.run(
            [*map(str, audit), "--require-hashes", "--requirement", str(PROJECT / "requirements.lock")],
            capture_output=True,
            text=True,
            check=False,
        )
        if not ran.stdout:
            pytest.skip(f"the vulnerability service cannot be reached: {ran.stderr.strip()[-200:]}")
        found = json.loads(ran.stdout)["dependencies"]
        audited = [package for package in found if "skip_reason" not in package]
        if not audited:
            pytest.skip("the package index here has no vulnerability service")
        fixable = {
            package["name"]: [known["id"] for known in package["vulns"] if known["fix_versions"]]
            for package in audited
        }
        assert {name: known for name, known in fixable.items() if known} == {}


class TestSpotHome:
    """The instance for Fargate Spot."""

    def test_it_differs_in_the_capacity_only(self) -> None:
        instance = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
        spot = spot_home.with_spot(instance)
        strategy = spot["run_launcher"]["config"].pop("run_task_kwargs")["capacityProviderStrategy"]
        assert spot == instance
        assert {provider["capacityProvider"] for provider in strategy} == {"FARGATE", "FARGATE_SPOT"}


class TestHealthcheck:
    """Which check a container needs, and what it says."""

    @pytest.mark.parametrize(
        ("command", "role"),
        [
            (["/opt/marble-images/bin/dagster-webserver", "--host", "0.0.0.0"], "webserver"),
            (["/sbin/docker-init", "--", "dagster-daemon", "run", "--workspace", "w.yaml"], "daemon"),
            (["python", "/opt/marble-images/bin/dagster", "api", "grpc", "--port", "4000"], "code-server"),
            (["dagster", "api", "execute_run", "{}"], "run"),
            (["marble-images", "run"], "run"),
        ],
    )
    def test_it_knows_each_command(self, command: list[str], role: str) -> None:
        assert healthcheck.role(command) == role

    def test_the_images_own_command_is_the_web_servers(self) -> None:
        command = json.loads(dict(rehearse.instructions(DOCKERFILE))["CMD"])
        assert healthcheck.role(command) == "webserver"

    @pytest.mark.parametrize("role", ["webserver", "code-server"])
    def test_a_server_that_is_not_there_is_not_healthy(
        self, role: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        nowhere = "127.0.0.1:1"
        monkeypatch.setattr(healthcheck, "WEBSERVER", nowhere)
        monkeypatch.setattr(healthcheck, "CODE_SERVER", nowhere)
        assert healthcheck.main([role]) == 1
        assert capsys.readouterr().err.startswith(f"healthcheck: {role}: ")


@pytest.mark.parametrize(
    ("rules", "path", "ignored"),
    [
        (["*"], "a/b.py", True),
        (["*", "!a/**"], "a/b.py", False),
        (["*", "!a/**"], "b.py", True),
        (["*", "!a/**", "a/local"], "a/local/x.py", True),
        (["*", "!a/**", "**/__pycache__"], "a/c/__pycache__/x.pyc", True),
        (["*", "!a.yaml"], "b/a.yaml", True),
    ],
)
def test_the_rehearsal_reads_dockerignore_as_the_engine_does(
    rules: list[str], path: str, ignored: bool
) -> None:
    assert rehearse.is_ignored(path, rules) is ignored


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_every_step_of_the_dockerfile_succeeds_on_a_fresh_debian(tmp_path: Path) -> None:
    why_not: Any = rehearse.why_not()
    if why_not:
        pytest.skip(why_not)
    ran = subprocess.run(
        [sys.executable, PROJECT / "docker/rehearse.py", tmp_path / "stages"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    shutil.rmtree(tmp_path / "stages", ignore_errors=True)
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert "libvips 8" in ran.stdout
