"""What a received instance is: new evidence, a repeat, an update, a conflict, or one of our own.

Decided after the sender has its Success, by reading the file; nothing here changes a row.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from node import header, routing
from node.database import instance, node_state, reading, rejection, report
from node.domain import ImageHead, InstanceState, Lane, ReceivedInstance
from node.errors import BadInput, StorageError

DEVICE_UID_PREFIX = "device_uid:"
"""Keys of table ``node_state`` under which workers note the Device UIDs of their models."""

REJECTION_NOTES = frozenset({
    ("DCM", "113001"),  # Rejected for Quality Reasons
    ("DCM", "113037"),  # Rejected for Patient Safety Reasons
    ("DCM", "113038"),  # Incorrect Modality Worklist Entry
    ("DCM", "113039"),  # Data Retention Policy Expired
})
"""Titles of a Key Object Selection that takes instances out of use (CID 7011; IHE Imaging Object Change Management)."""

REJECTED = "rejected by a note"
OTHER_PIXELS = "same SOP Instance UID with other pixels; the first is kept"
"""Reason of a conflict. Its row keeps it, also when the file has gone."""

GONE = {
    InstanceState.REMOVED.value: "were removed by the retention rules",
    InstanceState.MISSING.value: "are missing from the store",
}
"""States of instances that have a row and no file any more, in words."""


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A received instance, read and classified. ``head`` is None when it cannot be read."""

    instance: ReceivedInstance
    head: ImageHead | None
    state: InstanceState
    reason: str = ""
    evidence: bool = False
    #: Row id of the instance that this one replaces.
    replaces: int | None = None
    #: SOP Instance UIDs that a rejection note takes out of use.
    rejects: tuple[str, ...] = ()


class Arrivals:
    """Reads what the receiver stored."""

    def __init__(self, engine: sa.Engine, data_dir: Path) -> None:
        self._engine = engine
        self._data_dir = data_dir
        new = instance.c.state == InstanceState.RECEIVED.value
        self._oldest = sa.select(instance.c.sop_instance_uid).where(
            new, instance.c.lane == sa.bindparam("lane"), instance.c.id.not_in(sa.bindparam("but", expanding=True)),
        ).order_by(instance.c.id).limit(sa.bindparam("limit", type_=sa.Integer))
        self._first = sa.select(sa.func.min(instance.c.id)).where(
            new, instance.c.sop_instance_uid.in_(sa.bindparam("uids", expanding=True)),
        ).group_by(instance.c.sop_instance_uid)

    def waiting(self, lane: Lane, limit: int, but: Collection[int] = ()) -> list[ReceivedInstance]:
        """The oldest instances of a lane that nobody looked at, at most one per SOP Instance UID.

        Instances of one UID are taken in their order: where an older one waits in another lane, it is taken
        instead. ``but`` names rows to leave alone for now, and with them what came later under their UIDs.
        """
        with reading(self._engine) as connection:
            oldest = connection.scalars(self._oldest, {"lane": lane.value, "but": list(but), "limit": limit})
            uids = list(dict.fromkeys(oldest))
            if not uids:
                return []
            ids = connection.scalars(self._first, {"uids": uids}).all()
            rows = connection.execute(
                sa.select(instance).where(instance.c.id.in_(set(ids) - set(but))).order_by(instance.c.id)).all()
        return [received(row) for row in rows]

    def classify(self, arrived: ReceivedInstance) -> Arrival:
        """Read the file and compare it with what is already there.

        Raises:
            StorageError: disk or database do not answer for now.
        """
        path = self._data_dir / arrived.path
        try:
            head = header.read(path)
        except BadInput as error:
            return Arrival(instance=arrived, head=None, state=InstanceState.UNREADABLE, reason=str(error))
        except StorageError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            return Arrival(instance=arrived, head=None, state=InstanceState.UNREADABLE, reason="its file is gone")
        if self._is_echo(arrived, head):
            return Arrival(instance=arrived, head=head, state=InstanceState.ECHO, reason="our own object came back")
        if self._is_rejected(arrived):
            return Arrival(instance=arrived, head=head, state=InstanceState.REJECTED, reason=REJECTED)
        earlier = self._earlier(arrived)
        if earlier is not None:
            return self._repeat(arrived, head, earlier)
        rejects = head.referenced_sop_instance_uids if head.document_title in REJECTION_NOTES else ()
        return Arrival(instance=arrived, head=head, state=InstanceState.ACCEPTED,
                       evidence=routing.is_evidence(head), rejects=rejects)

    def _is_echo(self, arrived: ReceivedInstance, head: ImageHead) -> bool:
        """Its UID is in our outbox, or it carries the Device UID of a model this node ever ran."""
        keys = [f"{DEVICE_UID_PREFIX}{uid}" for uid in head.device_uids]
        ours = sa.select(sa.literal(1)).where(report.c.sop_instance_uid == arrived.sop_instance_uid)
        devices = sa.select(sa.literal(1)).where(node_state.c.key.in_(keys))
        with reading(self._engine) as connection:
            return connection.execute(ours.union(devices)).first() is not None

    def _is_rejected(self, arrived: ReceivedInstance) -> bool:
        """A note took it out of use, whether it came before the note or comes after."""
        query = sa.select(sa.literal(1)).where(
            rejection.c.sop_instance_uid == arrived.sop_instance_uid,
            rejection.c.study_instance_uid == arrived.study_instance_uid)
        with reading(self._engine) as connection:
            return connection.execute(query).first() is not None

    def _earlier(self, arrived: ReceivedInstance) -> ReceivedInstance | None:
        query = sa.select(instance).where(
            instance.c.sop_instance_uid == arrived.sop_instance_uid,
            instance.c.state == InstanceState.ACCEPTED.value,
        )
        with reading(self._engine) as connection:
            row = connection.execute(query.order_by(instance.c.id.desc())).first()
        return received(row) if row is not None else None

    def _repeat(self, arrived: ReceivedInstance, head: ImageHead, earlier: ReceivedInstance) -> Arrival:
        old_path, new_path = self._data_dir / earlier.path, self._data_dir / arrived.path
        if not old_path.exists():
            return Arrival(instance=arrived, head=head, state=InstanceState.UPDATE, replaces=earlier.id,
                           evidence=routing.is_evidence(head), reason="the file of the first is gone")
        if not header.same_pixels(old_path, new_path):
            return Arrival(instance=arrived, head=head, state=InstanceState.CONFLICT,
                           reason=OTHER_PIXELS)
        changed = header.changed_attributes(header.read(old_path), head)
        if changed:
            return Arrival(instance=arrived, head=head, state=InstanceState.UPDATE, replaces=earlier.id,
                           evidence=routing.is_evidence(head), reason=f"changed: {', '.join(changed)}")
        return Arrival(instance=arrived, head=head, state=InstanceState.DUPLICATE, reason="same pixels again")


