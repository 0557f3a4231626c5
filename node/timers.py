"""The clock that studies are timed by, and what becomes of their timers when somebody sets it.

Timers are points in time in rows, so that they survive a restart. A clock that is set would make them lie:
forward, everything seems to have been quiet for hours; back, nothing will be quiet for hours.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import sqlalchemy as sa

from node import audit
from node.database import Seconds, now, reading, series, study, transaction
from node.domain import AuditEvent, Lane

log = logging.getLogger(__name__)

NOTICED_SECONDS = 1.0
"""A smaller step is not worth a look; clocks of several machines may differ by as much."""
TIMED = (Lane.FRESH.value, Lane.HISTORICAL.value)
"""Lanes that have timers. Naming them lets an index find what is open and lies ahead."""


class Clock:
    """Seconds since 1970 UTC, and by how much that was set since the last look."""

    def __init__(self, wall: Callable[[], float] = now, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self.steady = steady
        self._apart = wall() - steady()

    def now(self) -> float:
        """The node's time."""
        return self._wall()

    def step(self) -> float:
        """Seconds the clock was set forward since the last call; negative when it was set back."""
        before, self._apart = self._apart, self._wall() - self.steady()
        return self._apart - before


class Timers:
    """Keeps the timers of open studies true to a clock that is set."""

    def __init__(self, engine: sa.Engine, chain: str, clock: Clock) -> None:
        self._engine = engine
        self._chain = chain
        self._clock = clock
        lies_ahead = study.c.last_received_at > sa.bindparam("at", type_=Seconds) + NOTICED_SECONDS
        self._ahead = sa.select(sa.literal(1)).where(study.c.open, study.c.lane.in_(TIMED), lies_ahead).limit(1)

    def follow(self) -> int:
        """Look at the clock; how many studies had their timers moved.

        Set forward, timers move along. Set back, those that lie ahead begin again now; the others only end sooner,
        which at worst costs a version. A step while no clerk ran is seen only where timers lie ahead.
        """
        step, at = max(0.0, self._clock.step()), self._clock.now()
        if step < NOTICED_SECONDS:
            if not self._any_ahead(at):
                return 0
            step = 0.0
        with transaction(self._engine) as connection:
            return self._move(connection, step, at)

    def _any_ahead(self, at: float) -> bool:
        with reading(self._engine) as connection:
            return connection.execute(self._ahead, {"at": at}).first() is not None

    def _move(self, connection: sa.Connection, step: float, at: float) -> int:
        asked = sa.case((study.c.source_asked_at + step > at, None), else_=study.c.source_asked_at + step)
        moved = connection.execute(sa.update(study).where(study.c.open).values(
            opened_at=_moved(study.c.opened_at, step, at), source_asked_at=asked,
            last_received_at=_moved(study.c.last_received_at, step, at))).rowcount
        still_open = sa.select(study.c.study_instance_uid).where(study.c.open)
        connection.execute(sa.update(series).where(series.c.study_instance_uid.in_(still_open)).values(
            last_received_at=_moved(series.c.last_received_at, step, at)))
        if moved:
            audit.append(connection, self._chain, AuditEvent(
                action="study.timers_moved", detail={"forward_seconds": round(step, 3), "studies": moved}))
            log.warning("the clock was set: timers of %d studies were moved", moved,
                        extra={"action": "study.timers_moved", "forward_seconds": round(step, 3)})
        return moved


def _moved(column: sa.Column[float], step: float, at: float) -> sa.ColumnElement[float]:
    """``step`` later, but not later than ``at``."""
    return sa.case((column + step > at, at), else_=column + step)
