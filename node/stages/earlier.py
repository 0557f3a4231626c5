"""Earlier studies of the patient: asked for when a study is complete, in jobs of their own beside the sequence.

Triage and rank never wait for them; findings wait until they are here, there are none, or their time limit is over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import sqlalchemy as sa

from node import audit, priors
from node.database import reading, transaction
from node.domain import JSON, AuditEvent, Priority, PriorState, ReportProfile
from node.jobs import Failure, Queue, Stage
from node.stages.desk import Desk, RunRef, RunState
from node.stages.prior_search import OVER, Reception, find, retrieve

FIND, RETRIEVE = "prior_find", "prior_retrieve"
QUEUE_OF = {FIND: Queue.SEND, RETRIEVE: Queue.SEND}
PARTITION = "priors"
FINDINGS = "findings"
"""The stage that waits."""
TOLD = 20
"""Rejected studies that an audit event names; it counts all of them."""


def ask(desk: Desk, connection: sa.Connection, ref: RunRef, state: RunState, result: JSON) -> None:
    """A version begins: ask for earlier studies where its pipeline has a source and findings are going to be made."""
    source = desk.config.prior_source(desk.pipeline(result["pipeline"]))
    described = desk.config.profile is not ReportProfile.TRIAGE_ONLY and desk.config.models.findings.backend != "none"
    if source is None or state.historical or not described:
        return
    if priors.book(connection, ref.study_instance_uid, ref.version, source.name, source.time_limit_seconds):
        _tell(desk, connection, "asked", ref, {"source": source.name, "seconds": source.time_limit_seconds})
        desk.put(connection, stage=FIND, key=ref.key(FIND), priority=ref.priority, arguments=ref.arguments(),
                 partition=PARTITION)


def hold(connection: sa.Connection, ref: RunRef, priority: Priority) -> bool:
    """Whether the findings of a version wait; they go on at that priority when the question is settled."""
    return priors.hold(connection, ref.study_instance_uid, ref.version, int(priority))


def expire(desk: Desk) -> int:
    """Let findings go on whose time limit is over; how many."""
    with reading(desk.engine) as connection:
        late = priors.overdue(connection)
    for row in late:
        ref = RunRef(study_instance_uid=row.study_instance_uid, version=row.version, priority=Priority.ROUTINE)
        with transaction(desk.engine) as connection:
            _settle(desk, connection, ref, PriorState.TIMED_OUT, reason="no earlier study came in time")
    return len(late)


def jobs(reception: Reception) -> list[Stage]:
    """Ask, then retrieve; the second goes on in the job of the first."""
    return [_job(reception, FIND, find, commit_find), _job(reception, RETRIEVE, retrieve, commit_retrieve)]


def commit_find(reception: Reception, connection: sa.Connection, arguments: JSON, result: JSON) -> None:
    """Have what was found sent, or let findings go on."""
    ref, desk = RunRef.of(arguments), reception.desk
    waits = bool(result["found"]) and priors.note_found(
        connection, ref.study_instance_uid, ref.version, result["found"])
    _tell_rejected(desk, connection, ref, result["rejected"])
    if waits:
        _tell(desk, connection, "found", ref, {"studies": [one["study_instance_uid"] for one in result["found"]]})
        desk.put(connection, stage=RETRIEVE, key=ref.key(RETRIEVE), priority=ref.priority, arguments=arguments,
                 partition=PARTITION, after=FIND)
    else:
        _settle(desk, connection, ref, PriorState.NONE, reason=result["reason"] or OVER)


def commit_retrieve(reception: Reception, connection: sa.Connection, arguments: JSON, result: JSON) -> None:
    """They are here, or will not be: findings go on."""
    ref, desk, received = RunRef.of(arguments), reception.desk, result["received"]
    reason = result["reason"] or next(iter(result["rejected"].values()), OVER)
    if received:
        _settle(desk, connection, ref, PriorState.RECEIVED, found=received)
    else:
        _settle(desk, connection, ref, PriorState.NONE, reason=reason)
    _tell_rejected(desk, connection, ref, result["rejected"])


def _settle(
    desk: Desk, connection: sa.Connection, ref: RunRef, state: PriorState, *, reason: str = "",
    found: Sequence[JSON] = (),
) -> None:
    """Once; what comes after that is told and changes nothing."""
    row = priors.settle(connection, ref.study_instance_uid, ref.version, state, reason=reason, found=found)
    if row is None and state is PriorState.TIMED_OUT:
        return
    told: JSON = {"reason": reason} if reason else {
        "studies": [one["study_instance_uid"] for one in found],
        "instances": sum(len(one["instances"]) for one in found)}
    _tell(desk, connection, "late" if row is None else state.value, ref, told)
    if row is not None and row.held_priority is not None:
        priority = Priority(row.held_priority)
        desk.put(connection, stage=FINDINGS, key=ref.key(FINDINGS), priority=priority,
                 arguments=ref.arguments(priority))


def _tell_rejected(desk: Desk, connection: sa.Connection, ref: RunRef, rejected: Mapping[str, str]) -> None:
    if rejected:
        _tell(desk, connection, "rejected", ref, {
            "count": len(rejected), "studies": dict(list(rejected.items())[:TOLD])})


def _tell(desk: Desk, connection: sa.Connection, what: str, ref: RunRef, detail: JSON) -> None:
    audit.append(connection, desk.chain, AuditEvent(
        action=f"prior.{what}", study_instance_uid=ref.study_instance_uid,
        detail={"version": ref.version, **detail}))


def _job(
    reception: Reception, name: str, work: Callable[[Reception, JSON], JSON],
    commit: Callable[[Reception, sa.Connection, JSON, JSON], None],
) -> Stage:
    def failed(connection: sa.Connection, arguments: JSON, failure: Failure) -> None:
        """Findings go on without."""
        _settle(reception.desk, connection, RunRef.of(arguments), PriorState.NONE, reason=failure.reason)

    return Stage(name=name, queue=QUEUE_OF[name], work=lambda arguments: work(reception, arguments),
                 commit=lambda connection, arguments, result: commit(reception, connection, arguments, result),
                 failed=failed)
