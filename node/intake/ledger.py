"""Rows and audit events of received instances, each pair in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from node import audit
from node.database import Prepared, Writer, instance, now, transaction
from node.domain import JSON, AuditEvent, Lane
from node.errors import NodeError
from node.header import ScannedHead
from node.intake.part10 import StoreRequest

LONGEST_MODALITY = 16
"""Characters of a CS (PS3.5 section 6.2)."""
_NOT_GIVEN = ("id", "state", "evidence", "reason")
"""Columns that the clerk fills in."""

_ADD = Prepared(sa.insert(instance), [column.name for column in instance.c if column.name not in _NOT_GIVEN])


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was kept of one C-STORE. ``path`` is relative to ``node.data_dir``."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    modality: str
    lane: Lane
    path: str
    size: int

    @classmethod
    def of(cls, request: StoreRequest, head: ScannedHead, lane: Lane, path: str, size: int) -> Outcome:
        """The identity is the data set's; a class it does not name is the command's."""
        return cls(
            sop_class_uid=head.sop_class_uid or request.sop_class_uid, sop_instance_uid=head.sop_instance_uid,
            study_instance_uid=head.study_instance_uid, series_instance_uid=head.series_instance_uid,
            transfer_syntax_uid=request.transfer_syntax_uid, modality=_code(head.modality), lane=lane,
            path=path, size=size)


class Ledger:
    """The instance table and one audit chain."""

    def __init__(self, engine: sa.Engine, chain: str) -> None:
        self._engine = engine
        self._chain = chain
        self._writer = Writer(engine)
        # One writer at a time: waiting here is fair and short, waiting on SQLite's file lock is neither.
        self._turn = threading.Lock()

    def record(self, kept: Sequence[tuple[StoreRequest, Outcome]]) -> None:
        """Write the rows and their events, all or none.

        Raises:
            StorageError: the database refused, or did not answer. Nothing is recorded, unless only its answer was lost.
        """
        received_at = now()
        rows = [_row(request, outcome, received_at) for request, outcome in kept]
        events = [_received(request, outcome) for request, outcome in kept]
        with self._turn, self._writer.transaction() as connection:
            audit.append(connection, self._chain, *events)
            _ADD.run(connection, rows)

    def refused(self, request: StoreRequest, error: NodeError, quarantined: str = "") -> None:
        """Write down that an instance was not taken. Raises StorageError."""
        detail = _origin(request) | {
            "reason": str(error),
            "sop_class_uid": request.sop_class_uid[:64],
            "affected_sop_instance_uid": request.sop_instance_uid[:64],
            "quarantined": quarantined,
        }
        with self._turn, transaction(self._engine) as connection:
            audit.append(connection, self._chain, AuditEvent(action="instance.refused", detail=detail))

    def recorded(self, paths: Collection[str]) -> set[str]:
        """Which of ``paths`` have a row. Raises StorageError."""
        with transaction(self._engine) as connection:
            return set(connection.scalars(sa.select(instance.c.path).where(instance.c.path.in_(list(paths)))))


def _row(request: StoreRequest, outcome: Outcome, received_at: float) -> JSON:
    return {
        **vars(outcome), "lane": outcome.lane.value, "received_at": received_at,
        "calling_ae_title": request.calling_ae_title, "called_ae_title": request.called_ae_title,
        "source_host": request.source_host,
    }


def _received(request: StoreRequest, outcome: Outcome) -> AuditEvent:
    detail = _origin(request) | {
        "sop_class_uid": outcome.sop_class_uid, "transfer_syntax_uid": outcome.transfer_syntax_uid,
        "path": outcome.path, "size": outcome.size,
    }
    if request.sop_instance_uid != outcome.sop_instance_uid:
        detail["affected_sop_instance_uid"] = request.sop_instance_uid
    if outcome.lane is not Lane.FRESH:
        detail["lane"] = outcome.lane.value
    return AuditEvent(
        action="instance.received", study_instance_uid=outcome.study_instance_uid,
        sop_instance_uid=outcome.sop_instance_uid, detail=detail,
    )


def _origin(request: StoreRequest) -> JSON:
    return {
        "calling_ae_title": request.calling_ae_title,
        "called_ae_title": request.called_ae_title,
        "source_host": request.source_host,
        "association": request.association_id,
    }


def _code(value: str) -> str:
    return "".join(letter for letter in value if letter.isprintable())[:LONGEST_MODALITY]
