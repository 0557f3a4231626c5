"""Whether this node can do its work now: what ``/readyz`` answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from node.database import role_status, server_now, transaction
from node.domain import JSON

Readiness = Callable[[], tuple[bool, JSON]]

REQUIRED_ROLES = ("receiver", "clerk", "worker")
"""The receiver listens, the clerk turns rows into jobs, the worker has loaded the models."""

BEAT_SECONDS = 10.0
"""A role whose last sign of life is older than this is silent."""


def of_roles(
    engine: sa.Engine, incarnation: str | None = None, required: Sequence[str] = REQUIRED_ROLES
) -> tuple[bool, JSON]:
    """True when every required role has a ready process that gave a sign of life just now.

    Only processes of ``incarnation`` count, so that a row left by an earlier start cannot
    speak for this one; None takes any. Raises StorageError.
    """
    with transaction(engine) as connection:
        now = server_now(connection)
        rows = connection.execute(sa.select(role_status)).all()
    states = {role: _state(role, rows, incarnation, now) for role in required}
    missing = [f"{role} is {state}" for role, state in states.items() if state != "ready"]
    return not missing, {"ready": not missing, "missing": missing, "roles": states | {"web": "ready"}}


def _state(role: str, rows: Sequence[Any], incarnation: str | None, now: float) -> str:
    mine = [row for row in rows if row.role == role and incarnation in (None, row.incarnation)]
    alive = [row for row in mine if now - row.beat_at < BEAT_SECONDS]
    if any(row.ready for row in alive):
        return "ready"
    if alive:
        return "starting"
    return "silent" if mine else "not running"
