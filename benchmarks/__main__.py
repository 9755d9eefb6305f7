"""``python -m benchmarks [--quick] [NAME ...]``: run benchmarks, print their tables, write JSON."""

from __future__ import annotations

import os
from pathlib import Path

import click

from benchmarks import conversion, memory, overhead, pipeline, profiles, startup

_ALL = {
    "startup": startup.run,
    "conversion": conversion.run,
    "profiles": profiles.run,
    "overhead": overhead.run,
    "pipeline": pipeline.run,
    "memory": memory.run,
}
_QUICK = ("startup", "conversion", "overhead", "pipeline")


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(_ALL)))
@click.option("--quick", is_flag=True, help="Fewer inputs, files and rounds.")
@click.option("--folder", type=click.Path(path_type=Path), default=".local/bench", show_default=True)
@click.option("--results", type=click.Path(path_type=Path), default="bench-results", show_default=True)
def main(names: tuple[str, ...], quick: bool, folder: Path, results: Path) -> None:
    """Measure speed and memory. The inputs are made at the first run, and kept."""
    # A folder of the caller's own must not decide where the measured runs are recorded.
    os.environ.pop("DAGSTER_HOME", None)
    for name in names or (_QUICK if quick else tuple(_ALL)):
        _ALL[name](folder, results / ("quick" if quick else "full"), quick=quick)


if __name__ == "__main__":
    main()
