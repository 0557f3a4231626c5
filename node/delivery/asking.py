"""Asking the archive what a sender asked the node: the same instances, under a Transaction UID of the node's own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa

from node.arrivals import OTHER_PIXELS
from node.commitment import CLASS_INSTANCE_CONFLICT, NO_SUCH_OBJECT_INSTANCE, PROCESSING_FAILURE
from node.database import commitment, instance, now, transaction
from node.delivery.commitment import record_commitment
from node.delivery.relay import Relay, again
from node.delivery.requests import RequestKey, Row, change, decide, fail, lock, note, undecided
from node.domain import JSON, CommitmentState, InstanceState
from node.errors import PeerError

ASKED, REFUSED, DEFERRED, OVER = "asked", "refused", "deferred", "over"

DEFERRED_SECONDS = 1.0
"""Until what is asked for has been read."""

CHUNK = 500
"""UIDs in one query."""

_Judged = tuple[list[tuple[str, str, int]], bool]


def ask(relay: Relay, arguments: JSON) -> JSON:
    """N-ACTION to the archive; ``{"outcome", "final", "reason"}``. A repetition has a new Transaction UID.

    The transaction is on record before the request leaves, and an answer that comes on the same
    association is written down at once.

    Raises:
        StorageError: the database refused.
    """
    key, office = RequestKey(**arguments), relay.office
    transaction_uid = f"2.25.{uuid.uuid4().int}"
    with transaction(office.engine) as connection:
        row = lock(connection, key, CommitmentState.ASKING)
        outcome, references = (OVER, []) if row is None else _register(connection, office.chain, row, transaction_uid)
    if row is None or not references:
        return _outcome(outcome)
    archive = office.destinations.get(row.archive)
    if archive is None:
        return _outcome(REFUSED, f"destinations has no {row.archive!r} any more", final=True)
    try:
        answer = office.client.request_commitment(archive, transaction_uid, references)
    except PeerError as error:
        return _outcome(REFUSED, str(error), final=not error.retryable)
    if answer is not None:
        with transaction(office.engine) as connection:
            record_commitment(connection, office.chain, answer)
    return _outcome(ASKED)


def _outcome(outcome: str, reason: str = "", *, final: bool = False) -> JSON:
    return {"outcome": outcome, "reason": reason, "final": final}


def _register(
    connection: sa.Connection, chain: str, row: Row, transaction_uid: str
) -> tuple[str, list[tuple[str, str]]]:
    """What the archive is to be asked for, now tied to the transaction; nothing when all of it fails here."""
    key, wanted = RequestKey.of(row), undecided(row)
    failed, unread = _judge(connection, wanted)
    if unread:
        return DEFERRED, []
    if failed and decide(connection, chain, row, (), failed):
        return OVER, []
    known = {(sop_class_uid, uid) for sop_class_uid, uid, _ in failed}
    references = [pair for pair in wanted if pair not in known]
    connection.execute(sa.insert(commitment).values(
        transaction_uid=transaction_uid, destination=row.archive, study_instance_uid="", version=0,
        requested_at=now(), sender_transaction_uid=key.transaction_uid, sender_ae_title=key.calling_ae_title))
    note(connection, chain, "commitment.requested", key,
         {"destination": row.archive, "transaction_uid": transaction_uid, "instances": len(references)})
    return ASKED, references


def _judge(connection: sa.Connection, wanted: Sequence[tuple[str, str]]) -> _Judged:
    """What fails before the archive is asked, and whether something has not been read yet.

    An instance the node holds with other pixels than it first got under that UID fails too: the archive's
    word would be about one of the two, and the sender would delete the other.
    """
    held: dict[str, set[str]] = {}
    conflicts: set[str] = set()
    unread = False
    for found in _rows(connection, [uid for _, uid in wanted]):
        held.setdefault(found.sop_instance_uid, set()).add(found.sop_class_uid)
        unread = unread or found.state == InstanceState.RECEIVED.value
        if found.state == InstanceState.CONFLICT.value or found.reason == OTHER_PIXELS:
            conflicts.add(found.sop_instance_uid)
    judged = [(*pair, _reason(pair, held, conflicts)) for pair in wanted]
    return [item for item in judged if item[2]], unread


def _reason(pair: tuple[str, str], held: Mapping[str, set[str]], conflicts: set[str]) -> int:
    sop_class_uid, sop_instance_uid = pair
    if sop_instance_uid not in held:
        return NO_SUCH_OBJECT_INSTANCE
    if held[sop_instance_uid] != {sop_class_uid}:
        return CLASS_INSTANCE_CONFLICT
    return PROCESSING_FAILURE if sop_instance_uid in conflicts else 0


def _rows(connection: sa.Connection, sop_instance_uids: Sequence[str]) -> Iterator[Row]:
    columns = instance.c
    for start in range(0, len(sop_instance_uids), CHUNK):
        yield from connection.execute(
            sa.select(columns.sop_instance_uid, columns.sop_class_uid, columns.state, columns.reason).distinct()
            .where(columns.sop_instance_uid.in_(sop_instance_uids[start:start + CHUNK])))


def record_ask(relay: Relay, connection: sa.Connection, arguments: JSON, result: JSON) -> None:
    """Commit what :func:`ask` brought back. A report that was quicker has moved the request on already."""
    key = RequestKey(**arguments)
    row = lock(connection, key, CommitmentState.ASKING)
    if row is None:
        return
    if result["outcome"] == DEFERRED:
        at = min(now() + DEFERRED_SECONDS, relay.deadline(row))
        change(connection, key, CommitmentState.WAITING, next_at=at)
        return
    attempts = row.attempts + 1
    if result["outcome"] == ASKED:
        at = min(now() + relay.office.settings.commitment_timeout_seconds, relay.deadline(row))
        change(connection, key, CommitmentState.ASKED, attempts=attempts, next_at=at)
        return
    note(connection, relay.office.chain, "commitment.refused", key,
         {"destination": row.archive, "reason": result["reason"]})
    if result["final"]:
        fail(connection, relay.office.chain, row, result["reason"])
    else:
        again(relay, connection, row, attempts)


def record_ask_failure(relay: Relay, connection: sa.Connection, arguments: JSON, reason: str) -> None:
    """The request itself broke, before any answer: it counts as one, and the next follows."""
    record_ask(relay, connection, arguments, _outcome(REFUSED, reason))
