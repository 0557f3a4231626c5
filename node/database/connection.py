"""Engine and transactions, on a SQLite file or PostgreSQL.

A write transaction starts with a write (``UPDATE … RETURNING``, ``INSERT``): SQLite takes its
write lock at the first write, and a value read before it may be stale by then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from node.errors import ConfigurationError, StorageError

BUSY_SECONDS = 30.0
"""How long one that writes to SQLite waits for another."""


def connect(url: str) -> sa.Engine:
    """An engine for ``url``; SQLite gets WAL, ``synchronous=FULL`` and a 30 s busy timeout.

    Raises:
        ConfigurationError: the URL is not one of SQLite or PostgreSQL.
    """
    try:
        parsed = sa.make_url(url)
    except SQLAlchemyError as error:
        raise ConfigurationError("database.url: is not a URL; expected sqlite:///FILE or postgresql://…") from error
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        options = {"timeout": BUSY_SECONDS, "check_same_thread": False}
        engine = sa.create_engine(parsed, hide_parameters=True, connect_args=options)
        sa.event.listen(engine, "connect", _sqlite_pragmas)
        return engine
    if backend == "postgresql":
        return sa.create_engine(parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True, hide_parameters=True)
    shown = parsed.render_as_string()  # without the password
    raise ConfigurationError(f"database.url = {shown!r}: expected sqlite:///FILE or postgresql://…")


def _sqlite_pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = "IMMEDIATE"
    busy_timeout = f"busy_timeout={BUSY_SECONDS * 1000:.0f}"
    for pragma in ("journal_mode=WAL", "synchronous=FULL", busy_timeout, "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that commits on leaving and rolls back on an error.

    Raises:
        StorageError: the database refused or could not be reached.
    """
    with mapped(engine), engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection to read with.

    Raises:
        StorageError: the database could not be reached.
    """
    with transaction(engine) as connection:
        yield connection


@contextmanager
def mapped(engine: sa.Engine) -> Iterator[None]:
    """Errors of the database as StorageError, naming the database without its password."""
    try:
        yield
    except SQLAlchemyError as error:
        reason = str(error).partition("\n")[0]  # the lines after it are the statement
        raise StorageError(f"database {engine.url.render_as_string()}: {reason}") from error
