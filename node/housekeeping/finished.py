"""Which studies are finished, so that their received files may be removed.

A study is finished when it is closed, its last version has ended, nothing of it is unread or still
arriving, no heat map is to be made, and every result is where it was to go: committed where that is
asked for, else stored, or given up by an operator. A dead letter is not delivered.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from node.database import Seconds, arriving, commitment_request, delivery, instance, now, run, study
from node.domain import CommitmentState, DeliveryState, InstanceState, Lane
from node.heat_maps import is_pending

FILELESS = (InstanceState.REMOVED, InstanceState.MISSING)
"""States of rows whose file is not there any more."""

KEPT = tuple(state.value for state in InstanceState if state not in FILELESS)
"""States of rows that have a file."""

READ = tuple(state for state in KEPT if state != InstanceState.RECEIVED.value)
"""Those that the clerk has looked at."""

UNPROVED = (DeliveryState.QUEUED.value, DeliveryState.SENT.value, DeliveryState.FAILED.value)

ANSWERED = (CommitmentState.REPORTED.value, CommitmentState.UNREPORTED.value)
"""States of a sender's commitment request that has its answer."""


LIVING = sa.bindparam("living", callable_=lambda: now() - 3600.0, type_=Seconds)
"""A receiver that said nothing for so long was killed: what it had begun to receive will not come."""


def condition(committing: Collection[str], *, also_failed: bool) -> sa.ColumnElement[bool]:
    """On table ``study``. ``committing`` names the destinations that are asked to commit.

    ``also_failed`` counts a version that failed as ended; an operator may still want to run it again.
    """
    uid = study.c.study_instance_uid
    ended = ("running",) if also_failed else ("running", "failed")
    running = sa.exists().where(run.c.study_instance_uid == uid, run.c.version == study.c.version,
                                run.c.state.in_(ended))
    unread = sa.exists().where(instance.c.study_instance_uid == uid,
                               instance.c.state == InstanceState.RECEIVED.value)
    waiting = sa.or_(delivery.c.state.in_(UNPROVED), sa.and_(
        delivery.c.state == DeliveryState.STORED.value, delivery.c.destination.in_(list(committing))))
    return sa.and_(
        ~study.c.open, ~study.c.complete_requested, ~study.c.replay_requested,
        sa.or_(study.c.version > 0, study.c.lane == Lane.PRIOR.value), ~running, ~unread, ~is_pending(uid),
        ~sa.exists().where(delivery.c.study_instance_uid == uid, waiting),
        ~sa.exists().where(arriving.c.study_instance_uid == uid, arriving.c.beat_at > LIVING))


def hold(connection: sa.Connection, study_instance_uid: str, finished: sa.ColumnElement[bool]) -> bool:
    """Whether the study is finished and stays so until the transaction ends. The first statement is a write.

    What came for a study that was never booked, such as an echo of our own object, is finished once it is read.
    """
    mine = study.c.study_instance_uid == study_instance_uid
    held = connection.execute(sa.update(study).where(mine, finished).values(version=study.c.version)).rowcount == 1
    if not held and connection.execute(sa.select(sa.literal(1)).where(mine)).first() is not None:
        return False
    unread = sa.select(sa.literal(1)).where(instance.c.study_instance_uid == study_instance_uid,
                                            instance.c.state == InstanceState.RECEIVED.value)
    if not held and connection.execute(unread).first() is not None:
        return False
    return not (_waits_for_replay(connection, study_instance_uid) or _is_promised(connection, study_instance_uid))


def _waits_for_replay(connection: sa.Connection, uid: str) -> bool:
    """Images opened the study again and no version saw them: there were too many versions that day."""
    last = connection.scalar(sa.select(run.c.instance_ids).where(run.c.study_instance_uid == uid)
                             .order_by(run.c.version.desc()).limit(1))
    if last is None:
        return False
    opened = sa.select(instance.c.id).join(study, study.c.study_instance_uid == instance.c.study_instance_uid).where(
        instance.c.study_instance_uid == uid, instance.c.evidence, instance.c.state == InstanceState.ACCEPTED.value,
        instance.c.received_at <= study.c.last_received_at)
    return not set(connection.scalars(opened)) <= set(last)


def _is_promised(connection: sa.Connection, uid: str) -> bool:
    """A sender asked for commitment of one of its instances and has no answer yet."""
    asked = connection.scalars(sa.select(commitment_request.c.instances).where(
        commitment_request.c.state.not_in(ANSWERED))).all()
    named = {str(sop_instance_uid) for pairs in asked for _, sop_instance_uid in pairs}
    if not named:
        return False
    held = connection.scalars(sa.select(instance.c.sop_instance_uid).where(instance.c.study_instance_uid == uid))
    return any(found in named for found in held)
