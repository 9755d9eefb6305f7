"""Damaged files never crash the caller, hang, leave half a file, or come out as an invalid pyramid."""

from __future__ import annotations

from pathlib import Path

import pytest

from marble_images_tests.pyramid.fuzzing import fuzz, mutants, seeds


@pytest.mark.parametrize(
    "cases", [300, pytest.param(4000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_damaged_files_become_valid_pyramids_or_clear_errors(tmp_path: Path, cases: int) -> None:
    report = fuzz(cases=cases, seed=cases, processes=1, seconds=1500, folder=tmp_path)
    assert not report.findings, report
    assert report.cases == cases
    # Both must occur, or nothing was tested.
    assert report.outcomes["made"] > cases / 20
    assert report.outcomes["made"] < cases


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    originals = seeds(tmp_path)
    assert list(mutants(originals, 50, 7)) == list(mutants(originals, 50, 7))
    assert list(mutants(originals, 50, 7)) != list(mutants(originals, 50, 8))
