"""The ``marble-images`` command.

Each command imports what it needs when it runs: ``marble-images --help`` starts neither Dagster nor libvips.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from marble_images.daily_run import DayResult

BAD_INPUT = 1
SOME_FILES_FAILED = 3


def _fail(message: str, status: int = BAD_INPUT) -> NoReturn:
    # Nobody may be there to read it: then the exit status still tells.
    with suppress(OSError):
        click.echo(f"marble-images: {message}", err=True)
    sys.exit(status)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="marble-images")
def main() -> None:
    """Turn a library's image files into checked pyramid TIFFs for a IIIF server.

    `pyramid`, `validate` and `info` work on files on disk and need no settings. `run` does one day of the
    pipeline with the settings of the environment. `demo` and `dev` bring all that they need with them.
    """


@main.command()
@click.argument("src", type=click.Path(path_type=Path))
@click.argument("dst", type=click.Path(path_type=Path))
@click.option("--copyright", "copyrighted", is_flag=True, help="Fit the pyramid into 843 x 560 pixels.")
@click.option("--profile", default="deflate", show_default=True, help="How the pyramid is compressed.")
def pyramid(src: Path, dst: Path, copyrighted: bool, profile: str) -> None:
    """Make the pyramid DST of the image SRC.

    Prints one line of JSON: width, height, levels, tile_size, bytes, profile, and what was noticed about the
    source. An image that cannot become a correct pyramid is refused in one line with exit status 1, and
    nothing is left at DST.

    \b
    Example:
      marble-images pyramid scan.tif pyramid.tif --profile jpeg
    """
    from marble_images.errors import MarbleImagesError
    from marble_images.pyramid.model import ARCHIVED_BOX, COPYRIGHT_BOX, ConvertOptions
    from marble_images.single import make_one_pyramid

    options = ConvertOptions(profile=profile, box=COPYRIGHT_BOX if copyrighted else ARCHIVED_BOX)
    try:
        made = make_one_pyramid(src, dst, options)
    except MarbleImagesError as error:
        _fail(f"{src}: {error.reason}")
    except OSError as error:
        _fail(f"{src if error.filename != str(dst) else dst}: {error.strerror or error}")
    shown = {name: value for name, value in vars(replace(made, thumbnail=b"")).items() if name != "thumbnail"}
    click.echo(json.dumps(shown, default=list))


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--copyright", "copyrighted", is_flag=True, help="Also check that it fits 843 x 560 pixels.")
@click.option("--profile", default=None, help="Also check that it is compressed as this profile says.")
def validate(files: tuple[Path, ...], copyrighted: bool, profile: str | None) -> None:
    """Check that each of FILES is a valid pyramid: its structure and every tile.

    Prints a line a file, `FILE: valid`, or a line for each thing that is wrong. Exit status 1 if any file is
    not valid; warnings alone do not make a file invalid.
    """
    from marble_images.pyramid.model import COPYRIGHT_BOX
    from marble_images.pyramid.validate import validate_pyramid

    bad = False
    for path in files:
        problems = validate_pyramid(path, box=COPYRIGHT_BOX if copyrighted else None, profile=profile)
        errors = [problem for problem in problems if problem.kind == "error"]
        for problem in problems:
            click.echo(f"{path}: {problem.kind}: {problem.where}: {problem.message}")
        if not errors:
            click.echo(f"{path}: valid")
        bad = bad or bool(errors)
    sys.exit(BAD_INPUT if bad else 0)


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
def info(file: Path) -> None:
    """Say what FILE is: format, size, colour, profile, resolution, levels, compression. As JSON."""
    from marble_images.errors import MarbleImagesError
    from marble_images.pyramid.describe import describe

    try:
        described = describe(file)
    except MarbleImagesError as error:
        _fail(f"{file}: {error.reason}")
    except OSError as error:
        _fail(f"{file}: {error.strerror or error}")
    click.echo(json.dumps(described, indent=2, default=str))


@main.command()
@click.option("--date", "day", metavar="YYYY-MM-DD", help="The day. Default: today in New York.")
def run(day: str | None) -> None:
    """Do one day in this process, without daemon or web server, with the settings of the environment.

    Runs the job of the daily schedule and then what the sensor asks for: the same code as in a deployment.
    With DAGSTER_HOME set the runs are recorded there; without it their record is gone at the end.

    \b
    Needs: IMAGE_BUCKET, STATE_BUCKET, and GRAPHQL_API_URL and GRAPHQL_API_KEY
    (or GRAPHQL_API_URL_KEY_PATH and GRAPHQL_API_KEY_KEY_PATH).
    Exit status: 0 when every listed file was made or found gone, 3 when some failed,
    1 when the day could not be done at all, 130 when it was interrupted.
    """
    from marble_images.errors import MarbleImagesError
    from marble_images.interrupts import STATUS, ended_by_signals

    try:
        with ended_by_signals():
            result = _run_and_show(day)
    except MarbleImagesError as error:
        _fail(error.reason)
    except KeyboardInterrupt:
        _fail("interrupted; the files that were not done still wait", STATUS)
    if result.refused:
        _fail(result.refused, SOME_FILES_FAILED)
    sys.exit(0 if result.all_well else SOME_FILES_FAILED)


def _run_and_show(day: str | None) -> DayResult:
    from marble_images.console import display, result_table, standard_output, totals
    from marble_images.daily_run import dagster_instance, run_day

    console = standard_output()
    with dagster_instance() as instance, display(console) as shown:
        result = run_day(day, instance=instance, on_listed=shown.listed, on_report=shown.done)
    for record in result.skipped:
        console.print(f"skipped {record['record']}: {record['reason']}", markup=False, highlight=False)
    console.print(result_table(result.summary.in_order()))
    console.print(totals(result.summary.reports, result.summary.reconciliation()), highlight=False)
    return result


@main.command()
@click.option("--files", type=click.Path(path_type=Path), help="Use the images of this folder of your own.")
@click.option("--folder", type=click.Path(path_type=Path), default=".local", show_default=True)
def demo(files: Path | None, folder: Path) -> None:
    """Show a day on this machine: real pictures go from the queue to pyramids in a bucket.

    Starts stand-ins of AppSync, S3, the web and Google Drive on 127.0.0.1, puts sample files into the queue
    and runs today. One sample is missing at its source and one is truncated, to show what then happens. A
    second demo finds only what still waits.
    """
    from marble_images.local.demo import run_demo

    sys.exit(run_demo(folder, files))


@main.command()
@click.option("--folder", type=click.Path(path_type=Path), default=".local", show_default=True)
@click.option("--port", default=3000, show_default=True, help="Port of the Dagster UI on 127.0.0.1.")
def dev(folder: Path, port: int) -> None:
    """Run the stand-ins and the Dagster UI on this machine, on what the demo left."""
    from marble_images.errors import MarbleImagesError
    from marble_images.local.dev import run_dev

    try:
        sys.exit(run_dev(folder, port))
    except MarbleImagesError as error:
        _fail(error.reason)


if __name__ == "__main__":
    main()
