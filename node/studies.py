"""Studies: what belongs to them, their lanes, and what opens them again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from node import audit, routing
from node.arrivals import GONE, REJECTED, Arrival
from node.config import StudySection
from node.database import insert_ignore, instance, now, rejection, series, study
from node.domain import JSON, AuditEvent, ImageHead, InstanceState, Lane, Priority, Study
from node.timers import Clock

COUNTED = (InstanceState.ACCEPTED, InstanceState.UPDATE)
LANES = (Lane.FRESH, Lane.HISTORICAL, Lane.PRIOR)
"""The most urgent first. A study has the lane of its most urgent image."""


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What the pipeline wants to know while studies arrive."""

    #: True when a late image is worth a new version.
    eligible: Callable[[ImageHead, str], bool]
    #: Called in the transaction that accepts an instance.
    accepted: Callable[[sa.Connection, Arrival, Study], None]


class Studies:
    """Books arrivals into studies."""

    def __init__(self, chain: str, settings: StudySection, hooks: Hooks, clock: Clock) -> None:
        self._chain = chain
        self._settings = settings
        self._hooks = hooks
        self._clock = clock

    def record(self, connection: sa.Connection, arrival: Arrival) -> None:
        """Book one arrival: its state, the study it belongs to, the audit event."""
        lost = self._take_away(connection, arrival)
        if not self._claim(connection, arrival):
            return
        found = arrival.instance
        audit.append(connection, self._chain, AuditEvent(
            action=f"instance.{arrival.state.value}", study_instance_uid=found.study_instance_uid,
            sop_instance_uid=found.sop_instance_uid, detail={"instance": found.id, "reason": arrival.reason}))
        self._reopen(connection, lost, self._at(arrival))
        if arrival.state is InstanceState.ECHO:
            return
        if arrival.state is InstanceState.DUPLICATE and not self._is_sent_after_all(connection, arrival):
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
        """A study whose evidence was taken away gets a new version, whatever replaced it; a prior never had one."""
        if studies:
            analysed = study.c.lane != Lane.PRIOR.value
            connection.execute(
                sa.update(study).where(study.c.study_instance_uid.in_(studies), ~study.c.open, analysed)
                .values(open=True, opened_at=at, last_received_at=at))

    def _is_sent_after_all(self, connection: sa.Connection, arrival: Arrival) -> bool:
        """The same pixels again, which were only asked for as an earlier study before: now somebody sends it."""
        mine = sa.and_(study.c.study_instance_uid == arrival.instance.study_instance_uid,
                       study.c.lane == Lane.PRIOR.value)
        kept = connection.execute(sa.select(sa.literal(1)).where(mine)).first()
        return kept is not None and self._lane(arrival) is not Lane.PRIOR

    def _book(self, connection: sa.Connection, arrival: Arrival) -> Study:
        found, head, at = arrival.instance, arrival.head, self._at(arrival)
        uid, lane = found.study_instance_uid, self._lane(arrival)
        insert_ignore(connection, study, study_instance_uid=uid, opened_at=at, last_received_at=at, lane=lane.value,
                      open=lane is not Lane.PRIOR)
        self._book_series(connection, arrival, at)
        row = connection.execute(sa.select(study).where(study.c.study_instance_uid == uid)).one()
        values: JSON = {"lane": _lane_with(row, lane, head).value}
        if head is not None:
            values |= _described(row, head, corrected=arrival.state is InstanceState.UPDATE)
        if self._opens(row.version, lane, arrival):
            values |= {"last_received_at": max(row.last_received_at, at), "open": True}
            values |= {} if row.open else {"opened_at": at}
        changed = {name: value for name, value in values.items() if value != getattr(row, name)}
        if changed:
            connection.execute(sa.update(study).where(study.c.study_instance_uid == uid).values(**changed))
        return as_study({**row._mapping, **changed})

    def _book_series(self, connection: sa.Connection, arrival: Arrival, at: float) -> None:
        found = arrival.instance
        key = {"study_instance_uid": found.study_instance_uid, "series_instance_uid": found.series_instance_uid}
        counted = sa.update(series).where(*(series.c[name] == value for name, value in key.items())).values(
            instances=series.c.instances + 1,
            last_received_at=sa.case((series.c.last_received_at < at, at), else_=series.c.last_received_at))
        if connection.execute(counted).rowcount == 0:
            insert_ignore(connection, series, **key, modality=found.modality, instances=1, opened_at=at,
                          last_received_at=at)

    def _at(self, arrival: Arrival) -> float:
        """When it was received; not later than now, should the clock have been set back since."""
        return min(arrival.instance.received_at.timestamp(), self._clock.now())

    def _lane(self, arrival: Arrival) -> Lane:
        """What was seen on reception, and the date as it was read since."""
        if arrival.head is None or arrival.instance.lane is Lane.PRIOR:
            return arrival.instance.lane
        here = datetime.fromtimestamp(self._clock.now(), UTC).astimezone()
        return routing.lane(arrival.head, here, self._settings.historical_hours)

    def _opens(self, version: int, lane: Lane, arrival: Arrival) -> bool:
        """A study that was never complete takes anything; later, only eligible evidence opens it again."""
        if lane is Lane.PRIOR:
            return False
        if version == 0:
            return True
        return (arrival.evidence and arrival.head is not None
                and self._hooks.eligible(arrival.head, arrival.instance.calling_ae_title))


def _lane_with(row: sa.Row[Any], lane: Lane, head: ImageHead | None) -> Lane:
    """The study's lane after an image of ``lane``: a date decides over none, and of two dates the fresh one."""
    known = Lane(row.lane)
    more_urgent = min(known, lane, key=LANES.index)
    if Lane.PRIOR in (known, lane):
        return more_urgent
    if head is None or not head.study_date:
        return known
    return more_urgent if row.study_date else lane


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
