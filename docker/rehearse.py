"""Run the Dockerfile's steps without a container engine: ``rehearse.py FOLDER [--keep]``.

Each stage gets a fresh Debian in a folder (debootstrap) with Debian's own Python 3.11 in the place of the
base image's; each instruction is done there as the engine would do it. It shows that every step succeeds,
that the packages resolve and that what is copied is there; not what the base image itself holds.

Needs root, debootstrap, and the package indexes. Takes a few minutes and 2 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]

SUITE = "bookworm"
PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv")

# What an engine hands to its steps of this machine: how to reach the package index, and nothing else.
PASSED_ON = ("PIP_CERT", "PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "http_proxy", "https_proxy", "no_proxy")

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def instructions(dockerfile: str) -> Iterator[tuple[str, str]]:
    """The instructions of a Dockerfile in order: name and argument, with lines joined."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            name, _, argument = line.strip().partition(" ")
            yield name.upper(), argument.strip()


def context_files() -> set[str]:
    """The files of the build context: what .dockerignore lets through."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    rules = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    return {path for path in listed if not is_ignored(path, rules)}


def is_ignored(path: str, rules: list[str]) -> bool:
    """Whether the rules of a .dockerignore leave a file out; the last that matches decides."""
    ignored = False
    for rule in rules:
        pattern = rule.removeprefix("!").rstrip("/")
        translated = re.escape(pattern)
        for glob, meant in ((r"\*\*/", "(.*/)?"), (r"\*\*", ".*"), (r"\*", "[^/]*")):
            translated = translated.replace(glob, meant)
        if re.fullmatch(f"{translated}(/.*)?", path):
            ignored = not rule.startswith("!")
    return ignored


class Stage:
    """One stage: a root folder, and the variables and the folder that its steps work with."""

    def __init__(self, root: Path, arguments: Mapping[str, str]) -> None:
        self.root = root
        self.environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
        }
        self._arguments = dict(arguments)
        self.folder = "/"
        self.user = ""
        self.command: list[str] = []

    def expand(self, text: str) -> str:
        """Text with the stage's variables in it replaced."""
        known = {**self._arguments, **self.environment}
        return re.sub(r"\$\{(\w+)\}|\$(\w+)", lambda m: known.get(m[1] or m[2], ""), text)

    def do(self, name: str, argument: str, stages: Mapping[str, Stage], context: set[str]) -> None:
        """Do one instruction."""
        if name == "ARG":
            key, _, value = argument.partition("=")
            self._arguments.setdefault(key, value)
        elif name == "ENV":
            for word in shlex.split(argument):
                key, _, value = word.partition("=")
                self.environment[key] = self.expand(value)
        elif name == "WORKDIR":
            self.folder = self.expand(argument)
            (self.root / self.folder[1:]).mkdir(parents=True, exist_ok=True)
        elif name == "USER":
            self.user = argument
        elif name == "COPY":
            self._copy(shlex.split(argument), stages, context)
        elif name == "RUN":
            self.run(["/bin/sh", "-c", argument])
        elif name == "CMD":
            self.command = json.loads(argument)

    def run(self, command: list[str], extra: Mapping[str, str] | None = None) -> None:
        """Run a command in the stage's root, as its user."""
        ids = self.user.split(":")
        as_user = [f"--userspec={self.user}"] if len(ids) == 2 else []
        passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        inside = ["/bin/sh", "-c", f'cd {shlex.quote(self.folder)} && exec "$@"', "sh", *command]
        subprocess.run(  # noqa: S603
            ["chroot", *as_user, str(self.root), *inside],  # noqa: S607
            env={**passed, **self.environment, **(extra or {})},
            check=True,
        )

    def _copy(self, words: list[str], stages: Mapping[str, Stage], context: set[str]) -> None:
        options = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))
        *sources, target = [self.expand(word) for word in words if not word.startswith("--")]
        into = self.root / os.path.join(self.folder, target).lstrip("/")  # noqa: PTH118
        for source in sources:
            if "from" in options:
                _copy(stages[options["from"]].root / source.lstrip("/"), into)
                continue
            found = [path for path in context if path == source or path.startswith(f"{source}/")]
            if not found:
                raise SystemExit(f"COPY {source}: .dockerignore leaves nothing of it")
            for path in found:
                inside = path.removeprefix(source).lstrip("/")
                folder = target.endswith("/")
                _copy(
                    PROJECT / path, into / inside if inside else (into / Path(path).name if folder else into)
                )
        if "chmod" in options:
            into.chmod(int(options["chmod"], 8))


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def base(root: Path, template: Path) -> None:
    """A fresh root in the place of the base image."""
    subprocess.run(["cp", "--archive", str(template), str(root)], check=True)  # noqa: S603, S607


