"""Series of volumes that are quiet for a moment are put forward for early triage, once for what they have by then."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from node.completion import BEAT_SECONDS
from node.config import StudySection
from node.database import Seconds, arriving, instance, reading, series, study, transaction
from node.domain import InstanceState, Lane
from node.images.slices import VOLUME_CLASSES
from node.interfaces import Put
from node.timers import Clock

EARLY_SERIES = "early_series"
"""The job that scores some of what a series has."""
EARLY_PRIORITY = 70
"""Behind every fresh study that is complete, before historical ones."""
BATCH = 16

AT: sa.BindParameter[float] = sa.bindparam("at", type_=Seconds)


class QuietSeries:
    """Puts the jobs. What is quiet is a condition over rows, so nothing is forgotten over a restart."""

    def __init__(self, engine: sa.Engine, settings: StudySection, put: Put, clock: Clock) -> None:
        self._engine = engine
        self._put = put
        self._clock = clock
        self._due = _due(settings.series_quiet_seconds)

    def put_forward(self) -> int:
        """How many series were put forward. A study that was completed meanwhile is left to its version."""
        with reading(self._engine) as connection:
            rows = connection.execute(self._due, {"at": self._clock.now()}).all()
        return sum(self._put_one(row) for row in rows)

    def _put_one(self, row: sa.Row[Any]) -> bool:
        mine = sa.and_(series.c.study_instance_uid == row.study_instance_uid,
                       series.c.series_instance_uid == row.series_instance_uid)
        claim = sa.update(series).where(mine, series.c.early_instances < row.instances)
        with transaction(self._engine) as connection:
            if connection.execute(claim.values(early_instances=row.instances)).rowcount == 0:
                return False
            if connection.execute(sa.select(_has_slices(row))).scalar_one():
                self._put(
                    connection, stage=EARLY_SERIES, priority=EARLY_PRIORITY,
                    key=f"early:{row.study_instance_uid}:{row.series_instance_uid}:{row.instances}",
                    arguments={"study_instance_uid": row.study_instance_uid, "version": row.version,
                               "series_instance_uid": row.series_instance_uid, "priority": EARLY_PRIORITY})
        return True


def _due(quiet_seconds: float) -> sa.Select[Any]:
    """Fresh, of a study that is being collected, with more than when it was last put forward, and quiet since."""
    unread = sa.exists().where(
        instance.c.study_instance_uid == series.c.study_instance_uid, instance.c.state == InstanceState.RECEIVED.value,
        instance.c.series_instance_uid == series.c.series_instance_uid)
    on_its_way = sa.exists().where(
        arriving.c.study_instance_uid == series.c.study_instance_uid,
        arriving.c.series_instance_uid == series.c.series_instance_uid,
        arriving.c.beat_at > AT - BEAT_SECONDS, arriving.c.beat_at < AT + BEAT_SECONDS)
    return (
        sa.select(series.c.study_instance_uid, series.c.series_instance_uid, series.c.instances, study.c.version)
        .join(study, study.c.study_instance_uid == series.c.study_instance_uid)
        .where(study.c.open, study.c.lane == Lane.FRESH.value, series.c.instances > series.c.early_instances,
               series.c.last_received_at <= AT - quiet_seconds, ~unread, ~on_its_way)
        .order_by(study.c.order_priority, series.c.last_received_at).limit(BATCH))


def _has_slices(row: sa.Row[Any]) -> sa.ColumnElement[bool]:
    return sa.exists().where(
        instance.c.study_instance_uid == row.study_instance_uid, instance.c.state == InstanceState.ACCEPTED.value,
        instance.c.series_instance_uid == row.series_instance_uid, instance.c.evidence,
        instance.c.sop_class_uid.in_(sorted(VOLUME_CLASSES)))
