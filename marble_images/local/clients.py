"""What fills, inspects and commands stand-ins that run in another process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from marble_images.local.control import ControlClient
from marble_images.local.faults import LoggedRequest
from marble_images.local.queue_table import Record


class QueueControl:
    """Fills and inspects the AppSync stand-in's queue."""

    def __init__(self, control: ControlClient, url: str, api_key: str) -> None:
        self._control = control
        self.url = url
        self.api_key = api_key

    def put_records(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Write records, as DynamoDB stores them, over those of the same key; how many."""
        return int(self._control.call("queue.put_records", records=[dict(record) for record in records]))

    def seed_records(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Write the records that the queue never held, so none that was removed; how many those were."""
        return int(self._control.call("queue.seed_records", records=[dict(record) for record in records]))

    def records(self) -> list[Record]:
        """All records, in order of their sort keys."""
        return list(self._control.call("queue.records"))

    def record(self, file_path: str) -> Record | None:
        """One record, by its exact ``filePath``."""
        return next((found for found in self.records() if found.get("filePath") == file_path), None)

    def images(self) -> list[Record]:
        """All Image records: each carries the size of the pyramid that was last reported."""
        return list(self._control.call("queue.images"))

    def touch(self, file_path: str, changes: Mapping[str, Any] | None = None) -> Record:
        """Write a record anew as changed just now: waiting, with ``changes``."""
        return dict(self._control.call("queue.touch", file_path=file_path, changes=dict(changes or {})))

    def remove(self, file_path: str) -> bool:
        """Take a record out of the queue; whether it was there."""
        return bool(self._control.call("queue.remove", item_id=file_path))

    def set_paging(self, most: int | None = None, empty_every: int = 0, null_every: int = 0) -> None:
        """Cut the listing's pages otherwise: see :class:`marble_images.local.queue_table.Paging`."""
        self._control.call("queue.set_paging", most=most, empty_every=empty_every, null_every=null_every)


class FaultControl:
    """Commands the stand-ins to misbehave, and reads what requests they got.

    The stand-ins' names are ``appsync``, ``aws``, ``uri``, ``curate`` and ``google``.
    """

    def __init__(self, control: ControlClient) -> None:
        self._control = control

    def add(self, action: str, **fields: Any) -> int:
        """Command a fault, by the fields of :class:`marble_images.local.faults.Fault`; its number."""
        return int(self._control.call("faults.add", fault={"action": action, **fields}))

    def remove(self, number: int) -> bool:
        """Take one command back; whether it was there. Requests that it delays go on."""
        return bool(self._control.call("faults.remove", number=number))

    def clear(self) -> None:
        """Take all commands back and open all ports; requests that hang on purpose end."""
        self._control.call("faults.clear")

    def hits(self, number: int) -> int:
        """How many requests a fault has hit."""
        return int(self._control.call("faults.hits", number=number))

    @contextmanager
    def on(self, action: str, **fields: Any) -> Iterator[int]:
        """Command a fault for the length of a ``with`` block; its number."""
        number = self.add(action, **fields)
        try:
            yield number
        finally:
            self.remove(number)

    def refuse(self, service: str, seconds: float | None = None) -> None:
        """Close a stand-in's port, until :meth:`accept` or for so long: connections are refused."""
        self._control.call("faults.refuse", service=service, seconds=seconds)

    def accept(self, service: str) -> None:
        """Open a stand-in's port again."""
        self._control.call("faults.accept", service=service)

    def requests(self, service: str | None = None, operation: str | None = None) -> list[LoggedRequest]:
        """The requests that the stand-ins got since :meth:`forget_requests`, in order."""
        found = [LoggedRequest(**entry) for entry in self._control.call("faults.requests")]
        return [
            request
            for request in found
            if service in (None, request.service) and (operation is None or operation in request.operations)
        ]

    def count(self, service: str | None = None) -> Counter[str]:
        """How often each operation was asked for."""
        return Counter(name for request in self.requests(service) for name in request.operations)

    def forget_requests(self) -> None:
        """Empty the log of requests."""
        self._control.call("faults.forget_requests")
