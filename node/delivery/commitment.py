"""From ``stored`` to ``committed``: the Storage Commitment Push Model (PS3.4 Annex J), as its SCU.

The transaction is on record before the N-ACTION leaves, because the report may come on another
association before the answer does. Nobody waits for it: a delayed check asks again. A destination
that does not do commitment leaves its objects ``stored``, with the reason.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa

from node.database import commitment, delivery, now, report, transaction
from node.delivery.attempt import COMMIT, COMMIT_CHECK, Attempt, Office, move, note
from node.delivery.requests import RequestKey, record_answer
from node.delivery.rules import NO_SUCH_OBJECT_INSTANCE, retry_delay
from node.domain import JSON, CommitmentReport, DeliveryState, Priority
from node.errors import BadInput, PeerError

log = logging.getLogger(__name__)

_Row = sa.Row[*tuple[Any, ...]]

AUTOMATIC_ROUNDS = 5
"""A destination that says Success and then holds nothing is not sent the object for ever."""


def request(office: Office, arguments: JSON) -> JSON:
    """Ask for commitment of what is stored; ``{"transaction_uid", "accepted", "final", "reason", "report"}``.

    A repetition asks under a new Transaction UID; a late answer to the old one still counts.
    An empty ``transaction_uid`` says that there was nothing left to ask for.

    Raises:
        StorageError: the database refused the registration.
    """
    attempt = Attempt.of(arguments)
    destination = office.destinations.get(attempt.destination)
    if destination is None:
        return _refused("", f"destinations has no {attempt.destination!r} any more", final=True)
    transaction_uid = f"2.25.{uuid.uuid4().int}"
    with transaction(office.engine) as connection:
        references = _register(connection, office.chain, attempt, transaction_uid)
    if not references:
        return {"transaction_uid": "", "accepted": True, "final": False, "reason": "", "report": None}
    try:
        answer = office.client.request_commitment(destination, transaction_uid, references)
    except PeerError as error:
        return _refused(transaction_uid, str(error), final=not error.retryable)
    return {
        "transaction_uid": transaction_uid, "accepted": True, "final": False, "reason": "",
        "report": None if answer is None else asdict(answer)}


def _refused(transaction_uid: str, reason: str, *, final: bool) -> JSON:
    return {"transaction_uid": transaction_uid, "accepted": False, "final": final, "reason": reason, "report": None}


def _register(
    connection: sa.Connection, chain: str, attempt: Attempt, transaction_uid: str
) -> list[tuple[str, str]]:
    """(SOP Class UID, SOP Instance UID) of the stored objects, now tied to the transaction."""
    stored = sa.and_(attempt.rows, delivery.c.state == DeliveryState.STORED.value)
    marked = connection.execute(
        sa.update(delivery).where(stored).values(transaction_uid=transaction_uid)
        .returning(delivery.c.sop_instance_uid)).scalars().all()
    if not marked:
        return []
    connection.execute(sa.insert(commitment).values(
        transaction_uid=transaction_uid, destination=attempt.destination, version=attempt.version,
        study_instance_uid=attempt.study_instance_uid, requested_at=now()))
    note(connection, chain, attempt, "commitment.requested", "",
         {"transaction_uid": transaction_uid, "instances": len(marked)})
    rows = connection.execute(
        sa.select(report.c.sop_class_uid, report.c.sop_instance_uid)
        .where(report.c.sop_instance_uid.in_(marked)).order_by(report.c.sop_instance_uid))
    return [(row.sop_class_uid, row.sop_instance_uid) for row in rows]


def record_request(office: Office, connection: sa.Connection, arguments: JSON, result: JSON) -> None:
    """Commit what :func:`request` brought back: the report itself, a later check, the next try, or giving up."""
    attempt = Attempt.of(arguments)
    if result["accepted"]:
        if result["report"] is not None:
            record_commitment(connection, office.chain, _report_of(result["report"]))
        if result["transaction_uid"]:
            attempt.put(office.put, connection, COMMIT_CHECK, office.settings.commitment_timeout_seconds,
                        transaction_uid=result["transaction_uid"])
        return
    note(connection, office.chain, attempt, "commitment.refused", "", {"reason": result["reason"]})
    _again(office, connection, attempt, result["reason"], final=result["final"])


def record_request_failure(office: Office, connection: sa.Connection, arguments: JSON, reason: str) -> None:
    """The request itself broke, before any answer: it counts as one, and the next follows."""
    record_request(office, connection, arguments, _refused("", reason, final=False))


def check(office: Office, connection: sa.Connection, arguments: JSON) -> None:
    """The time for a report is over: ask again for what it did not mention, under a new Transaction UID."""
    attempt = Attempt.of(arguments)
    waiting = connection.execute(
        sa.update(delivery)
        .where(delivery.c.transaction_uid == arguments["transaction_uid"],
               delivery.c.destination == attempt.destination, delivery.c.state == DeliveryState.STORED.value)
        .values(updated_at=now()).returning(delivery.c.sop_instance_uid)).scalars().all()
    if not waiting:
        return
    note(connection, office.chain, attempt, "commitment.unanswered", "",
         {"transaction_uid": arguments["transaction_uid"], "instances": len(waiting)})
    _again(office, connection, attempt, "no report came", final=False)


def _again(office: Office, connection: sa.Connection, attempt: Attempt, reason: str, *, final: bool) -> None:
    delay = None if final else retry_delay(office.settings, attempt.number)
    if delay is not None:
        attempt.next().put(office.put, connection, COMMIT, delay)
        return
    text = f"stored, never committed: {reason}"
    connection.execute(
        sa.update(delivery).where(attempt.rows, delivery.c.state == DeliveryState.STORED.value)
        .values(reason=text, updated_at=now()))
    note(connection, office.chain, attempt, "commitment.given_up", "", {"reason": reason})
    log.warning("destination %s: %s", attempt.destination, text, extra={
        "action": "commitment.given_up", "destination": attempt.destination,
        "study_instance_uid": attempt.study_instance_uid})


def record_commitment(connection: sa.Connection, chain: str, answer: CommitmentReport) -> None:
    """Commit a report, from whichever association it came; hearing it twice changes nothing.

    It may be about the node's own objects or about what a sender asked to commit. Of ours, an instance
    the destination does not hold is marked to be sent again: the clerk's
    :func:`node.delivery.requeue` makes the job, since a receiver has no job engine.

    Raises:
        BadInput: the transaction is not one of ours.
    """
    row = connection.execute(
        sa.update(commitment).where(commitment.c.transaction_uid == answer.transaction_uid)
        .values(answered_at=sa.func.coalesce(commitment.c.answered_at, now()))
        .returning(*commitment.c)).one_or_none()
    if row is None:
        raise BadInput(f"storage commitment report: transaction {answer.transaction_uid!r} is not one of ours")
    if row.sender_transaction_uid:
        sender = RequestKey(transaction_uid=row.sender_transaction_uid, calling_ae_title=row.sender_ae_title)
        record_answer(connection, chain, sender, answer)
        return
    place = Attempt(
        study_instance_uid=row.study_instance_uid, version=row.version, destination=row.destination,
        priority=Priority.ROUTINE)
    failed = dict(answer.failed)
    rows = _lock(connection, place, {*answer.committed, *failed})
    for uid, row in rows.items():
        here = replace(place, round=row.round)
        if uid in failed:
            _fail(connection, chain, here, row, answer.transaction_uid, failed[uid])
        elif row.state not in (DeliveryState.COMMITTED.value, DeliveryState.DISCARDED.value):
            move(connection, chain, here, uid, DeliveryState.COMMITTED, "delivery.committed", retry_requested=False)


def _lock(connection: sa.Connection, place: Attempt, sop_instance_uids: Collection[str]) -> dict[str, _Row]:
    """The rows a report is about, read by a write so that nothing changes them under us."""
    columns = delivery.c
    rows = connection.execute(
        sa.update(delivery)
        .where(columns.sop_instance_uid.in_(sop_instance_uids), columns.destination == place.destination,
               columns.study_instance_uid == place.study_instance_uid, columns.version == place.version)
        .values(updated_at=now())
        .returning(columns.sop_instance_uid, columns.state, columns.round, columns.transaction_uid))
    return {row.sop_instance_uid: row for row in rows}


def _fail(
    connection: sa.Connection, chain: str, place: Attempt, row: _Row, transaction_uid: str, reason: int
) -> None:
    """Only the row's latest transaction may take its proof back."""
    if row.state != DeliveryState.STORED.value or row.transaction_uid != transaction_uid:
        return
    text = f"commitment failed with Failure Reason 0x{reason:04X}"
    if reason == NO_SUCH_OBJECT_INSTANCE and row.round < AUTOMATIC_ROUNDS:
        move(connection, chain, place, row.sop_instance_uid, DeliveryState.QUEUED, "delivery.resend_requested",
             status=reason, reason=text, retry_requested=True)
    else:
        move(connection, chain, place, row.sop_instance_uid, DeliveryState.FAILED, "delivery.failed",
             status=reason, reason=text)


def _report_of(value: JSON) -> CommitmentReport:
    return CommitmentReport(
        transaction_uid=value["transaction_uid"], committed=tuple(value["committed"]),
        failed=tuple((str(uid), int(reason)) for uid, reason in value["failed"]))
