"""What modalities and archives announce: taken or refused by the standard's statuses, and worth completing a study."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from handlers.announced import MOST_INSTANCES, bounded
from handlers.statuses import Refused
from node import announcements, audit
from node.announcements import KEPT_SECONDS
from node.database import announcement, audit_event, expected_instance, report, transaction
from tests.tools.announcing import NOTE, OTHERS, STEP, Announcer, announcer, available, begun, ended, item
from tests.tools.desk_of_clerk import ClerksDesk
from tests.tools.instances import chest
from tests.tools.receiver import CHAIN, receiver

STUDY, OTHER = "1.2.3", "1.2.4"
ONE, TWO = f"{STUDY}.1", f"{STUDY}.2"
QUIET, FORCED = 5.0, 600.0
SUCCESS, DUPLICATE, UNKNOWN, FAILED = 0x0000, 0x0111, 0x0112, 0x0110
INVALID, MISSING, EMPTY, TOO_MUCH = 0x0106, 0x0120, 0x0121, 0x0213


@pytest.fixture
def desk(engine: sa.Engine, tmp_path: Path) -> ClerksDesk:
    return ClerksDesk(engine, tmp_path, quiet_seconds=QUIET, forced_seconds=FORCED)


@pytest.fixture
def peer(engine: sa.Engine, data_dir: Path) -> Iterator[Announcer]:
    """On both databases, each with one of the receive engines."""
    kind = "fast" if engine.dialect.name == "sqlite" else "standard"
    with receiver(engine, data_dir, receive={"engine": kind}) as node, announcer(node.port) as made:
        yield made


@pytest.fixture
def alone(sqlite: sa.Engine, data_dir: Path) -> Iterator[Announcer]:
    """Where the database does not matter."""
    with receiver(sqlite, data_dir) as node, announcer(node.port) as made:
        yield made


def complete_step(peer: Announcer, *uids: str, **more: Any) -> None:
    assert peer.create(begun(STUDY)).Status == SUCCESS
    assert peer.change(ended("COMPLETED", *uids, **more)).Status == SUCCESS


def triggers(desk: ClerksDesk, uid: str = STUDY) -> list[str]:
    return [run.trigger for run in desk.runs(uid)]


def expected(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return sorted(connection.scalars(sa.select(expected_instance.c.sop_instance_uid)))


# Completion by what was announced.

def test_a_study_is_complete_at_once_when_all_of_a_completed_step_came(peer: Announcer, desk: ClerksDesk) -> None:
    complete_step(peer, ONE, TWO)
    desk.take(chest(STUDY, 1))
    assert desk.versions.complete_due() == 0
    desk.take(chest(STUDY, 2))
    assert desk.versions.complete_due() == 1
    assert triggers(desk) == ["mpps"]


def test_it_does_not_matter_which_comes_first(peer: Announcer, desk: ClerksDesk) -> None:
    desk.take(chest(STUDY, 1), chest(STUDY, 2))
    complete_step(peer, ONE, TWO)
    assert desk.versions.complete_due() == 1


def test_what_nobody_read_yet_has_not_come(peer: Announcer, desk: ClerksDesk) -> None:
    complete_step(peer, ONE)
    desk.take(chest(STUDY, 2))
    desk.mailbox.receive(chest(STUDY, 1))
    assert desk.versions.complete_due() == 0
    desk.clerk.book()
    assert desk.versions.complete_due() == 1


def test_a_step_in_progress_keeps_its_study_open(peer: Announcer, desk: ClerksDesk) -> None:
    desk.take(chest(STUDY))
    assert peer.create(begun(STUDY)).Status == SUCCESS
    desk.clock.wait(QUIET)
    assert desk.versions.complete_due() == 0
    assert peer.change(ended("COMPLETED", ONE)).Status == SUCCESS
    assert desk.versions.complete_due() == 1


def test_a_study_of_two_steps_waits_for_both(peer: Announcer, desk: ClerksDesk) -> None:
    assert peer.create(begun(STUDY), "1.2.9.7").Status == SUCCESS
    complete_step(peer, ONE)
    desk.take(chest(STUDY, 1))
    assert desk.versions.complete_due() == 0
    assert peer.change(ended("COMPLETED", TWO), "1.2.9.7").Status == SUCCESS
    assert desk.versions.complete_due() == 0
    desk.take(chest(STUDY, 2))
    assert desk.versions.complete_due() == 1


def test_a_step_nobody_heard_of_for_a_day_holds_nothing_up(peer: Announcer, desk: ClerksDesk) -> None:
    assert peer.create(begun(STUDY)).Status == SUCCESS
    with transaction(desk.engine) as connection:
        connection.execute(sa.update(announcement).values(updated_at=announcement.c.updated_at - 90_000))
    desk.take(chest(STUDY))
    desk.clock.wait(QUIET)
    assert desk.versions.complete_due() == 1


def test_announced_instances_that_are_missing_are_waited_for_until_the_forced_limit(
    peer: Announcer, desk: ClerksDesk
) -> None:
    complete_step(peer, ONE, TWO, f"{STUDY}.3")
    desk.take(chest(STUDY, 1))
    desk.clock.wait(FORCED - 1)
    assert desk.versions.complete_due() == 0
    desk.clock.wait(1)
    assert desk.versions.complete_due() == 1
    assert triggers(desk) == ["forced"]
    with desk.engine.connect() as connection:
        told = [event["detail"] for event in audit.events(connection, STUDY) if event["action"] == "study.completed"]
    assert (told[0]["announced"], told[0]["missing"]) == (3, 2)


def test_after_the_forced_limit_what_comes_late_waits_for_quiet_only(peer: Announcer, desk: ClerksDesk) -> None:
    complete_step(peer, ONE, TWO, f"{STUDY}.3")
    desk.take(chest(STUDY, 1))
    desk.clock.wait(FORCED)
    desk.versions.complete_due()
    desk.take(chest(STUDY, 2))
    assert desk.versions.complete_due() == 0
    desk.clock.wait(QUIET)
    assert desk.versions.complete_due() == 1
    assert triggers(desk) == ["forced", "quiet"]


@pytest.mark.parametrize("uids", [(), (ONE, TWO)], ids=["naming nothing", "naming what is missing"])
def test_a_discontinued_step_promises_nothing(peer: Announcer, desk: ClerksDesk, uids: tuple[str, ...]) -> None:
    assert peer.create(begun(STUDY)).Status == SUCCESS
    assert peer.change(ended("DISCONTINUED", *uids)).Status == SUCCESS
    desk.take(chest(STUDY))
    assert desk.versions.complete_due() == 0
    desk.clock.wait(QUIET)
    assert desk.versions.complete_due() == 1
    assert (triggers(desk), expected(desk.engine)) == (["quiet"], [])


def test_a_completed_step_that_names_nothing_promises_nothing(peer: Announcer, desk: ClerksDesk) -> None:
    assert peer.create(begun(STUDY)).Status == SUCCESS
    assert peer.change(item(PerformedProcedureStepStatus="COMPLETED")).Status == SUCCESS
    desk.take(chest(STUDY))
    desk.clock.wait(QUIET)
    assert desk.versions.complete_due() == 1
    assert triggers(desk) == ["quiet"]


def test_what_a_step_named_before_its_end_counts_at_its_end(peer: Announcer, desk: ClerksDesk) -> None:
    assert peer.create(begun(STUDY)).Status == SUCCESS
    assert peer.change(ended("IN PROGRESS", TWO)).Status == SUCCESS
    assert peer.change(ended("IN PROGRESS", ONE, sequence=OTHERS)).Status == SUCCESS
    assert expected(desk.engine) == [ONE]
    assert peer.change(item(PerformedProcedureStepStatus="COMPLETED")).Status == SUCCESS
    desk.take(chest(STUDY, 1))
    assert desk.versions.complete_due() == 1


def test_each_study_of_a_step_waits_for_all_it_names(peer: Announcer, desk: ClerksDesk) -> None:
    assert peer.create(begun(STUDY, OTHER)).Status == SUCCESS
    assert peer.change(ended("COMPLETED", ONE, f"{OTHER}.1")).Status == SUCCESS
    desk.take(chest(STUDY))
    assert desk.versions.complete_due() == 0
    desk.take(chest(OTHER))
    assert desk.versions.complete_due() == 2
    assert (triggers(desk), triggers(desk, OTHER)) == (["mpps"], ["mpps"])


def test_a_study_is_complete_when_all_came_that_an_archive_has(peer: Announcer, desk: ClerksDesk) -> None:
    assert peer.notify(available(STUDY, {ONE: "ONLINE", TWO: "NEARLINE", f"{STUDY}.3": "OFFLINE"})).Status == SUCCESS
    desk.take(chest(STUDY, 1))
    desk.clock.wait(QUIET)
    assert desk.versions.complete_due() == 0
    desk.take(chest(STUDY, 2))
    assert desk.versions.complete_due() == 1
    assert triggers(desk) == ["ian"]


def test_a_notification_about_a_complete_study_changes_nothing_for_what_comes_later(
    peer: Announcer, desk: ClerksDesk
) -> None:
    desk.take(chest(STUDY, 1))
    desk.complete()
    assert peer.notify(available(STUDY, {ONE: "ONLINE"})).Status == SUCCESS
    assert expected(desk.engine) == []
    desk.take(chest(STUDY, 2))
    assert desk.versions.complete_due() == 0


def test_our_own_reports_are_not_waited_for(peer: Announcer, desk: ClerksDesk) -> None:
    desk.take(chest(STUDY, 1))
    with transaction(desk.engine) as connection:
        connection.execute(sa.insert(report).values(
            sop_instance_uid="2.25.1", study_instance_uid=STUDY, version=1, kind="text_report", sop_class_uid="1",
            series_instance_uid="1", path="x", created_at=0.0))
    assert peer.notify(available(STUDY, {ONE: "ONLINE", "2.25.1": "ONLINE"})).Status == SUCCESS
    assert expected(desk.engine) == [ONE]
    assert desk.versions.complete_due() == 1


# What is answered.

def test_a_step_may_not_be_updated_after_its_end(peer: Announcer) -> None:
    complete_step(peer, ONE)
    for status in ("IN PROGRESS", "COMPLETED", "DISCONTINUED"):
        reply = peer.change(ended(status, TWO))
        assert (reply.Status, reply.ErrorID) == (FAILED, 0xA506)


def test_a_uid_is_announced_once(peer: Announcer) -> None:
    assert [peer.create(begun(STUDY)).Status, peer.create(begun(OTHER)).Status] == [SUCCESS, DUPLICATE]
    assert [peer.notify(available(STUDY, {ONE: "ONLINE"})).Status for _ in range(2)] == [SUCCESS, DUPLICATE]


def test_a_step_nobody_created_cannot_be_changed(alone: Announcer) -> None:
    assert alone.change(ended("COMPLETED", ONE)).Status == UNKNOWN
    assert alone.notify(available(STUDY, {ONE: "ONLINE"})).Status == SUCCESS
    assert alone.change(ended("COMPLETED", ONE), NOTE).Status == UNKNOWN


def test_who_names_no_uid_gets_one(alone: Announcer, sqlite: sa.Engine) -> None:
    assert alone.create(begun(STUDY), None).Status == SUCCESS
    assert alone.notify(available(STUDY, {ONE: "ONLINE"}), None).Status == SUCCESS
    with sqlite.connect() as connection:
        step, note = connection.scalars(
            sa.select(announcement.c.sop_instance_uid).order_by(announcement.c.kind.desc())).all()
    assert step.startswith("2.25.") and step != note
    assert alone.change(ended("COMPLETED", ONE), step).Status == SUCCESS


@pytest.mark.parametrize(("attributes", "status"), [
    (begun(STUDY, PerformedProcedureStepStatus=None), MISSING),
    (begun(STUDY, PerformedProcedureStepStatus=""), EMPTY),
    (begun(STUDY, PerformedProcedureStepStatus="COMPLETED"), INVALID),
    (begun(STUDY, PerformedProcedureStepStatus="PAUSED"), INVALID),
    (begun(STUDY, ScheduledStepAttributesSequence=None), MISSING),
    (begun(STUDY, ScheduledStepAttributesSequence=[]), EMPTY),
    (begun(STUDY, ScheduledStepAttributesSequence=[item(AccessionNumber="1")]), EMPTY),
    (begun("1.2/../3"), INVALID),
    (begun(*(f"1.2.{number}" for number in range(101))), TOO_MUCH),
    (None, MISSING),
])
def test_a_step_that_cannot_be_used_is_refused_precisely(
    alone: Announcer, attributes: Dataset | None, status: int
) -> None:
    assert alone.create(attributes).Status == status
    assert alone.create(begun(STUDY)).Status == SUCCESS  # nothing was kept


@pytest.mark.parametrize(("attributes", "status"), [
    (item(StudyInstanceUID=STUDY), MISSING),
    (item(ReferencedSeriesSequence=[item()]), MISSING),
    (item(StudyInstanceUID=STUDY, ReferencedSeriesSequence=[]), EMPTY),
    (available("", {ONE: "ONLINE"}), EMPTY),
    (available(STUDY, {ONE: ""}), EMPTY),
    (available(STUDY, {ONE: "SOMEWHERE"}), INVALID),
    (available(STUDY, {"x y": "ONLINE"}), INVALID),
])
def test_a_notification_that_cannot_be_used_is_refused_precisely(
    alone: Announcer, attributes: Dataset, status: int
) -> None:
    assert alone.notify(attributes).Status == status


def test_a_change_that_cannot_be_used_is_refused_and_changes_nothing(alone: Announcer) -> None:
    assert alone.create(begun(STUDY)).Status == SUCCESS
    assert alone.change(ended("ENDED", ONE)).Status == INVALID
    assert alone.change(ended("COMPLETED", "not a uid")).Status == INVALID
    assert alone.change(ended("COMPLETED", ONE)).Status == SUCCESS


def test_more_instances_than_any_study_has_are_refused() -> None:
    with pytest.raises(Refused) as caught:
        bounded(f"1.2.{number}" for number in range(MOST_INSTANCES + 1))
    assert caught.value.status == TOO_MUCH


# What is kept.

def test_announcements_are_audited_and_nothing_about_the_patient_is_kept(alone: Announcer, sqlite: sa.Engine) -> None:
    complete_step(alone, ONE)
    with sqlite.connect() as connection:
        events = [event for event in audit.events(connection) if event["action"].startswith("announcement")]
        assert audit.verify(connection).problems == ()
        dump = "\n".join(sqlite.raw_connection().iterdump())  # type: ignore[attr-defined]
    assert [(event["action"], event["sop_instance_uid"], event["study_instance_uid"]) for event in events] == [
        ("announcement.created", STEP, STUDY), ("announcement.changed", STEP, STUDY)]
    assert (events[1]["chain"], events[1]["detail"]["status"], events[1]["detail"]["instances"]) == (
        CHAIN, "COMPLETED", 1)
    assert "SECRET" not in dump


def test_announcements_are_forgotten_after_a_month(peer: Announcer, engine: sa.Engine) -> None:
    complete_step(peer, ONE)
    with transaction(engine) as connection:
        assert announcements.forget_old(connection) == 0
        connection.execute(sa.update(announcement).values(updated_at=announcement.c.updated_at - KEPT_SECONDS - 1))
        assert announcements.forget_old(connection) == 1
    assert expected(engine) == []
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(audit_event)) > 0