def received(row: sa.Row[Any]) -> ReceivedInstance:
    """A row of table ``instance`` as a value."""
    names = ("id", "sop_class_uid", "sop_instance_uid", "study_instance_uid", "series_instance_uid",
             "transfer_syntax_uid", "modality", "path", "size", "calling_ae_title", "called_ae_title", "source_host")
    values = {name: getattr(row, name) for name in names}
    return ReceivedInstance(**values, received_at=datetime.fromtimestamp(row.received_at, UTC),
                            state=InstanceState(row.state), lane=Lane(row.lane))


def gone(connection: sa.Connection, study_instance_uid: str) -> str:
    """What the study lost of its evidence since it was received and was not sent again, as a sentence; '' if nothing.

    Rows keep ``evidence`` when their file goes, so that this can be told.
    """
    again = instance.alias()
    query = sa.select(instance.c.state, sa.func.count(instance.c.sop_instance_uid.distinct())).where(
        instance.c.study_instance_uid == study_instance_uid, instance.c.evidence, instance.c.state.in_(GONE),
        ~sa.exists().where(again.c.sop_instance_uid == instance.c.sop_instance_uid,
                           again.c.state == InstanceState.ACCEPTED.value))
    counts: dict[str, int] = dict(connection.execute(query.group_by(instance.c.state)).tuples().all())
    return "; ".join(f"{counts[state]} images {words}" for state, words in GONE.items() if state in counts)


def evidence_of(connection: sa.Connection, instance_ids: Sequence[int]) -> list[ReceivedInstance]:
    """Instances by row id, in the order they arrived."""
    rows = connection.execute(sa.select(instance).where(instance.c.id.in_(instance_ids)).order_by(instance.c.id))
    return [received(row) for row in rows]
