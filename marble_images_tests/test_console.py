from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from marble_images.console import display, standard_output
from marble_images.models import FileReport, Outcome

_SHOW = """
import sys
from marble_images.console import display, standard_output
from marble_images.models import FileReport, Outcome
console = standard_output()
with display(console) as shown:
    shown.listed([])
    for number in range(5000):
        shown.done(FileReport(f"{number}.jpg", Outcome.MADE))
console.print("the end")
sys.stderr.write("went on to the end")
"""


def shown_to(**options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", _SHOW], stderr=subprocess.PIPE, check=False, **options)


def test_a_reader_that_leaves_ends_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = shown_to(stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"went on to the end")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_under_the_log_ends_nothing() -> None:
    with Path("/dev/full").open("wb") as full:
        done = shown_to(stdout=full)
    assert (done.returncode, done.stderr) == (0, b"went on to the end")


def test_no_standard_output_at_all_ends_nothing() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", _SHOW],
        stderr=subprocess.PIPE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"went on to the end")


def test_what_is_read_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    with display(standard_output()) as shown:
        shown.listed([])
        shown.done(FileReport("a.jpg", Outcome.FAILED, reason="no image"))
    assert stream.getvalue().splitlines() == ["0 files listed", "1/0 failed    a.jpg: no image"]
