"""The moment by which a file must be there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
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
