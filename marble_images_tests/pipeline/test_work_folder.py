from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from marble_images.errors import NoDiskSpace
from marble_images.pipeline.work_folder import work_folder

_HOLD = """
import sys, time
from pathlib import Path
from marble_images.pipeline.work_folder import work_folder
with work_folder(Path(sys.argv[1])) as folder:
    (folder / "half.tif").write_bytes(b"x")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_the_folder_is_gone_after_an_error(tmp_path: Path) -> None:
    def fail_inside() -> None:
        with work_folder(tmp_path) as folder:
            (folder / "file").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_inside()
    assert list(tmp_path.iterdir()) == []


def test_runs_side_by_side_have_folders_of_their_own(tmp_path: Path) -> None:
    with work_folder(tmp_path) as one, work_folder(tmp_path) as other:
        assert one != other
        assert one.exists()
        assert other.exists()


def test_what_a_killed_run_left_is_swept_by_the_next_and_what_a_living_run_holds_is_not(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        held = Path(process.stdout.readline().strip())
        with work_folder(tmp_path):
            assert (held / "half.tif").exists()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert held.exists()
    with work_folder(tmp_path):
        assert not held.exists()


def test_a_parent_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(NoDiskSpace, match="WORK_FOLDER: no folder"), work_folder(tmp_path / "file"):
        pass


def test_a_folder_of_a_run_that_died_before_it_had_a_lock_is_swept(tmp_path: Path) -> None:
    dead = tmp_path / "marble-images-dead"
    dead.mkdir()
    (dead / "source").write_bytes(b"x")
    with work_folder(tmp_path):
        assert not dead.exists()
