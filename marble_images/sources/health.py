"""Which hosts are down, as far as this process has seen: a day of files must not wait for each anew."""

from __future__ import annotations

import threading
from collections import Counter

FAILURES_IN_A_ROW = 3
"""Files in a row whose tries all ended with one host out of reach, before it is taken to be down."""


class HostHealth:
    """Remembers hosts that did not answer; safe to use from many threads.

    While a host is down each of its files gets one try, without pauses. The first file that it delivers,
    or any answer that says that it works, ends that.

    Parameters
    ----------
    failures_in_a_row
        Files that must fail, each after all its tries, before a host is taken to be down.
    """

    def __init__(self, failures_in_a_row: int = FAILURES_IN_A_ROW) -> None:
        self._limit = failures_in_a_row
        self._lock = threading.Lock()
        self._failures: Counter[str] = Counter()

    def is_down(self, host: str) -> bool:
        """Whether the host is taken to be down."""
        with self._lock:
            return self._failures.get(host, 0) >= self._limit

    def failed(self, host: str) -> None:
        """Note that a file was given up because the host was out of reach."""
        with self._lock:
            self._failures[host] += 1

    def answered(self, host: str) -> None:
        """Note that the host works."""
        with self._lock:
            self._failures.pop(host, None)

    def forget(self) -> None:
        """Take every host to be up."""
        with self._lock:
            self._failures.clear()
