"""How the list, the sensor and the UI grow with the number of files: ``python -m benchmarks.scale --help``.

Fills a Dagster instance (SQLite, or a PostgreSQL of its own as an unprivileged user) with known files that
are all materialized, lets a day come on which many changed, half of them new and half scattered over the
known ones, and measures what a person waits for. No pyramid is made.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from marble_images.local.stack import LocalStack

_BATCH = 5000
_DAGSTER_YAML = "telemetry: {enabled: false}\nnux: {enabled: false}\n"


def _record(number: int, waiting: bool) -> dict[str, Any]:
    path = _path(number)
    changed = (
        datetime.now(timezone.utc).replace(tzinfo=None).isoformat() if waiting else "2026-01-05T12:00:00"
    )
    done = {} if waiting else {"dateLastProcessed": "2026-01-06T10:00:00.000Z", "width": 4000, "height": 3000}
    return {
        "id": path,
        "filePath": path,
        "sourceType": "S3",
        "sourceBucketName": "sources",
        "sourceFilePath": path,
        "dateAddedToDynamo": changed,
        **done,
    }


def _path(number: int) -> str:
    return f"collection/{number // 100:06}/page-{number:08}.tif"


@contextmanager
def _home(folder: Path, storage: str) -> Iterator[None]:
    home = folder / "dagster"
    home.mkdir()
    with _postgres(folder) if storage == "postgres" else _nothing() as config:
        (home / "dagster.yaml").write_text(_DAGSTER_YAML + config)
        os.environ["DAGSTER_HOME"] = str(home)
        yield


@contextmanager
def _nothing() -> Iterator[str]:
    yield ""


@contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    data = folder / "postgres"
    data.mkdir()
    user = _unprivileged()
    if user:
        shutil.chown(data, user)
        folder.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started: dict[str, Any] = {"user": user, "check": True, "stdout": subprocess.DEVNULL, "cwd": "/"}
    subprocess.run([programs / "initdb", "-D", data, "-U", "dagster", "--auth=trust"], **started)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
    subprocess.run(
        [programs / "pg_ctl", "-D", data, "-w", "-o", options, "-l", data / "log", "start"], **started
    )
    try:
        yield (
            "storage:\n  postgres:\n    postgres_db:\n      scheme: postgresql+psycopg2\n"
            "      username: dagster\n      password: ''\n      hostname: 127.0.0.1\n"
            f"      port: {port}\n      db_name: postgres\n"
        )
    finally:
        subprocess.run([programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **started)


def _unprivileged() -> str | None:
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"


def _fill_queue(stack: LocalStack, known: int, new: int, scattered: set[int]) -> None:
    numbers = range(known + new)
    for first in range(0, known + new, _BATCH):
        stack.appsync.put_records(
            _record(n, n >= known or n in scattered) for n in numbers[first : first + _BATCH]
        )


def _fill_instance(instance: Any, known: int) -> None:
    """Add the known partitions, each materialized, by copying one event."""
    import dagster as dg
    import sqlalchemy as sa

    keys = [_path(n) for n in range(known)]
    for first in range(0, known, _BATCH):
        instance.add_dynamic_partitions("image_files", keys[first : first + _BATCH])
    instance.report_runless_asset_event(dg.AssetMaterialization("pyramid_tiffs", partition=keys[0]))
    with instance.event_log_storage.index_connection() as connection:
        table = sa.Table("event_logs", sa.MetaData(), autoload_with=connection)
        row = dict(
            connection.execute(sa.select(table).where(table.c.partition == keys[0])).mappings().first()
        )
        row.pop("id")
        for first in range(1, known, _BATCH):
            connection.execute(table.insert(), [row | {"partition": k} for k in keys[first : first + _BATCH]])


def _measure_list(instance: Any, day: str) -> float:
    from marble_images.definitions import defs

    began = time.perf_counter()
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    result = defs.resolve_job_def("changed_files_job").execute_in_process(
        instance=instance, partition_key=day, run_config=quiet
    )
    assert result.success
    return time.perf_counter() - began


def _measure_ticks(instance: Any) -> tuple[list[float], list[int]]:
    import dagster as dg

    from marble_images.automation import pyramids_of_changed_files
    from marble_images.definitions import defs, state

    seconds, runs, cursor = [], [], None
    while True:
        began = time.perf_counter()
        with dg.build_sensor_context(
            instance=instance, cursor=cursor, resources={"state": state}, definitions=defs
        ) as context:
            result = pyramids_of_changed_files(context)
        if not isinstance(result, dg.SensorResult):
            return seconds, runs
        seconds.append(time.perf_counter() - began)
        runs.append(len(result.run_requests or []))
        cursor = result.cursor


def _measure_page(folder: Path, count: int) -> dict[str, float]:
    from playwright.sync_api import sync_playwright

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port)]
    with (folder / "webserver.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "-m", "marble_images.definitions"], stdout=log, stderr=log, cwd=folder
        )
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    arguments += ["--disable-background-networking", "--disable-component-update", "--disable-quic"]
    times = {}
    try:
        _wait_for_port(port)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
            page = browser.new_page()
            page.set_default_timeout(300_000)
            for which in ("first", "second"):
                began = time.perf_counter()
                page.goto(f"http://127.0.0.1:{port}/assets/pyramid_tiffs?view=partitions")
                page.get_by_text(f"{count:,} Partitions Selected").wait_for()
                times[which] = time.perf_counter() - began
            browser.close()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)
    return times


def _wait_for_port(port: int) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError("the web server did not start")


def measure(known: int, changed: int, storage: str, *, page: bool) -> dict[str, Any]:
    """All figures of one size.

    Returns
    -------
    dict
        Seconds: of the list's run, of the sensor's ticks (median and longest), of opening the partitions'
        page (with cold and warm caches). Counts: ticks, runs asked for, most runs of one tick.
    """
    new = changed // 2
    step = max(1, known // (changed - new))
    scattered = set(range(0, step * (changed - new), step))
    with tempfile.TemporaryDirectory(prefix="marble-scale-") as name:
        folder = Path(name)
        with LocalStack(folder / "stack") as stack, _home(folder, storage):
            stack.apply(os.environ)
            import dagster as dg

            from marble_images.days import day_of

            _fill_queue(stack, known, new, scattered)
            with dg.DagsterInstance.get() as instance:
                _fill_instance(instance, known)
                listed = _measure_list(instance, day_of(datetime.now(timezone.utc)))
                ticks, runs = _measure_ticks(instance)
            opened = _measure_page(folder, known + new) if page else {}
    return {
        "storage": storage,
        "known": known,
        "changed": changed,
        "list_seconds": round(listed, 2),
        "ticks": len(ticks),
        "tick_seconds_median": round(sorted(ticks)[len(ticks) // 2], 2),
        "tick_seconds_longest": round(max(ticks), 2),
        "runs": sum(runs),
        "most_runs_a_tick": max(runs),
        **{f"page_seconds_{which}": round(seconds, 2) for which, seconds in opened.items()},
    }


def main() -> None:
    """Measure and print one line of JSON for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--known", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--changed", type=float, default=0.2, help="share of the known files")
    parser.add_argument("--storage", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--no-page", action="store_true", help="open no browser")
    chosen = parser.parse_args()
    for known in chosen.known:
        figures = measure(known, int(known * chosen.changed), chosen.storage, page=not chosen.no_page)
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
