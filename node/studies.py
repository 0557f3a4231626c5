"""Studies: lanes, completion, late instances, versions.

A study is complete when it was quiet, when it waited too long, or when an operator says so;
never because an association was released. Each completion is a numbered version (a run).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from node import audit, routing
from node.arrivals import GONE, REJECTED, Arrival, gone
from node.config import StudySection
from node.database import insert_ignore, instance, now, reading, rejection, run, study, transaction
from node.domain import JSON, AuditEvent, ImageHead, InstanceState, Lane, Priority, Study
from node.errors import BadInput
from node.interfaces import Put

log = logging.getLogger(__name__)

COUNTED = (InstanceState.ACCEPTED, InstanceState.UPDATE)


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What the pipeline wants to know while studies arrive."""

    #: True when a late image is worth a new version.
    eligible: Callable[[ImageHead, str], bool]
    #: Called in the transaction that accepts an instance.
    accepted: Callable[[sa.Connection, Arrival, Study], None]


class Studies:
    """Books arrivals into studies and starts versions."""

    def __init__(self, engine: sa.Engine, chain: str, settings: StudySection, put: Put, hooks: Hooks) -> None:
        self._engine = engine
        self._chain = chain
        self._settings = settings
        self._put = put
        self._hooks = hooks

    def record(self, connection: sa.Connection, arrival: Arrival) -> None:
        """Book one arrival: its state, the study it belongs to, the audit event."""
        lost = self._take_away(connection, arrival)
        if not self._claim(connection, arrival):
            return
        found = arrival.instance
        audit.append(connection, self._chain, AuditEvent(
            action=f"instance.{arrival.state.value}", study_instance_uid=found.study_instance_uid,
            sop_instance_uid=found.sop_instance_uid, detail={"instance": found.id, "reason": arrival.reason}))
        self._reopen(connection, lost, found.received_at.timestamp())
        if arrival.state in (InstanceState.ECHO, InstanceState.DUPLICATE):
            return
        booked = self._book(connection, arrival)
        self._hooks.accepted(connection, arrival, booked)

    def _claim(self, connection: sa.Connection, arrival: Arrival) -> bool:
        """Take the row out of ``received``; False when another clerk was first."""
        state = InstanceState.ACCEPTED if arrival.state in COUNTED else arrival.state
        claim = (
            sa.update(instance)
            .where(instance.c.id == arrival.instance.id, instance.c.state == InstanceState.RECEIVED.value)
            .values(state=state.value, evidence=arrival.evidence, reason=arrival.reason)
        )
        return connection.execute(claim).rowcount == 1

    def _take_away(self, connection: sa.Connection, arrival: Arrival) -> set[str]:
        """Take replaced and rejected instances out of use; the studies that lost evidence by it."""
        mine = sa.exists().where(instance.c.id == arrival.instance.id, instance.c.state == InstanceState.RECEIVED.value)
        lost: set[str] = set()
        if arrival.replaces is not None:
            lost |= self._withdraw(connection, sa.and_(instance.c.id == arrival.replaces, mine), arrival.reason,
                                   InstanceState.SUPERSEDED)
        for uid in arrival.rejects:
            insert_ignore(connection, rejection, sop_instance_uid=uid, note_uid=arrival.instance.sop_instance_uid,
                          study_instance_uid=arrival.instance.study_instance_uid, rejected_at=now())
        if arrival.rejects:
            named = sa.and_(instance.c.sop_instance_uid.in_(arrival.rejects),
                            instance.c.study_instance_uid == arrival.instance.study_instance_uid)
            lost |= self._withdraw(connection, named, REJECTED, InstanceState.REJECTED)
        return lost

    def _withdraw(
        self, connection: sa.Connection, which: sa.ColumnElement[bool], reason: str, state: InstanceState
    ) -> set[str]:
        counted = (InstanceState.ACCEPTED.value, *GONE)  # results outlive the files they were made from
        known = sa.select(instance.c.id).where(which, instance.c.state.in_(counted))
        evidence = connection.execute(
            sa.select(instance.c.id).where(instance.c.id.in_(known), instance.c.evidence)).scalars().all()
        rows = connection.execute(
            sa.update(instance).where(instance.c.id.in_(known))
            .values(state=state.value, evidence=False, reason=reason)
            .returning(instance.c.id, instance.c.study_instance_uid)).all()
        return {row.study_instance_uid for row in rows if row.id in evidence}

    def _reopen(self, connection: sa.Connection, studies: set[str], at: float) -> None:
        """A study whose evidence was taken away gets a new version, whatever replaced it."""
        if studies:
            connection.execute(
                sa.update(study).where(study.c.study_instance_uid.in_(studies), ~study.c.open)
                .values(open=True, opened_at=at, last_received_at=at))

    def _book(self, connection: sa.Connection, arrival: Arrival) -> Study:
        found, head = arrival.instance, arrival.head
        at = found.received_at.timestamp()
        insert_ignore(
            connection, study, study_instance_uid=found.study_instance_uid, opened_at=at, last_received_at=at,
            lane=self._lane(head).value)
        row = connection.execute(
            sa.select(study).where(study.c.study_instance_uid == found.study_instance_uid)).one()
        values: JSON = {}
        if head is not None:
            values = _described(row, head, corrected=arrival.state is InstanceState.UPDATE)
        if self._opens(row.version, arrival):
            values |= {"last_received_at": max(row.last_received_at, at), "open": True}
            values |= {} if row.open else {"opened_at": at}
        if values:
            connection.execute(
                sa.update(study).where(study.c.study_instance_uid == found.study_instance_uid).values(**values))
        return as_study({**row._mapping, **values})

    def _lane(self, head: ImageHead | None) -> Lane:
        if head is None:
            return Lane.FRESH
        return routing.lane(head, datetime.now(UTC).astimezone(), self._settings.historical_hours)

    def _opens(self, version: int, arrival: Arrival) -> bool:
        """A study that was never complete takes anything; later, only eligible evidence opens it again."""
        if version == 0:
            return True
        return (arrival.evidence and arrival.head is not None
                and self._hooks.eligible(arrival.head, arrival.instance.calling_ae_title))

    def complete_due(self) -> int:
        """Start a version for every study that is complete; how many."""
        with reading(self._engine) as connection:
            due = connection.execute(sa.select(study).where(self._is_due(now()))).all()
        return sum(self._start(row) for row in due)

    def _is_due(self, at: float) -> sa.ColumnElement[bool]:
        unread = sa.exists().where(
            instance.c.study_instance_uid == study.c.study_instance_uid,
            instance.c.state == InstanceState.RECEIVED.value)
        quiet = study.c.last_received_at <= at - self._settings.quiet_seconds
        forced = study.c.opened_at <= at - self._settings.forced_seconds
        asked = study.c.complete_requested
        by_rule = sa.and_(study.c.open, sa.or_(forced, sa.and_(sa.or_(quiet, asked), ~unread)))
        return sa.or_(by_rule, study.c.replay_requested)

    def _start(self, row: sa.Row[Any]) -> bool:
        today = datetime.now(UTC).date().isoformat()
        started_today = row.versions_today if row.versions_on == today else 0
        if started_today >= self._settings.max_versions_per_day and not row.replay_requested:
            self._stop_versions(row)
            return False
        with transaction(self._engine) as connection:
            claim = (
                sa.update(study)
                .where(study.c.study_instance_uid == row.study_instance_uid, study.c.version == row.version,
                       sa.or_(study.c.open, study.c.replay_requested))
                .values(open=False, complete_requested=False, replay_requested=False, version=row.version + 1,
                        versions_on=today, versions_today=started_today + 1)
            )
            if connection.execute(claim).rowcount == 0:
                return False
            self._begin_run(connection, row, row.version + 1)
        return True

    def _begin_run(self, connection: sa.Connection, row: sa.Row[Any], version: int) -> None:
        uid, lane = row.study_instance_uid, Lane(row.lane)
        trigger = self._trigger(row)
        evidence = connection.execute(
            sa.select(instance.c.id).where(
                instance.c.study_instance_uid == uid, instance.c.evidence,
                instance.c.state == InstanceState.ACCEPTED.value).order_by(instance.c.id)).scalars().all()
        connection.execute(sa.insert(run).values(
            study_instance_uid=uid, version=version, started_at=now(), trigger=trigger, instance_ids=list(evidence)))
        audit.append(connection, self._chain, AuditEvent(
            action="study.completed", study_instance_uid=uid,
            detail={"version": version, "trigger": trigger, "lane": lane.value, "evidence": len(evidence)}))
        priority = Priority.HISTORICAL if lane is Lane.HISTORICAL else Priority(row.order_priority)
        self._put(connection, stage="plan", key=f"plan:{uid}:v{version}", priority=priority,
                  arguments={"study_instance_uid": uid, "version": version, "priority": int(priority)})

    def _trigger(self, row: sa.Row[Any]) -> str:
        if row.replay_requested:
            return "replay"
        if row.complete_requested:
            return "operator"
        quiet = row.last_received_at <= now() - self._settings.quiet_seconds
        return "quiet" if quiet else "forced"

    def _stop_versions(self, row: sa.Row[Any]) -> None:
        """A sender that never stops changing a study must not keep the node busy: close it and say so."""
        log.error("study %s reached %d versions today; later images wait for 'ainode replay'",
                  row.study_instance_uid, row.versions_today, extra={"action": "study.version_limit"})
        with transaction(self._engine) as connection:
            closing = sa.update(study).where(study.c.study_instance_uid == row.study_instance_uid)
            connection.execute(closing.values(open=False, complete_requested=False))
            audit.append(connection, self._chain, AuditEvent(
                action="study.version_limit", study_instance_uid=row.study_instance_uid,
                detail={"versions_today": row.versions_today}))


