"""Storage commitment that senders ask of the node (PS3.4 annex J): one row per request, until its sender was told.

The node promises nothing itself. What a sender hears is what the archive answered, or a failure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node import audit
from node.commitment import FAILURE_REASONS, PROCESSING_FAILURE
from node.database import commitment_request, insert_ignore, now
from node.domain import JSON, AuditEvent, CommitmentReport, CommitmentRequest, CommitmentState, CommitmentVerdict
from node.errors import BadInput

Row = sa.Row[*tuple[Any, ...]]

OPEN = (CommitmentState.WAITING, CommitmentState.ASKING, CommitmentState.ASKED)
"""Without a verdict yet."""

TOLD = (CommitmentState.REPORTED, CommitmentState.UNREPORTED)

SAME_ASSOCIATION_SECONDS = 5.0
"""The receiver's time to report on the association that asked, before the clerk makes a new one."""

KEPT_SECONDS = 30 * 86400.0
"""How long a request that is over is remembered; after that its Transaction UID would begin a new one."""

_columns = commitment_request.c


@dataclass(frozen=True, kw_only=True)
class RequestKey:
    """Which request: Transaction UIDs are a sender's own."""

    transaction_uid: str
    calling_ae_title: str

    @classmethod
    def of(cls, source: Any) -> RequestKey:
        """Out of a row, a request, or anything else with the two."""
        return cls(transaction_uid=source.transaction_uid, calling_ae_title=source.calling_ae_title)

    @property
    def row(self) -> sa.ColumnElement[bool]:
        return sa.and_(
            _columns.transaction_uid == self.transaction_uid, _columns.calling_ae_title == self.calling_ae_title)

    @property
    def arguments(self) -> JSON:
        """As a job's arguments."""
        return {"transaction_uid": self.transaction_uid, "calling_ae_title": self.calling_ae_title}


def take(connection: sa.Connection, chain: str, request: CommitmentRequest, archive: str) -> None:
    """Write a request down, once. The same one again is told again what it was told; nothing is asked twice.

    Raises:
        BadInput: the sender uses the Transaction UID for other instances. A report about it could be taken
            for the first request's, so none is begun.
    """
    key, at = RequestKey.of(request), now()
    new = insert_ignore(
        connection, commitment_request, **key.arguments, source_host=request.source_host, archive=archive,
        instances=[list(pair) for pair in request.instances], association=request.association,
        state=CommitmentState.WAITING.value, requested_at=at, next_at=at)
    if not new:
        _take_again(connection, key, request)
    note(connection, chain, "commitment.received" if new else "commitment.repeated", key,
         {"archive": archive, "instances": len(request.instances), "source_host": request.source_host})


def _take_again(connection: sa.Connection, key: RequestKey, request: CommitmentRequest) -> None:
    row = connection.execute(
        sa.update(commitment_request).where(key.row).values(association=request.association)
        .returning(_columns.instances, _columns.state)).one()
    if {tuple(pair) for pair in row.instances} != set(request.instances):
        raise BadInput(f"storage commitment: Transaction UID {key.transaction_uid} is in use for other instances")
    connection.execute(
        sa.update(commitment_request).where(key.row, _is(*TOLD))
        .values(state=CommitmentState.ANSWERED.value, attempts=0, next_at=now() + SAME_ASSOCIATION_SECONDS))


def lock(connection: sa.Connection, key: RequestKey, *states: CommitmentState) -> Row | None:
    """The row if it is in one of these states, read by a write so that nothing changes it under us."""
    return connection.execute(
        sa.update(commitment_request).where(key.row, _is(*states)).values(attempts=_columns.attempts)
        .returning(*_columns)).one_or_none()


def change(connection: sa.Connection, key: RequestKey, state: CommitmentState, **values: Any) -> None:
    """Move a locked row on."""
    connection.execute(sa.update(commitment_request).where(key.row).values(state=state.value, **values))


def undecided(row: Row) -> list[tuple[str, str]]:
    """(SOP Class UID, SOP Instance UID) that nobody has said anything about."""
    committed, failed = set(row.committed), {(item[0], item[1]) for item in row.failed}
    return [(pair[0], pair[1]) for pair in row.instances
            if pair[1] not in committed and (pair[0], pair[1]) not in failed]


def record_answer(connection: sa.Connection, chain: str, key: RequestKey, answer: CommitmentReport) -> None:
    """What the archive said. After the verdict it changes nothing: the sender may have acted on it."""
    row = lock(connection, key, *OPEN)
    if row is None:
        return
    reasons = dict(answer.failed)
    failed = [(sop_class_uid, uid, _reason(reasons[uid]))
              for sop_class_uid, uid in undecided(row) if uid in reasons]
    committed = {uid for _, uid in undecided(row)} & set(answer.committed) - set(reasons)
    decide(connection, chain, row, committed, failed)


