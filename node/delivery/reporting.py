"""Telling senders what became of their requests: N-EVENT-REPORT on a new association, tried again by the schedule."""

from __future__ import annotations

import logging

import sqlalchemy as sa

from node.database import commitment_request, now, reading
from node.delivery.relay import Relay
from node.delivery.requests import RequestKey, change, lock, note, told, verdict_of
from node.delivery.rules import retry_delay
from node.domain import JSON, CommitmentState
from node.errors import PeerError

log = logging.getLogger(__name__)


def report(relay: Relay, arguments: JSON) -> JSON:
    """Call the sender; ``{"reason"}``, empty when it took the report. It may be told twice, never two things.

    Raises:
        StorageError: the database cannot be read.
    """
    key = RequestKey(**arguments)
    with reading(relay.office.engine) as connection:
        row = connection.execute(sa.select(commitment_request).where(key.row)).one()
    sender = relay.callbacks.get(key.calling_ae_title)
    if sender is None:
        return {"reason": f"neither peers nor destinations have {key.calling_ae_title!r} any more"}
    try:
        relay.office.client.report_commitment(sender, verdict_of(row))
    except PeerError as error:
        return {"reason": str(error)}
    return {"reason": ""}


def record_report(relay: Relay, connection: sa.Connection, arguments: JSON, result: JSON) -> None:
    """Commit what :func:`report` brought back: told, to be told again, or given up.

    Even a refusal for good is tried again: until it is told, the sender keeps what it might delete.
    """
    key, chain = RequestKey(**arguments), relay.office.chain
    row = lock(connection, key, CommitmentState.REPORTING)
    if row is None:
        return
    if not result["reason"]:
        told(connection, chain, key, "new")
        return
    delay = retry_delay(relay.office.settings, row.attempts + 1)
    if delay is not None:
        change(connection, key, CommitmentState.ANSWERED, attempts=row.attempts + 1, next_at=now() + delay)
        note(connection, chain, "commitment.report_deferred", key, {"reason": result["reason"]})
        return
    reason = f"gave up after {row.attempts + 1} attempts to report, the last: {result['reason']}"
    change(connection, key, CommitmentState.UNREPORTED, attempts=row.attempts + 1, reason=reason)
    note(connection, chain, "commitment.unreported", key, {"reason": reason})
    log.error("storage commitment for %s: %s", key.calling_ae_title, reason,
              extra={"action": "commitment.unreported", "transaction_uid": key.transaction_uid})


def record_report_failure(relay: Relay, connection: sa.Connection, arguments: JSON, reason: str) -> None:
    """The attempt itself broke: it counts as one, and the next follows."""
    record_report(relay, connection, arguments, {"reason": reason})
