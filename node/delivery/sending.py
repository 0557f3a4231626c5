"""From the outbox to ``stored``: one job per attempt, so that a wait of hours holds no worker.

``send`` talks to the destination and may run more than once; ``record`` commits what it
brought back together with the audit events and the next job.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from node.config import Destination
from node.database import delivery, insert_ignore, now, report, transaction
from node.delivery.attempt import COMMIT, SEND, Attempt, Office, move, note
from node.delivery.rules import OPEN, SUCCESS, gate, judge, retry_delay
from node.domain import JSON, DeliveryState, Priority, ReportObject
from node.errors import PeerError
from node.interfaces import Put

log = logging.getLogger(__name__)

_Row = sa.Row[*tuple[Any, ...]]


def queue(
    connection: sa.Connection, chain: str, put: Put, study_instance_uid: str, version: int,
    reports: Sequence[ReportObject], destinations: Sequence[Destination], priority: Priority,
) -> int:
    """Ask for every object at every destination; how many rows are new. Asking twice changes nothing."""
    total = 0
    for destination in destinations:
        attempt = Attempt(
            study_instance_uid=study_instance_uid, version=version, destination=destination.name, priority=priority)
        new = [item.sop_instance_uid for item in reports if _insert(connection, attempt, item)]
        for sop_instance_uid in new:
            note(connection, chain, attempt, "delivery.queued", sop_instance_uid, {})
        if new:
            attempt.put(put, connection, SEND)
        total += len(new)
    return total


def _insert(connection: sa.Connection, attempt: Attempt, item: ReportObject) -> bool:
    return insert_ignore(
        connection, delivery, sop_instance_uid=item.sop_instance_uid, destination=attempt.destination,
        study_instance_uid=attempt.study_instance_uid, version=attempt.version, round=attempt.round, updated_at=now())


def send(office: Office, arguments: JSON) -> JSON:
    """Send what is not proved yet; ``{"outcomes": [...]}`` with one :class:`StoreOutcome` each, plus ``final``.

    ``final`` marks an outcome that no repetition changes although the peer gave no status for it.

    Raises:
        StorageError: the database cannot be read.
    """
    attempt = Attempt.of(arguments)
    with transaction(office.engine) as connection:
        rows = connection.execute(
            sa.select(delivery.c.sop_instance_uid, delivery.c.state, report.c.series_instance_uid, report.c.path,
                      report.c.demo)
            .join(report, report.c.sop_instance_uid == delivery.c.sop_instance_uid)
            .where(attempt.rows, delivery.c.state.in_([state.value for state in OPEN]))
            .order_by(report.c.kind)).all()
    return {"outcomes": _send(office, attempt, rows) if rows else []}


def _send(office: Office, attempt: Attempt, rows: Sequence[_Row]) -> list[JSON]:
    destination = office.destinations.get(attempt.destination)
    if destination is None:
        reason = f"destinations has no {attempt.destination!r} any more; add it again or discard the delivery"
        return [_nothing_left(row, reason, final=True) for row in rows]
    reason = gate(destination, any(row.demo for row in rows), office.allow_demo)
    if reason:  # the destination or the setting changed since it was queued
        return [_nothing_left(row, reason, final=True) for row in rows]
    found = _found(office, destination, attempt, rows)
    outcomes = [_outcome(row, sent=True, status=SUCCESS, reason="found by query") for row in rows
                if row.sop_instance_uid in found]
    missing = [row for row in rows if row.sop_instance_uid not in found]
    try:
        answers = office.client.store(destination, [office.data_dir / row.path for row in missing]) if missing else []
    except PeerError as error:
        return outcomes + [_nothing_left(row, str(error), final=not error.retryable) for row in missing]
    # By place, not by UID: a file that cannot be read has none.
    sent = [{**asdict(answer), "sop_instance_uid": row.sop_instance_uid, "final": False}
            for row, answer in zip(missing, answers, strict=True)]
    return outcomes + sent


def _found(office: Office, destination: Destination, attempt: Attempt, rows: Sequence[_Row]) -> set[str]:
    """Which of the instances whose answer got lost the destination holds; an unanswered question proves nothing."""
    series: dict[str, list[str]] = {}
    for row in rows:
        if row.state == DeliveryState.SENT.value:
            series.setdefault(row.series_instance_uid, []).append(row.sop_instance_uid)
    found: set[str] = set()
    for series_instance_uid, sop_instance_uids in series.items():
        try:
            found |= office.client.find_instances(
                destination, attempt.study_instance_uid, series_instance_uid, sop_instance_uids)
        except PeerError as error:
            log.info("destination %s could not be asked what it holds: %s", destination.name, error,
                     extra={"action": "delivery.query_failed", "destination": destination.name})
            break
    return found


def _outcome(row: _Row, *, sent: bool, status: int | None, reason: str, final: bool = False) -> JSON:
    return {
        "sop_instance_uid": row.sop_instance_uid, "sent": sent, "status": status, "reason": reason, "final": final}


def _nothing_left(row: _Row, reason: str, *, final: bool) -> JSON:
    return _outcome(row, sent=False, status=None, reason=reason, final=final)


def record(office: Office, connection: sa.Connection, arguments: JSON, result: JSON) -> None:
    """Commit what :func:`send` brought back, and enqueue what follows from it."""
    attempt = Attempt.of(arguments)
    states = _lock(connection, attempt)
    for outcome in result["outcomes"]:
        old = states.get(outcome["sop_instance_uid"])
        if old in OPEN:
            states[outcome["sop_instance_uid"]] = _apply(office, connection, attempt, old, outcome)
    _follow(office, connection, attempt, states)


def record_failure(office: Office, connection: sa.Connection, arguments: JSON, reason: str) -> None:
    """The attempt itself broke, before any answer: it counts as one, and the next follows."""
    attempt = Attempt.of(arguments)
    states = _lock(connection, attempt)
    for sop_instance_uid, state in states.items():
        if state in OPEN:
            move(connection, office.chain, attempt, sop_instance_uid, state, "delivery.deferred", reason=reason)
    _follow(office, connection, attempt, states)


def _lock(connection: sa.Connection, attempt: Attempt) -> dict[str, DeliveryState]:
    """States by SOP Instance UID, read by a write so that nothing changes them under us."""
    rows = connection.execute(
        sa.update(delivery).where(attempt.rows).values(updated_at=now())
        .returning(delivery.c.sop_instance_uid, delivery.c.state))
    return {row.sop_instance_uid: DeliveryState(row.state) for row in rows}


def _apply(
    office: Office, connection: sa.Connection, attempt: Attempt, old: DeliveryState, outcome: JSON
) -> DeliveryState:
    state = DeliveryState.FAILED if outcome["final"] else judge(outcome["sent"], outcome["status"])
    if state is DeliveryState.QUEUED and outcome["status"] is None:
        state = old  # nothing left this time, which does not take back what left before
    action = "delivery.deferred" if state is DeliveryState.QUEUED else f"delivery.{state.value}"
    connection.execute(
        sa.update(delivery)
        .where(attempt.rows, delivery.c.sop_instance_uid == outcome["sop_instance_uid"])
        .values(attempts=attempt.number))
    move(connection, office.chain, attempt, outcome["sop_instance_uid"], state, action,
         status=outcome["status"], reason=outcome["reason"])
    return state


def _follow(
    office: Office, connection: sa.Connection, attempt: Attempt, states: dict[str, DeliveryState]
) -> None:
    """The next attempt, the dead letters, or the request for commitment."""
    unproved = [uid for uid, state in states.items() if state in OPEN]
    if unproved:
        delay = retry_delay(office.settings, attempt.number)
        if delay is not None:
            attempt.next().put(office.put, connection, SEND, delay)
            return
        _give_up(office, connection, attempt, unproved)
    destination = office.destinations.get(attempt.destination)
    if destination is not None and destination.storage_commitment and DeliveryState.STORED in states.values():
        attempt.first().put(office.put, connection, COMMIT)


def _give_up(office: Office, connection: sa.Connection, attempt: Attempt, sop_instance_uids: Sequence[str]) -> None:
    for row in connection.execute(
        sa.select(delivery.c.sop_instance_uid, delivery.c.status, delivery.c.reason)
        .where(attempt.rows, delivery.c.sop_instance_uid.in_(sop_instance_uids))
    ).all():
        reason = f"gave up after {attempt.number} attempts, the last: {row.reason}"
        move(connection, office.chain, attempt, row.sop_instance_uid, DeliveryState.FAILED, "delivery.failed",
             status=row.status, reason=reason)
        log.error("delivery to %s: %s", attempt.destination, reason, extra={
            "action": "delivery.failed", "sop_instance_uid": row.sop_instance_uid,
            "study_instance_uid": attempt.study_instance_uid, "destination": attempt.destination})
