"""Deliveries as an operator sees them: list, retry, discard, and the clerk's part in a retry.

A command marks rows only; the clerk turns marks into jobs, in a new round with new job keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node import audit
from node.config import DeliverySection
from node.database import delivery, now, study, worklist_entry
from node.delivery.attempt import SEND, Attempt, note
from node.delivery.rules import NO_SUCH_OBJECT_INSTANCE, OPEN, retry_delay, weakest
from node.domain import JSON, AuditEvent, DeliveryState, Lane, Priority
from node.interfaces import Put

_Row = sa.Row[*tuple[Any, ...]]

UNPROVED = (*(state.value for state in OPEN), DeliveryState.FAILED.value)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which deliveries are meant; an empty field means any."""

    study_instance_uid: str = ""
    destination: str = ""
    sop_instance_uid: str = ""

    @property
    def rows(self) -> sa.ColumnElement[bool]:
        named = {name: value for name, value in vars(self).items() if value}
        return sa.and_(sa.true(), *(delivery.c[name] == value for name, value in named.items()))


def list_deliveries(connection: sa.Connection, selection: Selection | None = None) -> list[JSON]:
    """Every selected row, the latest change first."""
    rows = connection.execute(
        sa.select(delivery).where((selection or Selection()).rows)
        .order_by(delivery.c.updated_at.desc(), delivery.c.destination, delivery.c.sop_instance_uid))
    return [dict(row._mapping) for row in rows]


def of_study(connection: sa.Connection, study_instance_uid: str, version: int) -> DeliveryState:
    """The weakest proof over the objects and destinations of one study version."""
    states = connection.execute(
        sa.select(delivery.c.state)
        .where(delivery.c.study_instance_uid == study_instance_uid, delivery.c.version == version)).scalars()
    return weakest(DeliveryState(state) for state in states)


def retry(connection: sa.Connection, chain: str, selection: Selection) -> int:
    """Ask for a new round of everything selected that is not proved yet; how many instances."""
    return _mark(connection, chain, selection, "delivery.retry_requested", retry_requested=True)


def discard(connection: sa.Connection, chain: str, selection: Selection) -> int:
    """Give up everything selected that is not proved yet; how many instances."""
    return _mark(connection, chain, selection, "delivery.discarded",
                 state=DeliveryState.DISCARDED.value, retry_requested=False)


def _mark(connection: sa.Connection, chain: str, selection: Selection, action: str, **values: Any) -> int:
    rows = connection.execute(
        sa.update(delivery).where(selection.rows, delivery.c.state.in_(UNPROVED))
        .values(updated_at=now(), **values)
        .returning(delivery.c.sop_instance_uid, delivery.c.study_instance_uid, delivery.c.destination)).all()
    for row in rows:
        audit.append(connection, chain, AuditEvent(
            action=action, study_instance_uid=row.study_instance_uid, sop_instance_uid=row.sop_instance_uid,
            detail={"destination": row.destination}))
    return len(rows)


def supersede(connection: sa.Connection, chain: str, study_instance_uid: str, version: int) -> int:
    """What older versions have waiting and never sent is not sent any more; how many instances."""
    columns = delivery.c
    rows = connection.execute(
        sa.update(delivery)
        .where(columns.study_instance_uid == study_instance_uid, columns.version < version,
               columns.state == DeliveryState.QUEUED.value)
        .values(state=DeliveryState.DISCARDED.value, reason=f"superseded by version {version}", updated_at=now())
        .returning(columns.sop_instance_uid, columns.destination, columns.version)).all()
    for row in rows:
        audit.append(connection, chain, AuditEvent(
            action="delivery.discarded", study_instance_uid=study_instance_uid,
            sop_instance_uid=row.sop_instance_uid,
            detail={"destination": row.destination, "version": row.version, "superseded_by": version}))
    return len(rows)


def requeue(connection: sa.Connection, chain: str, put: Put, settings: DeliverySection) -> int:
    """Turn marks into a new round with a first job each; how many instances. The clerk calls it often."""
    if connection.scalar(sa.select(sa.literal(1)).where(delivery.c.retry_requested).limit(1)) is None:
        return 0  # a write on every call would take SQLite's only write lock
    marked = connection.execute(
        sa.update(delivery).where(delivery.c.retry_requested).values(retry_requested=False).returning(
            delivery.c.sop_instance_uid, delivery.c.study_instance_uid, delivery.c.version, delivery.c.destination,
            delivery.c.state, delivery.c.status)).all()
    groups: dict[tuple[str, int, str], list[_Row]] = {}
    for row in marked:
        if row.state in UNPROVED:
            groups.setdefault((row.study_instance_uid, row.version, row.destination), []).append(row)
    for (study_instance_uid, version, destination), rows in groups.items():
        attempt = Attempt(
            study_instance_uid=study_instance_uid, version=version, destination=destination,
            priority=_priority(connection, study_instance_uid))
        _new_round(connection, chain, put, settings, attempt, rows)
    return sum(map(len, groups.values()))


def _new_round(
    connection: sa.Connection, chain: str, put: Put, settings: DeliverySection, place: Attempt,
    rows: Sequence[_Row],
) -> None:
    """The rows of one place move to a round none of them was in: a job key runs once only."""
    columns = delivery.c
    here = sa.and_(
        columns.study_instance_uid == place.study_instance_uid, columns.version == place.version,
        columns.destination == place.destination)
    last = int(connection.scalar(sa.select(sa.func.max(columns.round)).where(here)) or 0)
    attempt = Attempt(
        study_instance_uid=place.study_instance_uid, version=place.version, destination=place.destination,
        priority=place.priority, round=last + 1)
    connection.execute(
        sa.update(delivery)
        .where(here, columns.sop_instance_uid.in_([row.sop_instance_uid for row in rows]))
        .values(round=attempt.round, attempts=0, state=DeliveryState.QUEUED.value, updated_at=now()))
    for row in rows:
        note(connection, chain, attempt, "delivery.requeued", row.sop_instance_uid, {})
    attempt.put(put, connection, SEND, _patience(settings, last, rows))


def _patience(settings: DeliverySection, last_round: int, rows: Sequence[_Row]) -> float:
    """Seconds before a new round: none for an operator, growing for a destination that lost what it stored."""
    lost = all(
        row.state == DeliveryState.QUEUED.value and row.status == NO_SUCH_OBJECT_INSTANCE for row in rows)
    return (retry_delay(settings, last_round) or settings.retry_seconds[-1]) if lost else 0.0


def _priority(connection: sa.Connection, study_instance_uid: str) -> Priority:
    row = connection.execute(
        sa.select(study.c.lane, study.c.order_priority, worklist_entry.c.ai_priority)
        .join_from(study, worklist_entry,
                   worklist_entry.c.study_instance_uid == study.c.study_instance_uid, isouter=True)
        .where(study.c.study_instance_uid == study_instance_uid)).one_or_none()
    if row is None:
        return Priority.ROUTINE
    if row.lane == Lane.HISTORICAL.value:
        return Priority.HISTORICAL
    ordered = Priority(row.order_priority)
    return ordered if row.ai_priority is None else Priority.higher(ordered, Priority(row.ai_priority))