def _described(row: sa.Row[Any], head: ImageHead, *, corrected: bool) -> JSON:
    """Study attributes after seeing ``head``: the first value of each stays, the most urgent order wins.

    A correction of patient or order replaces them, also by nothing.
    """
    found = {"patient_id": head.patient_id, "accession_number": head.accession_number,
             "modality": head.modality, "study_date": head.study_date}
    values: JSON = {name: value for name, value in found.items() if value and not getattr(row, name)}
    if corrected:
        values |= {"patient_id": head.patient_id, "accession_number": head.accession_number}
    ordered = routing.order_priority(head.requested_procedure_priority)
    if ordered < row.order_priority:
        values["order_priority"] = int(ordered)
    return values


def as_study(values: Mapping[str, Any]) -> Study:
    """The columns of table ``study`` as a value."""
    return Study(
        study_instance_uid=values["study_instance_uid"], patient_id=values["patient_id"],
        accession_number=values["accession_number"], modality=values["modality"], study_date=values["study_date"],
        lane=Lane(values["lane"]), order_priority=Priority(values["order_priority"]), version=values["version"])


def request_complete(connection: sa.Connection, chain: str, study_instance_uid: str) -> None:
    """Ask the clerk to complete a study now. Raises BadInput when the study is not known or already complete."""
    _request(connection, chain, study_instance_uid, "complete_requested", study.c.open, "is not known, or complete")


def request_replay(connection: sa.Connection, chain: str, study_instance_uid: str) -> None:
    """Ask the clerk for a new version from the stored instances.

    Raises:
        BadInput: the study is not known, or images of it are not stored any more.
    """
    _request(connection, chain, study_instance_uid, "replay_requested", sa.true(), "is not known")
    if lost := gone(connection, study_instance_uid):
        raise BadInput(f"study {study_instance_uid} cannot be run again: {lost}; have them sent again instead")


def _request(
    connection: sa.Connection, chain: str, uid: str, column: str, condition: sa.ColumnElement[bool], otherwise: str
) -> None:
    asked = connection.execute(
        sa.update(study).where(study.c.study_instance_uid == uid, condition).values({column: True}))
    if asked.rowcount == 0:
        raise BadInput(f"study {uid} {otherwise}; see 'ainode worklist'")
    audit.append(connection, chain, AuditEvent(action=f"study.{column}", study_instance_uid=uid))
