"""When a study is complete: which ones are due, and by what evidence. In words: docs/completion.md.

Every rule is a condition over rows, so nothing is forgotten over a restart. All times are when this node received.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import sqlalchemy as sa

from node.config import StudySection
from node.database import (
    Seconds,
    announcement,
    arriving,
    expected_instance,
    instance,
    reading,
    run,
    series,
    study,
)
from node.domain import AnnouncementKind, InstanceState, Lane, PerformedStepStatus
from node.timers import NOTICED_SECONDS, Clock

BEAT_SECONDS = 10.0
"""An instance whose receiver said nothing for so long is not on its way any more: the process was killed."""
STEP_SECONDS = 86_400.0
"""A performed procedure step that was begun and not heard of for so long was forgotten by its modality."""
HISTORICAL_AT_ONCE = 4
"""Historical runs at the same time, when nothing fresh came for :data:`IDLE_SECONDS`."""
HISTORICAL_BETWEEN = 1
"""And between fresh studies: what it computes at the moment is all that a fresh image may have to wait for."""
IDLE_SECONDS = 60.0
RUN_SECONDS = 3600.0
"""A run that takes longer has lost its worker, and holds up no historical ones."""


class Trigger(Enum):
    """Why a version was started."""

    #: An operator asked for another version of what is there.
    REPLAY = "replay"
    #: An operator asked to wait no longer.
    OPERATOR = "operator"
    #: Everything came that a completed Modality Performed Procedure Step names.
    MPPS = "mpps"
    #: Everything came that an Instance Availability Notification names.
    IAN = "ian"
    #: Nothing came for a while, and nothing says that more will.
    QUIET = "quiet"
    #: The longest time is over, whatever is missing.
    FORCED = "forced"


@dataclass(frozen=True, kw_only=True)
class Due:
    """A complete study: its row of table ``study``, and why it is complete."""

    row: sa.Row[Any]
    trigger: Trigger


@dataclass(frozen=True, kw_only=True)
class Promise:
    """Instances that finished announcements of a study name, and how many of them did not come."""

    announced: int
    missing: int


AT: sa.BindParameter[float] = sa.bindparam("at", type_=Seconds)
"""Now. Statements are built once, as building them takes longer than most databases need to answer."""
LIMIT: sa.BindParameter[int] = sa.bindparam("limit", type_=sa.Integer)


class Completion:
    """Finds the studies that are due. Changes nothing."""

    def __init__(self, engine: sa.Engine, settings: StudySection, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        rules = _Rules(settings)
        self._asked_for = rules.asked_for()
        self._due = {lane: rules.due(lane) for lane in (Lane.FRESH, Lane.HISTORICAL)}
        self._uncounted = rules.uncounted()
        self._busy = rules.busy()

    def asked_for(self, limit: int) -> list[Due]:
        """Studies of any lane that an operator wants now."""
        return self._find(self._asked_for, limit)

    def due(self, lane: Lane, limit: int) -> list[Due]:
        """Complete studies of one lane, the urgent and the oldest first."""
        return self._find(self._due[lane], limit)

    def uncounted(self, limit: int) -> list[str]:
        """Study Instance UIDs that the source archive should be asked about now, fresh ones first."""
        with reading(self._engine) as connection:
            return list(connection.scalars(self._uncounted, {"at": self._clock.now(), "limit": limit}))

    def is_fresh_under_way(self) -> bool:
        """Whether a fresh study is being received, booked or worked on."""
        return bool(self._load().busy)

    def room_for_historical(self) -> int:
        """How many historical studies may start now: none while a fresh one is under way."""
        load = self._load()
        at_once = 0 if load.busy else HISTORICAL_BETWEEN if load.lately else HISTORICAL_AT_ONCE
        return max(0, at_once - int(load.others))

    def _load(self) -> sa.Row[Any]:
        with reading(self._engine) as connection:
            return connection.execute(self._busy, {"at": self._clock.now()}).one()

    def _find(self, statement: sa.Select[Any], limit: int) -> list[Due]:
        with reading(self._engine) as connection:
            rows = connection.execute(statement, {"at": self._clock.now(), "limit": limit}).all()
        return [Due(row=row, trigger=Trigger(row.trigger)) for row in rows]


class _Rules:
    """The rules as conditions on table ``study`` at the time :data:`AT`."""

    def __init__(self, settings: StudySection) -> None:
        self._settings = settings
        self.forced = study.c.opened_at <= AT - settings.forced_seconds
        self.looks_quiet = self._looks_quiet()
        self.quiet = sa.and_(self._counted(), self.looks_quiet)
        self.announced = sa.and_(_promised(), ~_unread(), ~_more_to_come(), ~_missing())  # the dearest last

    def asked_for(self) -> sa.Select[Any]:
        wanted = sa.or_(sa.and_(study.c.complete_requested, study.c.open, ~_unread()), study.c.replay_requested)
        return self._with_trigger().where(wanted).order_by(study.c.order_priority).limit(LIMIT)

    def due(self, lane: Lane) -> sa.Select[Any]:
        by_rule = sa.or_(self.forced, self.quiet, self.announced)
        found = self._with_trigger().where(study.c.open, study.c.lane == lane.value, by_rule).limit(LIMIT)
        if lane is Lane.FRESH:
            return found.order_by(study.c.order_priority, study.c.last_received_at)
        return found.order_by(study.c.last_received_at)  # as its index has them: thousands of others stay unread

    def uncounted(self) -> sa.Select[Any]:
        """Quiet as far as the node can tell, and not counted since, or missing something when it was."""
        again = sa.and_(study.c.source_missing > 0,
                        study.c.source_asked_at <= AT - self._settings.source.ask_again_seconds)
        never = sa.or_(study.c.source_asked_at.is_(None), study.c.source_asked_at <= study.c.last_received_at)
        analysed = study.c.lane.in_([Lane.FRESH.value, Lane.HISTORICAL.value])
        fresh_first = sa.case((study.c.lane == Lane.FRESH.value, 0), else_=1)
        return (sa.select(study.c.study_instance_uid)
                .where(study.c.open, analysed, self.looks_quiet, sa.or_(never, again))
                .order_by(fresh_first, study.c.last_received_at).limit(LIMIT))

    def busy(self) -> sa.Select[Any]:
        """Whether something fresh is under way or came lately, and how many other versions run."""
        fresh = study.c.lane == Lane.FRESH.value
        running = sa.and_(run.c.state == "running", run.c.started_at > AT - RUN_SECONDS)
        of_study = run.join(study, study.c.study_instance_uid == run.c.study_instance_uid)
        busy = sa.or_(
            sa.exists().where(instance.c.state == InstanceState.RECEIVED.value, instance.c.lane == Lane.FRESH.value),
            sa.exists().where(study.c.open, fresh, study.c.last_received_at > AT - self._settings.quiet_seconds),
            sa.exists(sa.select(sa.literal(1)).select_from(of_study).where(running, fresh)))
        others = sa.select(sa.func.count()).select_from(of_study).where(running, ~fresh).scalar_subquery()
        lately = sa.exists().where(  # both values of ``open``, so that the index serves
            study.c.open.in_([True, False]), fresh, study.c.last_received_at > AT - IDLE_SECONDS)
        return sa.select(busy.label("busy"), lately.label("lately"), others.label("others"))

    def _with_trigger(self) -> sa.Select[Any]:
        trigger = sa.case(
            (study.c.replay_requested, Trigger.REPLAY.value),
            (study.c.complete_requested, Trigger.OPERATOR.value),
            (sa.and_(self.announced, _promised(AnnouncementKind.MPPS)), Trigger.MPPS.value),
            (self.announced, Trigger.IAN.value),
            (self.quiet, Trigger.QUIET.value),
            else_=Trigger.FORCED.value)
        return sa.select(study, trigger.label("trigger"))

    def _looks_quiet(self) -> sa.ColumnElement[bool]:
        """What the node can tell by itself."""
        last = series.c.last_received_at
        loud = sa.exists().where(
            series.c.study_instance_uid == study.c.study_instance_uid,
            last > AT - self._settings.series_quiet_seconds, last <= AT + NOTICED_SECONDS)
        return sa.and_(study.c.last_received_at <= AT - self._settings.quiet_seconds,
                       ~_unread(), ~loud, ~_more_to_come(), ~_missing())

    def _counted(self) -> sa.ColumnElement[bool]:
        """The source archive, where one is asked, has nothing more, or does not say."""
        if not self._settings.source.ae_title:
            return sa.true()
        return sa.and_(study.c.source_asked_at > study.c.last_received_at,
                       sa.func.coalesce(study.c.source_missing, 0) <= 0)


def promise(connection: sa.Connection, study_instance_uid: str) -> Promise:
    """What was announced about a study and has not been worth a version yet."""
    named = _named(study_instance_uid)
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(sa.case((_arrived(), 0), else_=1)), 0))
    announced, missing = connection.execute(query.where(named)).one()
    return Promise(announced=announced, missing=missing)


def keep_promise(connection: sa.Connection, study_instance_uid: str) -> None:
    """A version was started: its finished announcements hold nothing up any more, and cause nothing."""
    if connection.execute(sa.select(sa.literal(1)).where(_named(study_instance_uid)).limit(1)).first() is not None:
        connection.execute(sa.delete(expected_instance).where(_named(study_instance_uid)))


def _named(study_instance_uid: str) -> sa.ColumnElement[bool]:
    finished = sa.select(announcement.c.sop_instance_uid).where(
        announcement.c.study_instance_uid == study_instance_uid,
        announcement.c.state == PerformedStepStatus.COMPLETED.value)
    return expected_instance.c.announcement_uid.in_(finished)


def _unread() -> sa.ColumnElement[bool]:
    """An instance came that nobody looked at yet."""
    return sa.exists().where(
        instance.c.study_instance_uid == study.c.study_instance_uid, instance.c.state == InstanceState.RECEIVED.value)


def _more_to_come() -> sa.ColumnElement[bool]:
    """An instance is on its way, or a modality says that it has not finished."""
    beats = sa.exists().where(
        arriving.c.study_instance_uid == study.c.study_instance_uid,
        arriving.c.beat_at > AT - BEAT_SECONDS, arriving.c.beat_at < AT + BEAT_SECONDS)
    begun = sa.exists().where(
        announcement.c.study_instance_uid == study.c.study_instance_uid,
        announcement.c.state == PerformedStepStatus.IN_PROGRESS.value, announcement.c.updated_at > AT - STEP_SECONDS)
    return sa.or_(beats, begun)


def _promised(kind: AnnouncementKind | None = None) -> sa.ColumnElement[bool]:
    return sa.exists().where(*_finished(), announcement.c.kind == kind.value if kind else sa.true())


def _missing() -> sa.ColumnElement[bool]:
    return sa.exists().where(*_finished(), ~_arrived())


def _finished() -> Sequence[sa.ColumnElement[bool]]:
    return (
        announcement.c.study_instance_uid == study.c.study_instance_uid,
        announcement.c.state == PerformedStepStatus.COMPLETED.value,
        expected_instance.c.announcement_uid == announcement.c.sop_instance_uid)


def _arrived() -> sa.ColumnElement[bool]:
    """In whatever study: a step of several studies does not say which instance is whose."""
    return sa.exists().where(
        instance.c.sop_instance_uid == expected_instance.c.sop_instance_uid,
        instance.c.state != InstanceState.RECEIVED.value).correlate(expected_instance)
