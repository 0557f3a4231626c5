"""Rows and audit events of received instances, each pair in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Collection
from datetime import UTC, datetime

import sqlalchemy as sa

from node import audit
from node.database import instance, now, transaction
from node.domain import JSON, AuditEvent, ReceivedInstance
from node.errors import NodeError
from node.header import ScannedHead
from node.intake.part10 import StoreRequest

LONGEST_MODALITY = 16
"""Characters of a CS (PS3.5 section 6.2)."""


class Ledger:
    """The instance table and one audit chain."""

    def __init__(self, engine: sa.Engine, chain: str) -> None:
        self._engine = engine
        self._chain = chain
        # One writer at a time: waiting here is fair and short, waiting on SQLite's file lock is neither.
        self._turn = threading.Lock()

    def record(self, request: StoreRequest, head: ScannedHead, path: str, size: int) -> ReceivedInstance:
        """Write the row and its event.

        Raises:
            StorageError: the database refused. Nothing is recorded, unless only its answer was lost.
        """
        values: JSON = {
            "sop_class_uid": head.sop_class_uid or request.sop_class_uid,
            "sop_instance_uid": head.sop_instance_uid,
            "study_instance_uid": head.study_instance_uid,
            "series_instance_uid": head.series_instance_uid,
            "transfer_syntax_uid": request.transfer_syntax_uid,
            "modality": _code(head.modality),
            "path": path,
            "size": size,
            "calling_ae_title": request.calling_ae_title,
            "called_ae_title": request.called_ae_title,
            "source_host": request.source_host,
        }
        with self._turn, transaction(self._engine) as connection:
            audit.append(connection, self._chain, _received(request, values))
            received_at = now()
            inserted = connection.execute(sa.insert(instance).values(**values, received_at=received_at))
        assert inserted.inserted_primary_key is not None
        row_id: int = inserted.inserted_primary_key[0]
        return ReceivedInstance(id=row_id, received_at=datetime.fromtimestamp(received_at, UTC), **values)

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


def _received(request: StoreRequest, values: JSON) -> AuditEvent:
    described = ("sop_class_uid", "transfer_syntax_uid", "path", "size")
    detail = _origin(request) | {name: values[name] for name in described}
    if request.sop_instance_uid != values["sop_instance_uid"]:
        detail["affected_sop_instance_uid"] = request.sop_instance_uid
    return AuditEvent(
        action="instance.received", study_instance_uid=values["study_instance_uid"],
        sop_instance_uid=values["sop_instance_uid"], detail=detail,
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
