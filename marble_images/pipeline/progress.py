"""Tells whoever watches a run in its own process of each file as it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from marble_images.models import FileReport

Listener = Callable[[FileReport], None]

_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call ``listener`` with every report of the block, in the thread that runs the op."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def publish(report: FileReport) -> None:
    """Tell the listeners of one file."""
    for listener in _listeners:
        listener(report)
