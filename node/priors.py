"""Earlier studies that a version of a study asked for: one row from the question to what came of it.

A row is settled once: by what came, by its time limit, or by a failure, whichever is first. Findings that wait are
held by the row and go on in the transaction that settles it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from node.database import insert_ignore, now, prior
from node.domain import JSON, PriorState

PENDING = (PriorState.ASKED.value, PriorState.FOUND.value)
CLOCK_SET_SECONDS = 1.0
"""A question asked so far in the future was asked before the clock was set back: its time limit is over."""

Row = sa.Row[*tuple[Any, ...]]


def book(connection: sa.Connection, uid: str, version: int, source: str, seconds: float) -> bool:
    """Ask now; False where this version did already."""
    at = now()
    return insert_ignore(connection, prior, study_instance_uid=uid, version=version, source=source, asked_at=at,
                         deadline_at=at + seconds)


def note_found(connection: sa.Connection, uid: str, version: int, found: Sequence[JSON]) -> bool:
    """The archive has these; False where nobody waits for them any more."""
    return _change(connection, uid, version, state=PriorState.FOUND.value, found=list(found)) is not None


def hold(connection: sa.Connection, uid: str, version: int, priority: int) -> bool:
    """Let the findings of a version wait; False where there is nothing to wait for."""
    return _change(connection, uid, version, held_priority=priority) is not None


def settle(
    connection: sa.Connection, uid: str, version: int, state: PriorState, *, reason: str = "",
    found: Sequence[JSON] = (),
) -> Row | None:
    """What came of it, once; None where it was settled before. ``held_priority`` tells if findings wait."""
    return _change(connection, uid, version, state=state.value, reason=reason, found=list(found))


def overdue(connection: sa.Connection) -> Sequence[Row]:
    """Rows whose time limit is over."""
    at = now()
    late = sa.or_(prior.c.deadline_at <= at, prior.c.asked_at > at + CLOCK_SET_SECONDS)
    return connection.execute(sa.select(prior).where(prior.c.state.in_(PENDING), late)).all()


def of_version(connection: sa.Connection, uid: str, version: int) -> Row | None:
    """The row of a version; None where nobody was asked."""
    return connection.execute(sa.select(prior).where(*_of(uid, version))).one_or_none()


def _change(connection: sa.Connection, uid: str, version: int, **values: Any) -> Row | None:
    """The changed row, as long as it was not settled."""
    return connection.execute(
        sa.update(prior).where(*_of(uid, version), prior.c.state.in_(PENDING)).values(**values).returning(prior)
    ).one_or_none()


def _of(uid: str, version: int) -> tuple[sa.ColumnElement[bool], ...]:
    return prior.c.study_instance_uid == uid, prior.c.version == version
