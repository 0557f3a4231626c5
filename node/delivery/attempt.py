"""One attempt to deliver, and what attempts are made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa

from node import audit, worklist
from node.config import DeliverySection, Destination
from node.database import delivery, now
from node.domain import JSON, AuditEvent, DeliveryState, Priority
from node.interfaces import PacsClient, Put

SEND = "send"
COMMIT = "commit"
COMMIT_CHECK = "commit-check"


@dataclass(frozen=True, kw_only=True)
class Office:
    """The collaborators of every delivery job of one process. ``destinations`` by name."""

    engine: sa.Engine
    chain: str
    put: Put
    client: PacsClient
    destinations: Mapping[str, Destination]
    settings: DeliverySection
    data_dir: Path
    allow_demo: bool


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """Try ``number`` (from 1) of one round for the objects of one study version at one destination."""

    study_instance_uid: str
    version: int
    destination: str
    priority: Priority
    round: int = 1
    number: int = 1

    @classmethod
    def of(cls, arguments: JSON) -> Attempt:
        """Out of a job's arguments."""
        return cls(
            study_instance_uid=arguments["study_instance_uid"], version=arguments["version"],
            destination=arguments["destination"], priority=Priority(arguments["priority"]),
            round=arguments["round"], number=arguments["number"])

    @property
    def arguments(self) -> JSON:
        """As a job's arguments."""
        return {
            "study_instance_uid": self.study_instance_uid, "version": self.version, "destination": self.destination,
            "priority": int(self.priority), "round": self.round, "number": self.number}

    def next(self) -> Attempt:
        return replace(self, number=self.number + 1)

    def first(self) -> Attempt:
        return replace(self, number=1)

    def put(self, put: Put, connection: sa.Connection, stage: str, delay_seconds: float = 0, **more: str) -> None:
        """Enqueue this attempt as a job of ``stage``."""
        key = f"{stage}:{self.study_instance_uid}:v{self.version}:{self.destination}:r{self.round}:a{self.number}"
        put(connection, stage=stage, key=key, priority=self.priority, arguments={**self.arguments, **more},
            delay_seconds=delay_seconds, partition=self.destination)

    @property
    def rows(self) -> sa.ColumnElement[bool]:
        """The delivery rows of this attempt's round; rows that moved on to a later round are not touched."""
        columns = delivery.c
        return sa.and_(
            columns.study_instance_uid == self.study_instance_uid, columns.version == self.version,
            columns.destination == self.destination, columns.round == self.round)


def move(
    connection: sa.Connection, chain: str, attempt: Attempt, sop_instance_uid: str, state: DeliveryState, action: str,
    *, status: int | None = None, reason: str = "", **more: bool,
) -> None:
    """Change one row's state, with its audit event; the first proof of a study stops its second clock."""
    connection.execute(
        sa.update(delivery)
        .where(delivery.c.sop_instance_uid == sop_instance_uid, delivery.c.destination == attempt.destination)
        .values(state=state.value, status=status, reason=reason, updated_at=now(), **more))
    note(connection, chain, attempt, action, sop_instance_uid, {"status": status, "reason": reason})
    if state in (DeliveryState.STORED, DeliveryState.COMMITTED):
        worklist.mark_notified(connection, attempt.study_instance_uid, now())


def note(
    connection: sa.Connection, chain: str, attempt: Attempt, action: str, sop_instance_uid: str, detail: JSON
) -> None:
    """An audit event about this attempt."""
    place = {
        "destination": attempt.destination, "version": attempt.version, "round": attempt.round,
        "attempt": attempt.number}
    audit.append(connection, chain, AuditEvent(
        action=action, study_instance_uid=attempt.study_instance_uid, sop_instance_uid=sop_instance_uid,
        detail={**place, **detail}))
