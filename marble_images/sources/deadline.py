"""Keeping the deadline of a file, whatever the server on the other side is doing."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from typing import Any, TypeVar

from marble_images.errors import SourceTimeout

_T = TypeVar("_T")


class Deadline:
    """The moment by which a file must be there; ``seconds`` from now."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds left, 0 when it has passed."""
        return max(0.0, self._at - time.monotonic())

    def check(self, host: str) -> None:
        """Raise :class:`~marble_images.errors.SourceTimeout` once the deadline has passed."""
        if not self.remaining:
            raise self.missed(host)

    def missed(self, host: str, detail: str | None = None) -> SourceTimeout:
        """The error that says that ``host`` missed the deadline; to be raised."""
        return SourceTimeout(f"{host} did not deliver the file within {self.seconds:g} s", detail=detail)


class Watchdog:
    """Cuts the connections of this thread's current try when its deadline passes.

    Time-outs of sockets start again with every byte, so a server that drips can hold a reader for
    days: only a cut from outside keeps the deadline.
    """

    def __init__(self, deadline: Deadline) -> None:
        self._timer = threading.Timer(deadline.remaining, self._bite)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._cuts: list[Callable[[], Any]] = []
        self._bitten = False
        self._token: contextvars.Token[Watchdog | None] | None = None

    def __enter__(self) -> Watchdog:
        self._timer.start()
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._cuts.clear()
        if self._token is not None:
            _current.reset(self._token)

    def watch(self, cut: Callable[[], Any]) -> None:
        """Call ``cut`` when the deadline passes, at once if it has."""
        with self._lock:
            self._cuts.append(cut)
            bitten = self._bitten
        if bitten:
            self._bite()

    def _bite(self) -> None:
        with self._lock:
            self._bitten = True
            cuts, self._cuts = self._cuts, []
        for cut in cuts:
            with suppress(OSError, RuntimeError, ValueError):
                cut()


_current: contextvars.ContextVar[Watchdog | None] = contextvars.ContextVar("watchdog", default=None)


def current_watchdog() -> Watchdog | None:
    """The watchdog of the try that this thread is in."""
    return _current.get()


def call_within(
    deadline: Deadline, host: str, call: Callable[[], _T], discard: Callable[[_T], Any] = lambda _: None
) -> _T:
    """Make a call that cannot be cut off, and stop waiting for it when the deadline passes.

    The call goes on in a thread of its own until its library's time-outs end it.

    Parameters
    ----------
    discard
        Gets a result that came too late.

    Raises
    ------
    SourceTimeout
        It did not return in time.
    """
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as err:  # noqa: BLE001 - raised again where the result is waited for
            future.set_exception(err)

    def too_late(late: Future[_T]) -> None:
        if late.exception() is None:
            discard(late.result())

    threading.Thread(target=run, name="marble-images-call", daemon=True).start()
    try:
        return future.result(timeout=deadline.remaining)
    except FutureTimeout:
        if future.done():
            # The time-out was the call's own, or the result came at the last moment.
            return future.result()
        future.add_done_callback(too_late)
        raise deadline.missed(host) from None
