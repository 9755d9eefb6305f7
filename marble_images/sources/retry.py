"""Trying again: what may be tried again, how often, and after which pause."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum
from typing import NoReturn, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type
from tenacity.wait import wait_random_exponential
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from marble_images.errors import FileError
from marble_images.sources.deadline import Deadline
from marble_images.sources.health import HostHealth
from marble_images.sources.settings import FetchSettings

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_PROGRESS = 2**20
_CONFIRMATIONS = 2


class Why(Enum):
    """Why a try is worth another."""

    TRANSIENT = "transient"
    GONE = "gone"
    MISMATCH = "mismatch"
    LOGIN = "login"


class TryAgain(Exception):
    """One try failed in a way that another may mend.

    Parameters
    ----------
    final
        What is raised when there is no other try.
    why
        ``GONE``: a second such answer in a row confirms it. ``MISMATCH``: one more complete try.
        ``LOGIN``: one more try, at once, with new credentials.
    after
        Seconds that the server asks to wait.
    confirmed
        Raised instead of ``final`` when a ``GONE`` is confirmed.
    outage
        The host that is out of reach or failing, when it is that and nothing about this file.
    """

    def __init__(
        self,
        final: FileError,
        why: Why = Why.TRANSIENT,
        *,
        after: float | None = None,
        confirmed: FileError | None = None,
        outage: str | None = None,
    ) -> None:
        super().__init__(final.reason)
        self.outage = outage
        self.final = final
        self.why = why
        self.after = after
        self.confirmed = confirmed


def retry_after(value: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header, given in seconds or as a date; ``None`` if it has none."""
    if not value:
        return None
    try:
        return Retry().parse_retry_after(value)
    except (InvalidHeader, ValueError, OverflowError):
        return None


class _Persistence:
    """Counts the tries of one file; tenacity asks it when to pause and when to stop."""

    def __init__(
        self, settings: FetchSettings, deadline: Deadline, progress: Callable[[], int], health: HostHealth
    ) -> None:
        self._health = health
        self._settings = settings
        self._deadline = deadline
        self._progress = progress
        self._backoff = wait_random_exponential(multiplier=settings.backoff_initial, max=settings.backoff_max)
        self._furthest = 0
        self._counts = dict.fromkeys(Why, 0)

    def count(self, state: RetryCallState) -> None:
        fault = _fault(state)
        if fault.why is not Why.GONE:
            self._counts[Why.GONE] = 0
        if fault.why is Why.TRANSIENT and self._progress() >= self._furthest + _PROGRESS:
            self._furthest = self._progress()
            self._counts[Why.TRANSIENT] = 0
        self._counts[fault.why] += 1
        log.debug("try %d failed: %s", state.attempt_number, fault.final.reason)

    def wait(self, state: RetryCallState) -> float:
        fault = _fault(state)
        if fault.why is Why.GONE:
            return self._settings.gone_pause
        if fault.why is Why.LOGIN:
            return 0.0
        return max(fault.after or 0.0, self._backoff(state))

    def stop(self, state: RetryCallState) -> bool:
        fault = _fault(state)
        if (fault.after or 0.0) > self._settings.retry_after_max:
            return True
        if state.upcoming_sleep >= self._deadline.remaining:
            return True
        if fault.outage is not None and self._health.is_down(fault.outage):
            return True
        limit = self._settings.attempts if fault.why is Why.TRANSIENT else _CONFIRMATIONS
        return self._counts[fault.why] >= limit

    def give_up(self, state: RetryCallState) -> NoReturn:
        fault = _fault(state)
        if fault.confirmed is not None and self._counts[Why.GONE] >= _CONFIRMATIONS:
            raise fault.confirmed from None
        if fault.outage is not None:
            self._health.failed(fault.outage)
        raise fault.final from None


def keep_trying(
    once: Callable[[], _T],
    settings: FetchSettings,
    deadline: Deadline,
    progress: Callable[[], int] = lambda: 0,
    health: HostHealth | None = None,
) -> _T:
    """Call ``once`` until it succeeds, raises something else than ``TryAgain``, or is given up.

    Parameters
    ----------
    progress
        Bytes that are safely on disk.
    health
        Which hosts are down: a try that fails at one of them is the last.

    Raises
    ------
    FileError
        The last failure, when there is no other try.
    """
    persistence = _Persistence(settings, deadline, progress, health or HostHealth())
    retrying = Retrying(
        retry=retry_if_exception_type(TryAgain),
        after=persistence.count,
        wait=persistence.wait,
        stop=persistence.stop,
        retry_error_callback=persistence.give_up,
    )
    return retrying(once)


def _fault(state: RetryCallState) -> TryAgain:
    fault = state.outcome.exception() if state.outcome else None
    assert isinstance(fault, TryAgain)
    return fault
