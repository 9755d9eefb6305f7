"""The CDK app run as the CDK's own command runs it, and what it made."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
DEPLOY = PROJECT / "deploy"

NO_NODE = "node is missing: the CDK runs on it"
has_node = shutil.which("node") is not None


@dataclass(frozen=True)
class Synthesis:
    """What ``cdk synth`` said and wrote."""

    folder: Path
    status: int
    said: str

    @cached_property
    def path(self) -> Path:
        """The stack's template."""
        (found,) = self.folder.glob("*.template.json")
        return found

    @cached_property
    def template(self) -> dict[str, Any]:
        """The stack's template, read."""
        read: dict[str, Any] = json.loads(self.path.read_text())
        return read

    def resources(self, kind: str) -> dict[str, dict[str, Any]]:
        """The resources of one type, by logical id: their properties."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.template["Resources"].items()
            if resource["Type"] == kind
        }

    def only(self, kind: str, start: str = "") -> tuple[str, dict[str, Any]]:
        """The one resource of a type whose logical id starts so: its id and properties."""
        ((name, properties),) = [
            (name, found) for name, found in self.resources(kind).items() if name.startswith(start)
        ]
        return name, properties

    def start_order(self, kind: str) -> list[set[str]]:
        """The resources of one type in CloudFormation's order; those that it makes at once together."""
        names = set(self.resources(kind))
        resources = self.template["Resources"]
        order = TopologicalSorter(
            {name: names.intersection(resources[name].get("DependsOn", ())) for name in names}
        )
        order.prepare()
        together = []
        while order.is_active():
            ready = order.get_ready()
            together.append({*ready})
            order.done(*ready)
        return together


def synthesize(config: Path, folder: Path) -> Synthesis:
    """Run the app on one deployment; a folder that holds its result already is taken as it is."""
    done = folder / "said.txt"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            process = run_app(config, folder)
            said, _ = process.communicate()
            done.write_text(f"{process.returncode}\n{said}")
    status, _, said = done.read_text().partition("\n")
    return Synthesis(folder, int(status), said)


def synthesize_all(configs: Iterable[Path], parent: Path) -> dict[str, Synthesis]:
    """Run the app on several deployments; processes of one test session share the results."""
    return {config.stem: synthesize(config, parent / f"cdk-{_digest(config)}") for config in configs}


def _digest(config: Path) -> str:
    return hashlib.sha256(config.read_bytes()).hexdigest()[:16]


def run_app(config: Path, folder: Path, before: str = "") -> subprocess.Popen[str]:
    """Start the app in a process of its own, with some code ``before`` it."""
    context = json.loads((DEPLOY / "cdk.json").read_text())["context"]
    return subprocess.Popen(
        [sys.executable, "-c", f"{before}import app, sys; sys.exit(app.main())"],
        cwd=DEPLOY,
        env={
            **os.environ,
            "CDK_CONTEXT_JSON": json.dumps({**context, "config": str(config)}),
            "CDK_OUTDIR": str(folder),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
