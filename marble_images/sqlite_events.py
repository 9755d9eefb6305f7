"""An event log in SQLite that can keep its files open while a run writes its events.

Dagster's own opens and closes the database for every event, so SQLAlchemy compiles each statement anew, and
SQLite writes its log back and deletes it with each last connection. Open for the length of a run, an event
costs a third of that. The instances that this package makes have this storage; one that a person configured
keeps what it has. Other storages, such as PostgreSQL's, keep their connections by themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._serdes import ConfigurableClassData
from sqlalchemy import create_engine
from sqlalchemy.engine import Connection
from sqlalchemy.pool import StaticPool

_BUSY_SECONDS = 60


def storage_config(home: Path) -> dict[str, Any]:
    """The entry ``event_log_storage`` of an instance's configuration, in the place of Dagster's own files."""
    return {
        "module": __name__,
        "class": KeptOpenSqliteEventLogStorage.__name__,
        "config": {"base_dir": str(home / "history" / "runs")},
    }


class KeptOpenSqliteEventLogStorage(SqliteEventLogStorage):
    """Dagster's event log in SQLite, whose files stay open for the length of :meth:`kept_open`."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        # One at a time: the threads of a process share a connection, and Dagster never asks for two at once.
        self._turn = threading.Lock()
        self._kept: dict[str, Connection] | None = None
        self._closing = ExitStack()
        self._tables: set[str] = set()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Any
    ) -> KeptOpenSqliteEventLogStorage:
        """As Dagster makes a storage from an instance's configuration."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Keep the files open that the block uses; a block within another changes nothing."""
        with self._turn:
            outermost = self._kept is None
            self._kept = {} if self._kept is None else self._kept
        try:
            yield
        finally:
            if outermost:
                with self._turn:
                    self._kept = None
                    self._closing.close()

    def has_table(self, table_name: str) -> bool:
        """Whether a table is there; Dagster asks for every event, and one that is there stays."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def run_connection(self, run_id: str | None = None) -> Any:
        """A transaction in the file of one run."""
        as_dagster_opens = super().run_connection(run_id)
        return as_dagster_opens if run_id is None else self._transaction(run_id, as_dagster_opens)

    def index_connection(self) -> AbstractContextManager[Connection]:
        """A transaction in the file of all assets."""
        return self._transaction(INDEX_SHARD_NAME, super().index_connection())

    @contextmanager
    def _transaction(
        self, shard: str, as_dagster_opens: AbstractContextManager[Connection]
    ) -> Iterator[Connection]:
        with self._turn:
            if self._kept is None:
                with as_dagster_opens as connection:
                    yield connection
                return
            if shard not in self._kept:
                with as_dagster_opens:
                    # It makes the file and its tables if they are not there.
                    pass
                self._kept[shard] = _open(self.conn_string_for_shard(shard), self._closing)
            with self._kept[shard].begin():
                yield self._kept[shard]


@contextmanager
def events_kept_open(instance: dg.DagsterInstance) -> Iterator[None]:
    """Keep the event log's files open for the length of the block; does nothing for other storages.

    Every event is a transaction of its own as before, and other processes read and write between them.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, KeptOpenSqliteEventLogStorage):
        yield
        return
    with storage.kept_open():
        yield


def _open(address: str, closing: ExitStack) -> Connection:
    # The threads of a process take turns, held apart by the storage's lock.
    options = {"timeout": _BUSY_SECONDS, "check_same_thread": False}
    engine = create_engine(address, poolclass=StaticPool, connect_args=options)
    closing.callback(engine.dispose)
    connection = closing.enter_context(engine.connect())
    # In its log mode SQLite cannot be damaged by a power cut so; at worst the last events are not there.
    connection.exec_driver_sql("PRAGMA synchronous=NORMAL")
    connection.commit()
    return connection
