"""Bringing a database up to date: our tables by Alembic, then the job tables, under one lock."""

from __future__ import annotations

import fcntl
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from node.database import insert_ignore, node_state, reading, transaction

HEAD = "0007"
"""The newest revision in ``migrations``. Stated, so that asking for it needs no Alembic."""
ADVISORY_LOCK = 0x41494E44  # any fixed number of our own
LOCK_POLL_SECONDS = 0.1
JOBS_VERSION = "dbos-3.4"
"""Written to ``node_state`` once the job tables of this version are there."""


def is_current(engine: sa.Engine) -> bool:
    """True when neither our tables nor the job tables need a migration. Raises StorageError."""
    with reading(engine) as connection:
        if _revision(connection) != HEAD:
            return False
        query = sa.select(node_state.c.value).where(node_state.c.key == "jobs_schema")
        return connection.execute(query).scalar() == JOBS_VERSION


def migrate(engine: sa.Engine, data_dir: Path, migrate_jobs: Callable[[sa.Engine], None]) -> None:
    """Bring everything up to date; processes that start together wait for the first."""
    with _lock(engine, data_dir):
        if is_current(engine):
            return
        from alembic import command
        from alembic.config import Config as AlembicConfig

        settings = AlembicConfig()
        settings.set_main_option("script_location", str(_folder()))
        with engine.begin() as connection:
            if engine.dialect.name == "sqlite":
                # Its driver begins a transaction for a change of data only: a killed migration must leave nothing.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            settings.attributes["connection"] = connection
            command.upgrade(settings, "head")
        migrate_jobs(engine)
        with transaction(engine) as connection:
            _set_state(connection, "jobs_schema", JOBS_VERSION)
            insert_ignore(connection, node_state, key="node_uid", value=f"2.25.{uuid.uuid4().int}")


def node_uid(engine: sa.Engine) -> str:
    """The UID of this installation, from which the UIDs of its objects are derived. Raises StorageError."""
    with reading(engine) as connection:
        query = sa.select(node_state.c.value).where(node_state.c.key == "node_uid")
        return str(connection.execute(query).scalar_one())


def _set_state(connection: sa.Connection, key: str, value: str) -> None:
    if not insert_ignore(connection, node_state, key=key, value=value):
        connection.execute(sa.update(node_state).where(node_state.c.key == key).values(value=value))


def _folder() -> Path:
    return Path(__file__).parent / "migrations"


def _revision(connection: sa.Connection) -> str | None:
    """Where Alembic says the database is; None before the first migration."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


@contextmanager
def _lock(engine: sa.Engine, data_dir: Path) -> Iterator[None]:
    """A file lock for SQLite, an advisory lock for PostgreSQL, which may have nodes on other machines."""
    if engine.dialect.name == "postgresql":
        # No transaction and no waiting statement: either would hold up CREATE INDEX CONCURRENTLY of the job tables.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not connection.execute(sa.select(sa.func.pg_try_advisory_lock(ADVISORY_LOCK))).scalar_one():
                time.sleep(LOCK_POLL_SECONDS)
            try:
                yield
            finally:
                connection.execute(sa.select(sa.func.pg_advisory_unlock(ADVISORY_LOCK)))
        return
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "migrate.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
