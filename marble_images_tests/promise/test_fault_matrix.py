"""Every call that a run makes, with everything that can go wrong with it."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from marble_images.days import day_of
from marble_images.failures import meaning_of
from marble_images.local import layout
from marble_images.local.stack import LocalStack
from marble_images.partitions import IMAGE_FILES
from marble_images.resources.sources import HOST_HEALTH
from marble_images_tests.assets.pipeline_run import failure_of, list_days
from marble_images_tests.promise import faults
from marble_images_tests.promise.conftest import Sources
from marble_images_tests.promise.faults import COLUMNS, LIST, ONCE, PLACES, REFUSED, REFUSING, Cell
from marble_images_tests.promise.invariant import check_bucket, check_promise, files_left
from marble_images_tests.promise.runs import DAILY, outcome, reasons_of, reports_of
from marble_images_tests.sources.servers import Listener, listening

PAGE = Path(__file__).parents[2] / "docs" / "fault-outcomes.md"

# What the run must be doing for the connection of the cell's call to be the next one.
BEFORE: dict[str, dict[str, Any]] = {
    "S3": {"service": "appsync", "operation": "getFileToProcessRecord"},
    "AppSync reread": {"service": "aws", "operation": "GetObject", "path": "/in/"},
    "AppSync mark": {"service": "aws", "operation": "HeadObject", "path": "/images/"},
    "AppSync remove": {"service": "aws", "operation": "HeadBucket", "path": "/sources"},
    "S3 put": {"service": "appsync", "operation": "getFileToProcessRecord", "skip": 1},
    "S3 head": {"service": "aws", "operation": "PutObject", "path": "/images/"},
}


@pytest.fixture
def private() -> Iterator[Listener]:
    """A server at an address that is not public and not allowed; nobody may connect to it."""
    with listening("127.0.0.2") as listener:
        yield listener


class Matrix:
    """Runs cells and keeps what became of them."""

    def __init__(
        self, stack: LocalStack, sources: Sources, instance: dg.DagsterInstance, port: int, closed_port: int
    ) -> None:
        self.stack = stack
        self.sources = sources
        self.instance = instance
        self.closed_port = closed_port
        self.private = f"http://127.0.0.2:{port}/latest/meta-data"
        self.outcomes: dict[Cell, str] = {}

    def run(self, cells: list[Cell]) -> None:
        """One run over the files of many cells, each with its fault."""
        for cell in cells:
            cell.fill(self.sources, closed_port=self.closed_port)
            if cell.fault != REFUSED:
                # The reread of a file that is alone in its run looks like the first read.
                skip = int(len(cells) == 1 and cell.place == "AppSync reread")
                self.stack.faults.add(**cell.command(self.private), skip=skip)
        self._run_and_check(cells)

    def run_with_closed_port(self, cell: Cell) -> None:
        """A run of one file, in which a stand-in's port closes just before the cell's call."""
        cell.fill(self.sources, closed_port=self.closed_port)
        service = {"Museum": "google", "S3": "aws"}.get(
            cell.place, "aws" if "S3" in cell.place else "appsync"
        )
        if cell.place == "Museum":
            self.stack.faults.refuse(service)
            self._run_and_check([cell])
            return
        # Shorter than any time-out of these runs, and longer than it takes to close a port.
        waiting = self.stack.faults.add("latency", seconds=1.2, **BEFORE[cell.place])

        def close() -> None:
            while not self.stack.faults.hits(waiting):
                time.sleep(0.02)
            self.stack.faults.refuse(service)
            self.stack.faults.remove(waiting)

        closing = threading.Thread(target=close, daemon=True)
        closing.start()
        self._run_and_check([cell])
        closing.join(10)

    def _run_and_check(self, cells: list[Cell]) -> None:
        paths = [cell.path for cell in cells]
        reports = reports_of(self.instance, paths, files_in_flight=24)
        self.stack.faults.clear()
        HOST_HEALTH.forget()
        ends = check_promise(
            self.stack,
            paths,
            reasons=reasons_of(paths, reports),
            may_be_removed=[c.path for c in cells if c.fault == "404" or c.place == "AppSync remove"],
        )
        told = {path: outcome(reports.get(path)) for path in paths}
        assert ends.published == {path for path, ended in told.items() if ended == "published"}
        assert ends.removed == {path for path, ended in told.items() if ended == "removed"}
        self.outcomes |= {cell: told[cell.path] for cell in cells}

    def list_with(self, cell: Cell) -> None:
        """Make a day's list while the cell's fault strikes."""
        path = "listed.jpg"
        self.sources.s3(path, b"")
        if cell.fault == REFUSED:
            # The addresses are read before it, so the port is closed at the first call.
            self.stack.faults.refuse("appsync")
        else:
            self.stack.faults.add(**cell.command(self.private))
        result = list_days(self.instance, today())
        self.stack.faults.clear()
        known = path in self.instance.get_dynamic_partitions(IMAGE_FILES)
        self.instance.delete_dynamic_partition(IMAGE_FILES, path)
        assert known is result.success, "a list is whole or it fails"
        if not result.success:
            assert "AppSync" in failure_of(result)
        self.outcomes[cell] = "listed" if result.success else "the day's list fails"
        assert not self.sources.of(path).get("dateLastProcessed")
        self.stack.appsync.remove(path)


def today() -> str:
    return day_of(datetime.now(timezone.utc))


@pytest.fixture
def matrix(
    stack: LocalStack,
    sources: Sources,
    instance: dg.DagsterInstance,
    private: Listener,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Matrix]:
    monkeypatch.setenv("MAX_REMOVED", "1000")
    monkeypatch.setenv("MAX_REMOVED_A_DAY", "1000")
    with socket.socket() as closed:
        # Bound, so that nobody else takes it, and never listened on.
        closed.bind((layout.LOOPBACK, 0))
        yield Matrix(stack, sources, instance, port=private.port, closed_port=closed.getsockname()[1])
    assert private.taken == [], "nobody connects to a private address"


def converge(matrix: Matrix, cells: list[Cell], work: Path) -> None:
    """With the faults gone, a run publishes what waits, and leaves nothing behind."""
    waiting = [cell.path for cell in cells if matrix.stack.appsync.record(cell.path) is not None]
    # Nothing may still be set aside: each has failed but once.
    reports = reports_of(matrix.instance, [*waiting], **DAILY)
    still = {path: report.reason for path, report in reports.items() if outcome(report).startswith("waits")}
    # The two that have no source but a closed port.
    assert set(still) <= {Cell("Uri", REFUSED).path, Cell("Curate", REFUSED).path}
    missing = [cell.path for cell in cells if cell.fault == "404" or cell.place == "AppSync remove"]
    ends = check_promise(matrix.stack, [cell.path for cell in cells], reasons={}, may_be_removed=missing)
    assert set(ends.waiting) == set(still)
    check_bucket(matrix.stack)
    assert files_left(work) == []


def test_some_of_the_faults_end_as_promised(matrix: Matrix, work: Path) -> None:
    expected = {
        Cell("S3", "500 once"): "published",
        Cell("Curate", "404"): "removed",
        Cell("Uri", "HTML with 200"): "waits: `not-an-image`",
        Cell("Museum", REFUSING): "waits: `source-forbidden`",
        Cell("Uri", faults.PRIVATE): "waits: `unsafe-address`",
        Cell("S3", "truncated, right length"): "waits: `source-checksum`",
        Cell("AppSync reread", "500 always"): "waits: `queue`",
        Cell("AppSync mark", "reset in mid-body"): "published",
        Cell("AppSync remove", "500 once"): "removed",
        Cell("S3 put", faults.CHECKSUM): "waits: `publish`",
        Cell("S3 head", "404"): "waits: `publish`",
    }
    cells = list(expected)
    matrix.run(cells)
    assert matrix.outcomes == expected
    converge(matrix, cells, work)


@pytest.mark.slow
def test_the_whole_matrix_ends_as_the_page_says(matrix: Matrix, work: Path) -> None:
    cells = [Cell(place, fault) for place in PLACES for fault in COLUMNS]
    lists = [cell for cell in cells if cell.place == LIST]
    rest = [cell for cell in cells if cell.place != LIST]
    alone = [c for c in rest if c.fault == REFUSED and c.place not in ("Uri", "Curate")]
    # A refused key ends a run, so each has one of its own.
    refusing = [c for c in rest if c.fault == REFUSING and c.place.startswith("AppSync")]
    together = [cell for cell in rest if cell not in alone and cell not in refusing]
    # A host that fails all files gets one try a file; what fails once must be tried twice.
    matrix.run([cell for cell in together if cell.fault in ONCE])
    matrix.run([cell for cell in together if cell.fault not in ONCE])
    for cell in refusing:
        matrix.run([cell])
    for cell in alone:
        matrix.run_with_closed_port(cell)
    converge(matrix, rest, work)
    for cell in lists:
        matrix.list_with(cell)
    for cell, ended in matrix.outcomes.items():
        if cell.fault in ONCE:
            assert ended in ("published", "removed", "listed"), f"{cell} is tried again"
        removable = cell.fault == "404" and cell.place in faults.SOURCES
        assert ended != "removed" or removable or cell.place == "AppSync remove"
        assert "unexpected" not in ended
        code = re.search(r"`(.+)`", ended)
        assert code is None or meaning_of(code[1]), f"{ended} is explained nowhere"
    page = faults.table(matrix.outcomes)
    if os.environ.get("UPDATE_FAULT_OUTCOMES"):
        PAGE.write_text(page)
    assert PAGE.read_text() == page, "make the page again with UPDATE_FAULT_OUTCOMES=1"
