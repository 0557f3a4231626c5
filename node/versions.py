"""Versions (runs) of studies: one is started when :mod:`node.completion` says that a study is complete."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from node import audit, completion
from node.arrivals import gone
from node.completion import Completion, Due
from node.config import StudySection
from node.database import instance, run, study, transaction
from node.domain import JSON, AuditEvent, InstanceState, Lane, Priority
from node.errors import BadInput
from node.interfaces import Put
from node.timers import Clock, Timers

log = logging.getLogger(__name__)

BATCH = 16
"""Versions started in one round, so that what arrives meanwhile is not kept waiting."""


class Versions:
    """Starts a version of every study that is complete."""

    def __init__(
        self, engine: sa.Engine, chain: str, settings: StudySection, put: Put, clock: Clock, complete: Completion
    ) -> None:
        self._engine = engine
        self._chain = chain
        self._settings = settings
        self._put = put
        self._clock = clock
        self._timers = Timers(engine, chain, clock)
        self._completion = complete

    def complete_due(self) -> int:
        """Start a version of every study that is complete and may start; how many."""
        return self.complete_fresh() + self.complete_historical()

    def complete_fresh(self) -> int:
        """Of the fresh lane, and what an operator asked for: a few in one round, the urgent ones first."""
        self._timers.follow()
        found = self._completion.due(Lane.FRESH, BATCH) + self._completion.asked_for(BATCH)
        return sum(self._start(one) for one in {one.row.study_instance_uid: one for one in found}.values())

    def complete_historical(self) -> int:
        """Of the historical lane: while nothing fresh is under way, and only so many at a time."""
        room = self._completion.room_for_historical()
        return sum(self._start(one) for one in self._completion.due(Lane.HISTORICAL, room)) if room else 0

    def is_fresh_under_way(self) -> bool:
        """Whether a fresh study is being received, booked or worked on."""
        return self._completion.is_fresh_under_way()

    def _start(self, due: Due) -> bool:
        row = due.row
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
            self._begin_run(connection, due, row.version + 1)
        return True

    def _begin_run(self, connection: sa.Connection, due: Due, version: int) -> None:
        row = due.row
        uid, lane = row.study_instance_uid, Lane(row.lane)
        evidence = connection.execute(
            sa.select(instance.c.id).where(
                instance.c.study_instance_uid == uid, instance.c.evidence,
                instance.c.state == InstanceState.ACCEPTED.value).order_by(instance.c.id)).scalars().all()
        connection.execute(sa.insert(run).values(
            study_instance_uid=uid, version=version, started_at=self._clock.now(), trigger=due.trigger.value,
            instance_ids=list(evidence)))
        audit.append(connection, self._chain, AuditEvent(
            action="study.completed", study_instance_uid=uid,
            detail={"version": version, "trigger": due.trigger.value, "lane": lane.value, "evidence": len(evidence),
                    **self._promised(connection, row)}))
        completion.keep_promise(connection, uid)
        priority = Priority.HISTORICAL if lane is Lane.HISTORICAL else Priority(row.order_priority)
        self._put(connection, stage="plan", key=f"plan:{uid}:v{version}", priority=priority,
                  arguments={"study_instance_uid": uid, "version": version, "priority": int(priority)})

    def _promised(self, connection: sa.Connection, row: sa.Row[Any]) -> JSON:
        """What was announced, or counted in the source archive, and did not come."""
        told = completion.promise(connection, row.study_instance_uid)
        said: JSON = {"announced": told.announced, "missing": told.missing} if told.announced else {}
        return said | ({"missing_by_count": row.source_missing} if (row.source_missing or 0) > 0 else {})

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


def request_complete(connection: sa.Connection, chain: str, study_instance_uid: str) -> None:
    """Ask the clerk to complete a study now. Raises BadInput when the study is not known or already complete."""
    _request(connection, chain, study_instance_uid, "complete_requested", study.c.open, "is not known, or complete")


def request_replay(connection: sa.Connection, chain: str, study_instance_uid: str) -> None:
    """Ask the clerk for a new version from the stored instances.

    Raises:
        BadInput: the study is not known, is a prior, or images of it are not stored any more.
    """
    analysed = study.c.lane != Lane.PRIOR.value
    _request(connection, chain, study_instance_uid, "replay_requested", analysed, "is not known, or is a prior")
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