def _reason(reason: int) -> int:
    return reason if reason in FAILURE_REASONS else PROCESSING_FAILURE


def decide(
    connection: sa.Connection, chain: str, row: Row, committed: Collection[str],
    failed: Sequence[tuple[str, str, int]], reason: str = "",
) -> bool:
    """Add what is known now to a locked row; True, and the verdict stands, when that is everything."""
    key = RequestKey.of(row)
    values = {"committed": sorted({*row.committed, *committed}), "failed": [*row.failed, *map(list, failed)]}
    decided = connection.execute(
        sa.update(commitment_request).where(key.row).values(**values).returning(*_columns)).one()
    if undecided(decided):
        return False
    wait = SAME_ASSOCIATION_SECONDS if row.association else 0.0
    change(connection, key, CommitmentState.ANSWERED, attempts=0, reason=reason, next_at=now() + wait)
    told = verdict_of(decided)
    note(connection, chain, "commitment.answered", key, {
        "committed": len(told.committed), "failed": len(told.failed), "reason": reason})
    return True


def fail(connection: sa.Connection, chain: str, row: Row, reason: str) -> None:
    """Nobody will commit the rest: Processing Failure for all of it."""
    failed = [(sop_class_uid, uid, PROCESSING_FAILURE) for sop_class_uid, uid in undecided(row)]
    decide(connection, chain, row, (), failed, reason)


def verdict_of(row: Row) -> CommitmentVerdict:
    """What the sender of a decided row is told. Only what the archive named is committed."""
    named, failed = set(row.committed), {(item[0], item[1]) for item in row.failed}
    return CommitmentVerdict(
        transaction_uid=row.transaction_uid,
        committed=tuple((pair[0], pair[1]) for pair in row.instances
                        if pair[1] in named and (pair[0], pair[1]) not in failed),
        failed=tuple((item[0], item[1], item[2]) for item in row.failed))


def claim(
    connection: sa.Connection, associations: Collection[str], seconds: float
) -> list[tuple[str, RequestKey, CommitmentVerdict]]:
    """What is to be told on which of these associations; no other process tells it for so many seconds."""
    rows = connection.execute(
        sa.update(commitment_request)
        .where(_is(CommitmentState.ANSWERED), _columns.association.in_(associations))
        .values(next_at=now() + seconds).returning(*_columns))
    return [(row.association, RequestKey.of(row), verdict_of(row)) for row in rows]


def told(connection: sa.Connection, chain: str, key: RequestKey, association: str) -> None:
    """The sender took its report, on a ``new`` association or the ``same`` one."""
    change(connection, key, CommitmentState.REPORTED, association="")
    note(connection, chain, "commitment.reported", key, {"association": association})


def ended(connection: sa.Connection, association: str) -> None:
    """An association is over: what it would have been told goes on a new one."""
    settled = _columns.state == CommitmentState.ANSWERED.value
    connection.execute(
        sa.update(commitment_request).where(_columns.association == association)
        .values(association="", next_at=sa.case((settled, now()), else_=_columns.next_at)))


def forget(connection: sa.Connection) -> int:
    """Remove requests that are over for long; how many."""
    old = _columns.requested_at < now() - KEPT_SECONDS
    return connection.execute(sa.delete(commitment_request).where(_is(*TOLD), old)).rowcount


def list_requests(connection: sa.Connection) -> list[JSON]:
    """Every request with the number of its instances, the latest first."""
    lists = (_columns.instances, _columns.committed, _columns.failed)
    others = [column for column in _columns if column not in lists]
    rows = connection.execute(
        sa.select(*others, *(sa.func.json_array_length(column).label(column.name) for column in lists))
        .order_by(_columns.requested_at.desc()))
    return [dict(row._mapping) for row in rows]


def retry(connection: sa.Connection, chain: str) -> int:
    """Tell senders again that could not be told; how many requests."""
    rows = connection.execute(
        sa.update(commitment_request).where(_is(CommitmentState.UNREPORTED))
        .values(state=CommitmentState.ANSWERED.value, attempts=0, next_at=now())
        .returning(_columns.transaction_uid, _columns.calling_ae_title)).all()
    for row in rows:
        note(connection, chain, "commitment.retry_requested", RequestKey.of(row), {})
    return len(rows)


def note(connection: sa.Connection, chain: str, action: str, key: RequestKey, detail: JSON) -> None:
    """An audit event about a request."""
    audit.append(connection, chain, AuditEvent(action=action, detail={
        "sender_transaction_uid": key.transaction_uid, "calling_ae_title": key.calling_ae_title, **detail}))


def _is(*states: CommitmentState) -> sa.ColumnElement[bool]:
    return _columns.state.in_([state.value for state in states])
