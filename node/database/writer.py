"""The connection that one thread keeps to write with."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from node.database.connection import mapped

LOOK_AGAIN_SECONDS = 0.0005
PAUSE_SECONDS = 1.0
"""After so long a kept connection may have been closed by the other end."""


class Writer:
    """Transactions of one thread at a time, on a connection that stays: to take one from the pool and give it
    back costs as much as a small transaction. After a pause a fresh one is taken, which the pool has tried.

    SQLite lets one process write at a time, and who finds another at it sleeps for longer each time he looks.
    This one looks twice in a millisecond, so it is next.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._busy_timeout_ms = 0
        self._connection: sa.Connection | None = None
        self._used_at = 0.0

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """As :func:`transaction`. Raises StorageError."""
        with mapped(self._engine):
            connection = self._fresh()
            try:
                with connection.begin():
                    if self._is_sqlite:
                        self._take_lock(connection)
                    yield connection
            except BaseException:
                self.close()
                raise
            self._used_at = time.monotonic()

    def close(self) -> None:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._is_sqlite and not connection.invalidated:
                connection.exec_driver_sql(f"PRAGMA busy_timeout={self._busy_timeout_ms}")
            connection.close()

    def _fresh(self) -> sa.Connection:
        if time.monotonic() - self._used_at > PAUSE_SECONDS:
            self.close()
        if self._connection is None:
            self._connection = self._engine.connect()
            if self._is_sqlite:  # it waits here instead, as long as the connection would have
                asked = self._connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
                self._busy_timeout_ms = int(asked)
                self._connection.exec_driver_sql("PRAGMA busy_timeout=0")
                self._connection.rollback()
        return self._connection

    def _take_lock(self, connection: sa.Connection) -> None:
        deadline = time.monotonic() + self._busy_timeout_ms / 1000
        while True:
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                return
            except sa.exc.OperationalError as error:
                code = getattr(error.orig, "sqlite_errorcode", 0)
                if code & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(LOOK_AGAIN_SECONDS)
