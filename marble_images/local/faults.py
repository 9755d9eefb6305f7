"""Commands to misbehave: which requests a fault hits, and the log of all requests."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

ACTIONS = {
    "status": "answer `status`, with `retry_after` if given, `content` or (with `reason`) the service's own",
    "reset": "reset the connection: `when` before, after or in the middle (`mid`) of the answer",
    "hang": "say nothing for `seconds`: `when` before or after the work is done, or `mid` answer",
    "drip": "send the answer at `rate` bytes a second",
    "truncate": "send only `fraction` of the body, with `length` right or wrong (the whole's)",
    "corrupt": "change bytes of the answer, or (`when` before) of the request, and keep the length",
    "replace": "answer 200 with `content` (a web page, if none is given) of `content_type`",
    "redirect": "answer 302 to `location`; without one, to the same address again, for ever",
    "latency": "wait `seconds` and go on; adds to any other fault",
    "graphql_errors": "answer 200 with GraphQL `errors`: `data` null, or kept beside them",
}
"""What a stand-in can do wrong, and what says how."""

Delay = tuple[float, threading.Event]
"""So many seconds, or until the event."""

_LOG_LENGTH = 200_000


@dataclass(frozen=True)
class Fault:
    """One command to misbehave.

    Attributes
    ----------
    action
        One of :data:`ACTIONS`.
    service, method, operation, path, body
        What a request must be to be hit; ``None``: anything. Service and method are compared as they
        are; the operation is a regular expression for the whole name of one of the request's operations;
        path (with query, percent-decoded) and body (AppSync's only) are regular expressions to be found.
    skip, times
        So many of the requests that match pass first, and so many are hit then; ``None``: all.
    probability, seed
        Each request that matches is hit with this probability. The draw depends on the request and on how
        often it was made, not on when it came, so a run with the same seed meets the same faults.
    when
        ``before`` the work is done, ``after`` it (the answer is lost), or ``mid`` answer. Default: before,
        for ``corrupt`` after.
    """

    action: str
    service: str | None = None
    method: str | None = None
    operation: str | None = None
    path: str | None = None
    body: str | None = None
    skip: int = 0
    times: int | None = None
    probability: float = 1.0
    seed: int = 0
    when: str | None = None
    status: int = 500
    reason: str | None = None
    retry_after: str | None = None
    seconds: float = 3600.0
    rate: float = 1000.0
    fraction: float = 0.5
    length: str = "right"
    content: str | None = None
    content_type: str = "text/html; charset=utf-8"
    location: str | None = None
    data: str = "null"

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"no action {self.action!r}; there are {', '.join(ACTIONS)}")
        if self.when is None:
            object.__setattr__(self, "when", "after" if self.action == "corrupt" else "before")
        for name, allowed in (
            ("when", ("before", "after", "mid")),
            ("length", ("right", "wrong")),
            ("data", ("null", "kept")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}")
        if not 0 <= self.fraction <= 1 or not 0 <= self.probability <= 1:
            raise ValueError("fraction and probability must be from 0 to 1")
        for pattern in (self.operation, self.path, self.body):
            re.compile(pattern or "")


@dataclass
class LoggedRequest:
    """One request that a stand-in got.

    Attributes
    ----------
    service, method, path, operations
        Where it went and what it asked for; the path with its query, percent-decoded.
    detail
        AppSync: the variables.
    headers
        All of them, names in lower case.
    status
        Of the answer; ``None`` while there is none, and when the connection was cut before it.
    fault
        The action of the fault that hit it.
    """

    service: str
    method: str
    path: str
    operations: list[str]
    detail: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    status: int | None = None
    fault: str | None = None
    at: float = field(default_factory=time.time)

    @property
    def address(self) -> str:
        """What the draws of a fault's probability go by."""
        return f"{self.service} {self.method} {self.path} {','.join(self.operations)} {self.detail}"


class _Rule:
    def __init__(self, number: int, fault: Fault) -> None:
        self.number = number
        self.fault = fault
        self.hits = 0
        self.removed = threading.Event()
        self._matches = 0
        self._seen: Counter[str] = Counter()

    def takes(self, request: LoggedRequest) -> bool:
        fault = self.fault
        if not _matches(fault, request) or (fault.times is not None and self.hits >= fault.times):
            return False
        if fault.probability < 1:
            self._seen[request.address] += 1
            draw = random.Random(f"{fault.seed}|{request.address}|{self._seen[request.address]}").random()
            if draw >= fault.probability:
                return False
        self._matches += 1
        if self._matches <= fault.skip:
            return False
        self.hits += 1
        return True


def _matches(fault: Fault, request: LoggedRequest) -> bool:
    if fault.service not in (None, request.service) or fault.method not in (None, request.method):
        return False
    if fault.operation and not any(re.fullmatch(fault.operation, name) for name in request.operations):
        return False
    if fault.path and not re.search(fault.path, request.path):
        return False
    return not fault.body or re.search(fault.body, request.body) is not None


class FaultBook:
    """The faults that are commanded, and the requests that came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []
        self._next = 1
        self._log: deque[LoggedRequest] = deque(maxlen=_LOG_LENGTH)
        self.cleared = threading.Event()

    def add(self, fault: Mapping[str, Any]) -> int:
        """Command a fault, given by the fields of :class:`Fault`; its number.

        Raises
        ------
        TypeError, ValueError
            It is none.
        """
        made = Fault(**fault)
        with self._lock:
            number, self._next = self._next, self._next + 1
            self._rules.append(_Rule(number, made))
            return number

    def remove(self, number: int) -> bool:
        """Take one command back; whether it was there. Requests that it delays go on."""
        with self._lock:
            found = [rule for rule in self._rules if rule.number == number]
            for rule in found:
                self._rules.remove(rule)
                rule.removed.set()
            return bool(found)

    def clear(self) -> None:
        """Take all commands back; requests that hang on purpose end."""
        with self._lock:
            for rule in self._rules:
                rule.removed.set()
            self._rules.clear()
            self.cleared.set()
            self.cleared = threading.Event()

    def hits(self, number: int) -> int:
        """How many requests a fault has hit; 0 once it was taken back."""
        with self._lock:
            return next((rule.hits for rule in self._rules if rule.number == number), 0)

    def meet(self, request: LoggedRequest) -> tuple[list[Delay], Fault | None]:
        """Log a request: what delays its answer, and the fault that hits it.

        The first command that matches counts, except that all latencies add up.
        """
        with self._lock:
            self._log.append(request)
            delays: list[Delay] = []
            hit = None
            for rule in self._rules:
                if rule.fault.action == "latency":
                    if rule.takes(request):
                        delays.append((rule.fault.seconds, rule.removed))
                elif hit is None and rule.takes(request):
                    hit = rule.fault
            request.fault = hit.action if hit else ("latency" if delays else None)
            return delays, hit

    def requests(self, since: float = 0.0) -> list[dict[str, Any]]:
        """The requests that came, in order."""
        with self._lock:
            return [asdict(request) for request in self._log if request.at >= since]

    def forget_requests(self) -> None:
        """Empty the log."""
        with self._lock:
            self._log.clear()
