"""Ending a command from outside: Ctrl-C, and the signals that mean the same."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STATUS = 130
"""Exit status of a command that was interrupted, as shells have it."""

_ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


class Interrupts:
    """Knows whether a signal came that ends the command, whoever handled it.

    While Dagster runs a job it has handlers of its own in the place of Python's, and forgets a signal
    that comes outside a step. Python's wake-up file descriptor gets the number of every signal all the
    same.
    """

    def __init__(self, reader: int | None = None) -> None:
        self._reader = reader
        self._came = False

    @property
    def came(self) -> bool:
        """Whether one of the signals has come."""
        if self._reader is not None and not self._came:
            with suppress(BlockingIOError):
                self._came = not _ENDING.isdisjoint(os.read(self._reader, 4096))
        return self._came

    def check(self) -> None:
        """Raise ``KeyboardInterrupt`` if one has come."""
        if self.came:
            raise KeyboardInterrupt


_current = Interrupts()


def check_interrupted() -> None:
    """Raise ``KeyboardInterrupt`` if the block of :func:`ended_by_signals` was told to end."""
    _current.check()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, so that it leaves nothing half done.

    Whatever error the signal becomes on its way, the block ends with ``KeyboardInterrupt``. A shell's
    background jobs ignore Ctrl-C; they, too, are ended by it. What ignores SIGHUP, as ``nohup`` has it,
    still does. Does nothing outside the main thread, which gets no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDING}
    with _watched() as interrupts:
        if before[signal.SIGINT] is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, _as_interrupt)
        if before[signal.SIGHUP] is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, _as_interrupt)
        try:
            yield
        except BaseException:
            if interrupts.came:
                raise KeyboardInterrupt from None
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _watched() -> Iterator[Interrupts]:
    global _current
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    outer, _current = _current, Interrupts(reader)
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield _current
    finally:
        signal.set_wakeup_fd(woken)
        _current = outer
        os.close(reader)
        os.close(writer)


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    # Dagster puts a handler of its own in the place of SIGINT's while it runs a job.
    signal.raise_signal(signal.SIGINT)
