"""Tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measure import machine

_console = Console(width=132)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; all but the first column to the right."""
    shown = Table(title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        shown.add_column(column, justify="right" if number else "left", no_wrap=number == 0)
    for row in rows:
        shown.add_row(*(_text(cell) for cell in row))
    _console.print(shown)


def line(text: str) -> None:
    """Print a line."""
    _console.print(text, highlight=False, markup=False)


def keep(name: str, figures: dict[str, Any], folder: Path) -> None:
    """Write what a benchmark found, with the machine that it ran on."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"benchmark": name, "machine": machine(), **figures}, indent=1))
    line(f"written to {path}\n")


def mb(size: float) -> str:
    """Bytes as megabytes."""
    return f"{size / 1e6:.1f}"


def _text(cell: object) -> str:
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)
