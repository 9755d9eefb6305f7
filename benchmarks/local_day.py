"""A local stack filled with files, and a day of the pipeline on it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measure import Watch
from marble_images.local import layout
from marble_images.local.home import dagster_home
from marble_images.local.queue_table import now_without_zone
from marble_images.local.stack import LocalStack

SOURCES = ("S3", "S3", "S3", "S3", "S3", "S3", "S3", "Uri", "Curate", "Museum")
"""Where files come from: most of a real queue lie in S3."""

# A deployment makes its database once, not every morning.
_MAKE_THE_HOME = "from marble_images.daily_run import dagster_instance as made\nwith made(): pass"
_TYPES = {".tif": "image/tiff", ".jpg": "image/jpeg"}


@contextmanager
def filled_stack(files: Sequence[Path], sources: Sequence[str] = SOURCES) -> Iterator[LocalStack]:
    """Stand-ins whose queue holds so many waiting files; gone at the end."""
    with tempfile.TemporaryDirectory(prefix="marble-bench-") as folder, LocalStack(Path(folder)) as stack:
        stack.appsync.put_records(
            _record(stack, path, number, sources[number % len(sources)]) for number, path in enumerate(files)
        )
        yield stack


def run_a_day(stack: LocalStack, settings: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run today in a process of its own, with a Dagster home that was never used; what it took."""
    environment = dict(os.environ)
    stack.apply(environment)
    home = dagster_home(stack.folder)
    shutil.rmtree(home)
    environment |= {
        "DAGSTER_HOME": str(dagster_home(stack.folder)),
        "WORK_FOLDER": str(stack.folder / "work"),
        **(settings or {}),
    }
    subprocess.run([sys.executable, "-c", _MAKE_THE_HOME], env=environment, check=True)
    stack.faults.forget_requests()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.day"], stdout=subprocess.PIPE, env=environment, text=True
    )
    # A look walks through all pages of all processes: ten a second took one part in forty of two cores.
    with Watch(process.pid, every=0.5) as watch:
        said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the day ended with exit status {process.returncode}")
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    if found["made"] != found["files"]:
        raise RuntimeError(f"only {found['made']} of {found['files']} files were made: {found['reasons']}")
    found["peak"] = watch.peak
    found["requests"] = requests_by_service(stack)
    return found


def requests_by_service(stack: LocalStack) -> dict[str, int]:
    """How many requests each stand-in got."""
    return dict(Counter(request.service for request in stack.faults.requests()))


def _record(stack: LocalStack, path: Path, number: int, source: str) -> dict[str, Any]:
    file_id = f"collection/item-{number // 10:04}/file-{number:05}{path.suffix}"
    now = now_without_zone()
    record: dict[str, Any] = {
        "id": file_id,
        "filePath": file_id,
        "TYPE": "FileToProcess",
        "sourceType": source,
        "dateAddedToDynamo": now,
        "dateModifiedInDynamo": now,
        "mimeType": _TYPES[path.suffix],
    }
    if source == "S3":
        etag = stack.link_source(file_id, path, _TYPES[path.suffix])
        return record | {
            "sourceBucketName": layout.SOURCE_BUCKET,
            "sourceFilePath": file_id,
            "eTag": etag,
            "size": str(path.stat().st_size),
        }
    if source == "Uri":
        return record | {"sourceUri": stack.web.put_uri(file_id, path)}
    if source == "Curate":
        return record | {"sourceUri": stack.web.put_curate(f"item{number:05}", path, path.name)}
    return record | {"sourceUri": stack.web.put_drive(f"1BenchmarkFile{number:018}", path, path.name)}
