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
    speak for this one; None takes any. ``refused`` names the prompt sets that a worker does not
    score with, and why; a worker that refused all of them is not ready. Raises StorageError.
    """
    with transaction(engine) as connection:
        now = server_now(connection)
        rows = connection.execute(sa.select(role_status)).all()
    states = {role: _state(role, rows, incarnation, now) for role in required}
    missing = [f"{role} is {state}" for role, state in states.items() if state != "ready"]
    refused = {name: reason for row in _alive(rows, incarnation, now)
               for name, reason in row.detail.get("refused", {}).items()}
    return not missing, {
        "ready": not missing, "missing": missing, "roles": states | {"web": "ready"}, "refused": refused}


def _state(role: str, rows: Sequence[Any], incarnation: str | None, now: float) -> str:
    alive = [row for row in _alive(rows, incarnation, now) if row.role == role]
    ready = [row.detail for row in alive if row.ready]
    if ready:
        blind = all(detail.get("refused") and not detail.get("triage") for detail in ready)
        return "without a prompt set that works" if blind else "ready"
    if alive:
        return "starting"
    known = any(row.role == role and incarnation in (None, row.incarnation) for row in rows)
    return "silent" if known else "not running"


def _alive(rows: Sequence[Any], incarnation: str | None, now: float) -> list[Any]:
    """The processes that gave a sign of life just now."""
    return [row for row in rows if incarnation in (None, row.incarnation) and now - row.beat_at < BEAT_SECONDS]
