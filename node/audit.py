"""Append-only events in hash chains, written in the caller's transaction.

Each writer process has its own chain (a single one would serialise reception). An event's
digest is sha256 over the previous digest and the event's canonical JSON; an anchor row
over all chain heads binds the chains together in time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.database import Prepared, audit_anchor, audit_chain, audit_event, insert_ignore, now
from node.domain import JSON, AuditEvent

START = "0" * 64
"""Digest before the first event of a chain."""

ANCHORS = ""
"""The row of ``audit_chain`` that is locked while an anchor is written; no event has this chain."""


_STEP = Prepared(
    sa.update(audit_chain).where(audit_chain.c.chain == sa.bindparam("of"))
    .values(seq=audit_chain.c.seq + sa.bindparam("count")).returning(audit_chain.c.seq, audit_chain.c.head)
)
_ADD = Prepared(sa.insert(audit_event), audit_event.c.keys())
_CLOSE = Prepared(
    sa.update(audit_chain).where(audit_chain.c.chain == sa.bindparam("of")).values(head=sa.bindparam("digest"))
)
_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def append(connection: sa.Connection, chain: str, *events: AuditEvent) -> None:
    """Add ``events`` to ``chain`` in the running transaction, in their order. The first statement is a write."""
    seq, previous = _advance(connection, chain, len(events))
    at, rows = now(), []
    for number, event in enumerate(events, seq - len(events) + 1):
        values: JSON = {
            "chain": chain, "seq": number, "at": at, "action": event.action, "detail": canonical(event.detail),
            "study_instance_uid": event.study_instance_uid, "sop_instance_uid": event.sop_instance_uid,
        }
        digest = _digest(previous, values)
        rows.append({**values, "previous": previous, "digest": digest})
        previous = digest
    _ADD.run(connection, rows)
    _CLOSE.run(connection, [{"of": chain, "digest": previous}])


def _advance(connection: sa.Connection, chain: str, count: int) -> tuple[int, str]:
    step = {"of": chain, "count": count}
    row = _STEP.run(connection, [step]).one_or_none()
    if row is None:
        insert_ignore(connection, audit_chain, chain=chain, seq=0, head=START)
        row = _STEP.run(connection, [step]).one()
    return row.seq, row.head


def anchor(connection: sa.Connection) -> None:
    """Write a row over the heads of all chains, chained to the anchor before it."""
    insert_ignore(connection, audit_chain, chain=ANCHORS, seq=0, head=START)
    connection.execute(sa.update(audit_chain).where(audit_chain.c.chain == ANCHORS).values(seq=0))  # one at a time
    heads = connection.execute(
        sa.select(audit_chain).where(audit_chain.c.chain != ANCHORS).order_by(audit_chain.c.chain)
    ).all()
    last = connection.execute(sa.select(audit_anchor.c.digest).order_by(audit_anchor.c.id.desc()).limit(1)).scalar()
    values: JSON = {"at": now(), "heads": canonical({row.chain: [row.seq, row.head] for row in heads})}
    previous = last or START
    connection.execute(
        sa.insert(audit_anchor).values(**values, previous=previous, digest=_digest(previous, values))
    )


def canonical(value: JSON) -> str:
    """JSON with sorted keys and no spaces: the same text for the same value, always."""
    return _JSON.encode(value)


def _digest(previous: str, values: JSON) -> str:
    return hashlib.sha256((previous + canonical(values)).encode()).hexdigest()


@dataclass(frozen=True)
class Verification:
    """What a check of all chains found. ``problems`` names chain, seq and what is wrong."""

    events: int
    chains: int
    anchors: int
    problems: tuple[str, ...]


def verify(connection: sa.Connection) -> Verification:
    """Recompute every digest, look for gaps, and compare heads and anchors with the events.

    Writers may be at work: what is read later may only know more. So anchors and heads are read before the
    events, which must hold all of them, and heads once more after, which no event may be ahead of.
    """
    anchors = connection.execute(sa.select(audit_anchor).order_by(audit_anchor.c.id)).all()
    heads = connection.execute(sa.select(audit_chain)).all()
    digests, problems = _verify_events(connection)
    problems += [f"chain {row.chain}: its head says event {row.seq}, the events end elsewhere"
                 for row in heads if row.seq and digests.get((row.chain, row.seq)) != row.head]
    ends = dict(digests.keys())
    reached = {row.chain: row.seq for row in connection.execute(sa.select(audit_chain))}
    problems += [f"chain {chain}: event {seq} is ahead of its head"
                 for chain, seq in ends.items() if seq > reached.get(chain, 0)]
    return Verification(len(digests), len(ends), len(anchors), (*problems, *_verify_anchors(anchors, digests)))


def _verify_events(connection: sa.Connection) -> tuple[dict[tuple[str, int], str], list[str]]:
    """The digest of every event by chain and number, chain after chain in order, and what is wrong with them."""
    problems: list[str] = []
    digests: dict[tuple[str, int], str] = {}
    columns = audit_event.c
    chain, seq, digest = "", 0, START
    for row in connection.execute(sa.select(audit_event).order_by(columns.chain, columns.seq)):
        if row.chain != chain:
            chain, seq, digest = row.chain, 0, START
        values = {key: getattr(row, key) for key in
                  ("chain", "seq", "at", "action", "detail", "study_instance_uid", "sop_instance_uid")}
        if row.seq != seq + 1:
            problems.append(f"chain {chain}: event {seq + 1} is missing")
        elif row.previous != digest:
            problems.append(f"chain {chain}: event {row.seq} does not follow event {seq}")
        if row.digest != _digest(row.previous, values):
            problems.append(f"chain {chain}: event {row.seq} was altered")
        seq, digest = row.seq, row.digest
        digests[chain, seq] = digest
    return digests, problems


def _verify_anchors(anchors: Sequence[sa.Row[Any]], digests: dict[tuple[str, int], str]) -> list[str]:
    problems, previous = [], START
    for row in anchors:
        if row.previous != previous or row.digest != _digest(previous, {"at": row.at, "heads": row.heads}):
            problems.append(f"anchor {row.id}: was altered or one before it is missing")
        for chain, (seq, head) in json.loads(row.heads).items():
            if seq and digests.get((chain, seq)) != head:
                problems.append(f"anchor {row.id}: chain {chain} had another event {seq}")
        previous = row.digest
    return problems


def events(connection: sa.Connection, study_instance_uid: str = "", limit: int = 0) -> Iterator[JSON]:
    """Events in time order, of one study or of all, the newest ``limit`` (0 is all)."""
    columns = audit_event.c
    query = sa.select(audit_event).order_by(columns.at.desc(), columns.chain, columns.seq.desc())
    if study_instance_uid:
        query = query.where(columns.study_instance_uid == study_instance_uid)
    rows = connection.execute(query.limit(limit) if limit else query).all()
    for row in reversed(rows):
        yield {**row._mapping, "detail": json.loads(row.detail)}