def why_not() -> str | None:
    """Why this cannot be done here, if it cannot."""
    if os.geteuid() != 0:
        return "the rehearsal changes its root, which only root may"
    return None if shutil.which("debootstrap") else "debootstrap is missing: apt-get install debootstrap"


def make_template(root: Path) -> None:
    """A minimal Debian with its Python where the base image has its own."""
    included = ",".join(PACKAGES)
    subprocess.run(  # noqa: S603
        ["debootstrap", "--variant=minbase", f"--include={included}", SUITE, str(root)],  # noqa: S607
        check=True,
    )
    for name, real in (("python", "python3"), ("python3", "python3"), ("pip", "pip3")):
        (root / "usr/local/bin" / name).symlink_to(f"/usr/bin/{real}")
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    # A machine behind a proxy has certificates of its own.
    shutil.copy(CERTIFICATES, root / CERTIFICATES.relative_to("/"))


def rehearse(folder: Path) -> Stage:
    """Do the whole Dockerfile; the last stage."""
    template = folder / "template"
    make_template(template)
    context = context_files()
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for name, argument in instructions((PROJECT / "Dockerfile").read_text()):
        print(f"--- {name} {argument}", flush=True)  # noqa: T201
        if name == "FROM":
            _, _, alias = argument.partition(" AS ")
            root = folder / f"stage-{len(stages)}"
            base(root, template)
            stage = Stage(root, {})
            stages[alias or str(len(stages))] = stage
        elif stage is None:
            key, _, value = argument.partition("=")
            arguments[key] = value
        else:
            stage.do(name, argument, stages, context)
    if stage is None:
        raise SystemExit("the Dockerfile has no stage")
    return stage


def main() -> int:
    """Rehearse, and try what came out."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("folder", type=Path, help="an empty folder for the stages")
    parser.add_argument("--keep", action="store_true", help="leave the stages there")
    asked = parser.parse_args()
    if reason := why_not():
        parser.error(reason)
    asked.folder.mkdir(parents=True, exist_ok=True)
    try:
        image = rehearse(asked.folder.resolve())
        for command in TRIALS:
            print(f"--- try: {' '.join(command)}", flush=True)  # noqa: T201
            image.run([*command])
    finally:
        if not asked.keep:
            shutil.rmtree(asked.folder, ignore_errors=True)
    return 0


_CHECK = """
import importlib.util, pathlib, sys
import imagecodecs, pillow_heif, pypdfium2, psycopg2, pyvips
import marble_images.definitions as definitions
assert pyvips.at_least_libvips(8, 17), pyvips.version(0)
assert definitions.defs.resolve_job_def("changed_files_job")
for name in ("moto", "ariadne", "pytest", "hypothesis", "aws_cdk", "pip", "marble_images.local"):
    assert importlib.util.find_spec(name) is None, f"{name} is in the image"
assert pathlib.Path("/opt/dagster/home/dagster.yaml").exists()
assert "FARGATE_SPOT" in pathlib.Path("/opt/dagster/home-spot/dagster.yaml").read_text()
pathlib.Path("written").write_text("the work folder can be written to")
print("libvips", pyvips.version(0), pyvips.version(1), pyvips.version(2), "Python", sys.version.split()[0])
"""

# As the image's user, in its environment.
TRIALS = (
    ["python", "-c", _CHECK],
    ["marble-images", "--help"],
    ["dagster-webserver", "--version"],
    ["dagster-daemon", "--version"],
    ["dagster", "api", "grpc", "--help"],
    ["/opt/dagster/healthcheck", "run"],
)

if __name__ == "__main__":
    sys.exit(main())
