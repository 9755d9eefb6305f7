"""``marble-images demo``: a day on this machine, from the queue to pyramids in a bucket."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console

from marble_images.console import display, result_table, standard_output, totals
from marble_images.errors import MarbleImagesError
from marble_images.interrupts import STATUS, ended_by_signals
from marble_images.local.home import dagster_home
from marble_images.local.samples import Sample, seed_folder, seed_samples
from marble_images.local.stack import LocalStack
from marble_images.models import FileReport, Outcome

AS_EXPECTED, FAILED, NOT_AS_EXPECTED, INTERRUPTED = 0, 1, 3, STATUS


def run_demo(folder: Path, files: Path | None = None) -> int:
    """Seed the stand-ins, run today, and show what became of each file.

    Parameters
    ----------
    folder
        Where the stand-ins and the Dagster home keep their state.
    files
        A person's own folder of images, instead of the samples.

    Returns
    -------
    int
        Exit status: 0 when every file ended as expected, 3 when one did not, 1 when the day could not be
        done, 130 when it was interrupted.
    """
    console = standard_output()
    try:
        with ended_by_signals(), LocalStack(folder) as stack:
            return _run(console, stack, folder, files)
    except MarbleImagesError as error:
        Console(stderr=True).print(f"marble-images: {error.reason}", markup=False, highlight=False)
        return FAILED
    except KeyboardInterrupt:
        console.print("interrupted; the files that were not done still wait", highlight=False)
        return INTERRUPTED


def _run(console: Console, stack: LocalStack, folder: Path, files: Path | None) -> int:
    stack.apply(os.environ)
    os.environ["DAGSTER_HOME"] = str(dagster_home(folder))
    os.environ["WORK_FOLDER"] = str(stack.folder / "work")
    # Settings are read from the environment when these load.
    from marble_images.daily_run import dagster_instance, run_day

    samples = _seed(console, stack, files)
    with dagster_instance() as instance, display(console) as shown:
        result = run_day(instance=instance, on_listed=shown.listed, on_report=shown.done)
    reports = result.summary.in_order()
    if reports:
        console.print(result_table(reports))
    console.print(totals(reports, result.summary.reconciliation()), highlight=False, soft_wrap=True)
    as_expected = _say_what_was_expected(console, reports, samples)
    console.print(f"Pyramids on disk: {stack.pyramid_folder}", highlight=False, soft_wrap=True)
    console.print(
        "Next: `make dev` shows these runs in Dagster's UI; `make demo FILES=DIR` takes your own images."
    )
    return AS_EXPECTED if as_expected else NOT_AS_EXPECTED


def _seed(console: Console, stack: LocalStack, files: Path | None) -> dict[str, Sample]:
    samples = {sample.file_path: sample for sample in seed_samples(stack)} if files is None else {}
    if files is not None:
        own = seed_folder(stack, files)
        samples = {sample.file_path: sample for sample in own.samples}
        for name, reason in own.skipped.items():
            console.print(f"not taken: {name}: {reason}", markup=False, highlight=False, soft_wrap=True)
    return samples


def _say_what_was_expected(console: Console, reports: list[FileReport], samples: dict[str, Sample]) -> bool:
    """Explain the failures that are part of the show; whether there are no others."""
    as_expected = True
    for report in reports:
        sample = samples.get(report.file_path)
        expected = {sample.expected} if sample else set()
        if Outcome.FAILED in expected:
            expected.add(Outcome.QUARANTINED)
        if report.outcome in (Outcome.MADE, Outcome.CURRENT):
            continue
        if sample and report.outcome in expected:
            console.print(f"As expected: {report.file_path}: {sample.note}", highlight=False, soft_wrap=True)
        else:
            as_expected = False
    return as_expected
