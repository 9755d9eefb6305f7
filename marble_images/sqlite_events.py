"""Keeps Dagster's SQLite files open while a run writes its events.

Dagster opens and closes the database for every event, so SQLAlchemy compiles each statement anew, and SQLite
writes its log back and deletes it with each last connection. Open for the length of a run, an event costs a
third of that. Other storages, such as PostgreSQL's, keep their connections by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage
from sqlalchemy import create_engine
from sqlalchemy.engine import Connection
from sqlalchemy.pool import StaticPool

_BUSY_SECONDS = 60


@contextmanager
def events_kept_open(instance: dg.DagsterInstance) -> Iterator[None]:
    """Keep the event log's files open for the length of the block; does nothing for other storages.

    Every event is a transaction of its own as before, and other processes read and write between them.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage) or "_connect" in vars(storage):
        yield
        return
    as_dagster_opens = storage._connect
    with ExitStack() as closing:
        connections: dict[str, Connection] = {}

        @contextmanager
        def connect(shard: str) -> Iterator[Connection]:
            if shard not in storage._initialized_dbs:
                with as_dagster_opens(shard):
                    pass
            with storage._db_lock:
                if shard not in connections:
                    connections[shard] = _open(storage.conn_string_for_shard(shard), closing)
                with connections[shard].begin():
                    yield connections[shard]

        vars(storage)["_connect"] = connect
        # Asked for every event, with a connection of its own; tables that are there stay.
        vars(storage)["has_table"] = lru_cache(storage.has_table)
        try:
            yield
        finally:
            with storage._db_lock:
                del vars(storage)["_connect"], vars(storage)["has_table"]


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
