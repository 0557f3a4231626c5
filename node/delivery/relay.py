"""The clerk's part in storage commitment for senders: which request is due, and for what."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from node.config import Callback, CommitmentSCP, Destination
from node.database import commitment_request, now, reading, transaction
from node.delivery.attempt import Office
from node.delivery.requests import RequestKey, Row, change, fail, forget, lock, note
from node.delivery.rules import retry_delay
from node.domain import CommitmentState, Priority

log = logging.getLogger(__name__)

ASK = "relay-ask"
REPORT = "relay-report"

BATCH = 100
"""Requests looked at in one turn."""


@dataclass(frozen=True, kw_only=True)
class Relay:
    """The collaborators of every relay job of one process. ``callbacks`` by AE title of the sender."""

    office: Office
    settings: CommitmentSCP
    callbacks: Mapping[str, Destination]

    def deadline(self, row: Row) -> float:
        """Until when the archive may answer."""
        return float(row.requested_at) + self.settings.timeout_seconds

    def turn(self) -> int:
        """Turn every request whose time has come into its next step; how many. The clerk calls it often."""
        return _turn(self)

    def tidy(self) -> int:
        """Forget what is over for long; how many."""
        with transaction(self.office.engine) as connection:
            return forget(connection)


def callbacks(peers: Iterable[Callback], destinations: Iterable[Destination]) -> dict[str, Destination]:
    """Where a sender with this AE title is called: as ``peers`` say, else as a destination."""
    found = {one.ae_title.strip(): one for one in destinations}
    return found | {
        one.ae_title.strip(): Destination(name="sender", ae_title=one.ae_title, host=one.host, port=one.port)
        for one in peers}


def _turn(relay: Relay) -> int:
    columns = commitment_request.c
    with reading(relay.office.engine) as connection:  # a write on every call would take SQLite's only write lock
        rows = connection.execute(
            sa.select(columns.transaction_uid, columns.calling_ae_title, columns.state)
            .where(columns.state.in_([state.value for state in _STEPS]), columns.next_at <= now())
            .order_by(columns.next_at).limit(BATCH)).all()
    for row in rows:
        with transaction(relay.office.engine) as connection:
            locked = lock(connection, RequestKey.of(row), CommitmentState(row.state))
            if locked is not None and locked.next_at <= now():
                _STEPS[CommitmentState(row.state)](relay, connection, locked)
    return len(rows)


def _waited(relay: Relay, connection: sa.Connection, row: Row) -> None:
    if _is_too_late(relay, connection, row):
        return
    change(connection, RequestKey.of(row), CommitmentState.ASKING, next_at=relay.deadline(row))
    _put(relay, connection, ASK, row, row.archive)


def _unanswered(relay: Relay, connection: sa.Connection, row: Row) -> None:
    """Asked and not answered in time: asked again, as for the node's own objects."""
    if _is_too_late(relay, connection, row):
        return
    note(connection, relay.office.chain, "commitment.unanswered", RequestKey.of(row), {"destination": row.archive})
    again(relay, connection, row, row.attempts)


def again(relay: Relay, connection: sa.Connection, row: Row, attempts: int) -> None:
    """Ask later, after so many attempts; when none is left only the deadline remains, for a late answer."""
    delay = retry_delay(relay.office.settings, attempts)
    deadline = relay.deadline(row)
    at = deadline if delay is None else min(now() + delay, deadline)
    change(connection, RequestKey.of(row), CommitmentState.WAITING, attempts=attempts, next_at=at)


def _is_too_late(relay: Relay, connection: sa.Connection, row: Row) -> bool:
    if now() < relay.deadline(row):
        return False
    reason = f"{row.archive} did not commit within {relay.settings.timeout_seconds:g} s"
    fail(connection, relay.office.chain, row, reason)
    log.warning("storage commitment for %s: %s", row.calling_ae_title, reason,
                extra={"action": "commitment.answered", "transaction_uid": row.transaction_uid})
    return True


def _asked_too_long(relay: Relay, connection: sa.Connection, row: Row) -> None:
    """The job that asks is still waiting for its turn. Should it run after all, it finds the verdict."""
    _is_too_late(relay, connection, row)


def _settled(relay: Relay, connection: sa.Connection, row: Row) -> None:
    change(connection, RequestKey.of(row), CommitmentState.REPORTING, association="")
    _put(relay, connection, REPORT, row, f"to-{row.calling_ae_title}")


def _put(relay: Relay, connection: sa.Connection, stage: str, row: Row, partition: str) -> None:
    """A job key runs once only; ``next_at`` is another one at every turn."""
    key = RequestKey.of(row)
    relay.office.put(
        connection, stage=stage, key=f"{stage}:{key.calling_ae_title}:{key.transaction_uid}:{row.next_at:.6f}",
        priority=Priority.ROUTINE, arguments=key.arguments, partition=partition)


_STEPS: Mapping[CommitmentState, Callable[[Relay, sa.Connection, Row], None]] = {
    CommitmentState.WAITING: _waited, CommitmentState.ASKING: _asked_too_long, CommitmentState.ASKED: _unanswered,
    CommitmentState.ANSWERED: _settled,
}
