from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner, Result
from PIL import Image

from marble_images.cli import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo[1] a,b.jpg"
    pixels = np.random.default_rng(0).integers(0, 255, (1200, 1500, 3), np.uint8)
    Image.fromarray(pixels).resize((1500, 1200)).save(path, quality=80)
    return path


def test_pyramid_makes_a_pyramid_and_prints_a_line_of_json(photo: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.tif"
    result = run("pyramid", photo, target)
    assert result.exit_code == 0, result.stderr
    (line,) = result.stdout.splitlines()
    said = json.loads(line)
    assert (said["width"], said["height"], said["levels"], said["tile_size"]) == (1500, 1200, 3, 512)
    assert said["bytes"] == target.stat().st_size
    assert said["profile"] == "deflate"
    with tifffile.TiffFile(target) as tiff:
        assert [page.shape[:2] for page in tiff.pages] == [(1200, 1500), (600, 750), (300, 375)]


def test_pyramid_fits_the_copyright_box(photo: Path, tmp_path: Path) -> None:
    said = json.loads(run("pyramid", photo, tmp_path / "out.tif", "--copyright", "--profile", "jpeg").stdout)
    assert (said["width"], said["height"], said["profile"]) == (700, 560, "jpeg")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("page.jpg", b"<!DOCTYPE html><html></html>", "HTML"),
        ("empty.tif", b"", "empty"),
        ("cut.jpg", None, "truncated"),
    ],
)
def test_bad_input_is_one_line_and_nothing_at_the_target(
    name: str, content: bytes | None, reason: str, photo: Path, tmp_path: Path
) -> None:
    source, target = tmp_path / name, tmp_path / "out.tif"
    source.write_bytes(photo.read_bytes()[:40_000] if content is None else content)
    result = run("pyramid", source, target)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"marble-images: {source}: ")
    assert reason in line
    assert result.stdout == ""
    assert {path.name for path in tmp_path.iterdir()} == {photo.name, name}


def test_a_source_that_is_not_there_or_a_target_that_cannot_be_written_is_one_line(
    photo: Path, tmp_path: Path
) -> None:
    for source, target, named in (
        (tmp_path / "none.jpg", tmp_path / "out.tif", "none.jpg"),
        (tmp_path, tmp_path / "out.tif", "folder"),
        (photo, tmp_path / "no" / "such" / "out.tif", "out.tif"),
    ):
        result = run("pyramid", source, target)
        assert result.exit_code == 1
        (line,) = result.stderr.splitlines()
        assert line.startswith("marble-images: ")
        assert named in line


def test_an_unknown_profile_is_named(photo: Path, tmp_path: Path) -> None:
    result = run("pyramid", photo, tmp_path / "out.tif", "--profile", "gold")
    assert result.exit_code == 1
    assert "gold" in result.stderr


def test_an_earlier_target_is_kept_when_the_source_is_refused(tmp_path: Path) -> None:
    source, target = tmp_path / "text.jpg", tmp_path / "out.tif"
    source.write_text("no image")
    target.write_bytes(b"earlier")
    assert run("pyramid", source, target).exit_code == 1
    assert target.read_bytes() == b"earlier"


def test_validate_says_which_files_are_valid(photo: Path, tmp_path: Path) -> None:
    good = tmp_path / "good.tif"
    run("pyramid", photo, good)
    cut = tmp_path / "cut.tif"
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    assert run("validate", good).stdout == f"{good}: valid\n"
    both = run("validate", good, cut, photo)
    assert both.exit_code == 1
    assert f"{good}: valid" in both.stdout
    assert f"{cut}: error: " in both.stdout
    assert f"{photo}: error: " in both.stdout
    assert run("validate", good, "--copyright").exit_code == 1


def test_info_tells_what_a_file_is(photo: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.tif"
    run("pyramid", photo, target)
    said = json.loads(run("info", target).stdout)
    assert (said["width"], said["height"]) == (1500, 1200)
    assert len(said["levels"]) == 3
    text = tmp_path / "text.txt"
    text.write_text("no image")
    refused = run("info", text)
    assert refused.exit_code == 1
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["pyramid", "validate", "info", "run", "demo", "dev"])
def test_every_command_has_help(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) > 5
