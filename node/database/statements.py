"""What the two databases say differently: the time, and an insert that gives way.

Points in time are seconds since 1970 UTC, double precision.
"""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa


def now() -> float:
    """Seconds since 1970 UTC, as every ``*_at`` column holds them."""
    return time.time()


def server_now(connection: sa.Connection) -> float:
    """Seconds since 1970 by the database's clock, the one clock that processes on several machines share."""
    if connection.dialect.name == "postgresql":
        return float(connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    return now()


def insert_ignore(connection: sa.Connection, table: sa.Table, **values: Any) -> bool:
    """Insert unless the primary key (or a unique constraint) is taken; True when a row was written."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as pg_insert

        pg_statement = pg_insert(table).values(**values).on_conflict_do_nothing()
        # Without the option SQLAlchemy says -1 of an INSERT on PostgreSQL.
        return connection.execute(pg_statement, execution_options={"preserve_rowcount": True}).rowcount == 1
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert

    return connection.execute(sqlite_insert(table).values(**values).on_conflict_do_nothing()).rowcount == 1
