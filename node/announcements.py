"""What modalities and archives say belongs to a study: performed procedure steps and availability notifications.

Kept are UIDs, a status and who said it; nothing about the patient. Completion looks at the rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from node import audit, completion
from node.database import announcement, expected_instance, insert_ignore, now, report, study, transaction
from node.domain import JSON, Announcement, AnnouncementKind, AuditEvent, PerformedStepStatus, StepChange
from node.errors import AlreadyAnnounced, NotAnnounced, StepEnded

KEPT_SECONDS = 30 * 86_400.0
"""An announcement is forgotten so long after it was last heard of; until then its UID cannot be used again."""


class Announcements:
    """Writes down what peers announce. Any thread may use it."""

    def __init__(self, engine: sa.Engine, chain: str) -> None:
        self._engine = engine
        self._chain = chain

    def create(self, made: Announcement) -> None:
        """A new one (N-CREATE).

        Raises:
            AlreadyAnnounced: its SOP Instance UID is known.
            StorageError: the database refused.
        """
        at = now()
        with transaction(self._engine) as connection:
            for uid in made.study_instance_uids:
                self._note(connection, "announcement.created", made, uid)
            if _states(connection, made.sop_instance_uid):
                raise AlreadyAnnounced(f"{made.kind.value} {made.sop_instance_uid} was announced before")
            values = {"kind": made.kind.value, "state": made.status.value, "calling_ae_title": made.calling_ae_title,
                      "source_host": made.source_host, "announced_at": at, "updated_at": at}
            for uid in made.study_instance_uids:
                if not insert_ignore(connection, announcement, sop_instance_uid=made.sop_instance_uid,
                                     study_instance_uid=uid, **values):
                    raise AlreadyAnnounced(f"{made.kind.value} {made.sop_instance_uid} is being announced already")
            _expect(connection, made.sop_instance_uid, made.instances)
            _settle(connection, made.sop_instance_uid, made.status)

    def change(self, changed: StepChange) -> None:
        """What became of a performed procedure step (N-SET).

        Raises:
            NotAnnounced: there is no such step.
            StepEnded: it is completed or discontinued already (PS3.4 F.7.2.2.2).
            StorageError: the database refused.
        """
        mine = sa.and_(announcement.c.sop_instance_uid == changed.sop_instance_uid,
                       announcement.c.kind == AnnouncementKind.MPPS.value)
        in_progress = announcement.c.state == PerformedStepStatus.IN_PROGRESS.value
        with transaction(self._engine) as connection:
            moved = sa.update(announcement).where(mine, in_progress).values(
                state=changed.status.value, updated_at=now()).returning(announcement.c.study_instance_uid)
            studies = connection.scalars(moved).all()
            if not studies:
                _refuse(connection, mine, changed.sop_instance_uid)
            for uid in studies:
                self._note(connection, "announcement.changed", changed, uid)
            if changed.instances is not None:
                _expect(connection, changed.sop_instance_uid, changed.instances)
            _settle(connection, changed.sop_instance_uid, changed.status)

    def _note(self, connection: sa.Connection, action: str, said: Announcement | StepChange, study_uid: str) -> None:
        detail: JSON = {
            "kind": said.kind.value, "status": said.status.value, "calling_ae_title": said.calling_ae_title,
            "source_host": said.source_host, "association": said.association}
        if said.instances is not None:
            detail["instances"] = len(said.instances)
        audit.append(connection, self._chain, AuditEvent(
            action=action, study_instance_uid=study_uid, sop_instance_uid=said.sop_instance_uid, detail=detail))


def forget_old(connection: sa.Connection) -> int:
    """Remove announcements that nothing was heard of for long; how many."""
    old = announcement.c.updated_at < now() - KEPT_SECONDS
    uids = sa.select(announcement.c.sop_instance_uid).where(old)
    connection.execute(sa.delete(expected_instance).where(expected_instance.c.announcement_uid.in_(uids)))
    return connection.execute(sa.delete(announcement).where(old)).rowcount


def _states(connection: sa.Connection, sop_instance_uid: str) -> Sequence[str]:
    return connection.scalars(
        sa.select(announcement.c.state).where(announcement.c.sop_instance_uid == sop_instance_uid)).all()


def _refuse(connection: sa.Connection, mine: sa.ColumnElement[bool], uid: str) -> None:
    states = connection.scalars(sa.select(announcement.c.state).where(mine)).all()
    if states:
        raise StepEnded(f"performed procedure step {uid} is {states[0]} and may no longer be updated")
    raise NotAnnounced(f"performed procedure step {uid} was never created here")


def _expect(connection: sa.Connection, uid: str, instances: Sequence[str]) -> None:
    """Replace what the announcement names. Objects of our own, which an archive may name too, never come."""
    mine = expected_instance.c.announcement_uid == uid
    connection.execute(sa.delete(expected_instance).where(mine))
    if instances:
        connection.execute(sa.insert(expected_instance), [
            {"announcement_uid": uid, "sop_instance_uid": one} for one in dict.fromkeys(instances)])
        ours = sa.select(report.c.sop_instance_uid)
        connection.execute(sa.delete(expected_instance).where(mine, expected_instance.c.sop_instance_uid.in_(ours)))


def _settle(connection: sa.Connection, uid: str, status: PerformedStepStatus) -> None:
    """Forget what is not promised, and what was kept before it was promised."""
    if status is PerformedStepStatus.DISCONTINUED:
        connection.execute(sa.delete(expected_instance).where(expected_instance.c.announcement_uid == uid))
    if status is not PerformedStepStatus.COMPLETED:
        return
    complete = sa.select(study.c.study_instance_uid).where(~study.c.open, study.c.study_instance_uid.in_(
        sa.select(announcement.c.study_instance_uid).where(announcement.c.sop_instance_uid == uid)))
    for study_uid in connection.scalars(complete).all():
        if completion.promise(connection, study_uid).missing == 0:
            completion.keep_promise(connection, study_uid)
