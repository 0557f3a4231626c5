"""Who runs, as the database knows it."""

from __future__ import annotations

import os

import sqlalchemy as sa

from node.database import connect, role_status


def ready_pids(url: str) -> dict[int, str]:
    """Role by process id, of those that are ready; none while there are no tables yet."""
    engine = connect(url)
    try:
        with engine.connect() as connection:
            rows = connection.execute(sa.select(role_status.c.pid, role_status.c.role).where(role_status.c.ready)).all()
    except sa.exc.DBAPIError:
        return {}
    finally:
        engine.dispose()
    return {row.pid: row.role for row in rows if lives(row.pid)}


def lives(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123 - it is not a file of a disk
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
