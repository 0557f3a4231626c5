"""Instances that take long to arrive keep their study open, and only as long as they arrive."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from node.database import arriving, transaction
from node.errors import UnusableIdentity
from node.intake import Intake, Reception
from node.intake.underway import Underway
from node.observability import supervised_thread
from tests.tools.clock import FakeClock
from tests.tools.desk_of_clerk import ClerksDesk
from tests.tools.instances import chest
from tests.tools.receiver import Sent, made
from tests.tools.waiting import wait_until

STUDY = "1.2.3"
QUIET = 5.0


@pytest.fixture
def desk(engine: sa.Engine, tmp_path: Path) -> ClerksDesk:
    return ClerksDesk(engine, tmp_path, quiet_seconds=QUIET)


def intake_at(desk: ClerksDesk, slot: str = "receiver") -> Intake:
    clock = desk.clock
    return Intake(desk.engine, desk.data_dir, slot, 0,
                  underway=Underway(desk.engine, slot, wall=clock.now, steady=clock.steady))


def begin(intake: Intake, sent: Sent, clock: FakeClock, *, seconds: float) -> Reception:
    """All but the last bytes have arrived, and it took some time."""
    reception = intake.begin(sent.request())
    reception.write([sent.data[:-10]])
    clock.wait(seconds)
    reception.write([sent.data[-10:-5]])
    return reception


def rows(engine: sa.Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        return [(row.association, row.study_instance_uid) for row in connection.execute(sa.select(arriving))]


def test_an_instance_on_its_way_keeps_its_study_open_until_it_is_there(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY))
    intake, large = intake_at(desk), made(study=STUDY)
    desk.clock.wait(QUIET)
    reception = begin(intake, large, desk.clock, seconds=2)
    intake.underway.tell()
    assert desk.versions.complete_due() == 0
    reception.write([large.data[-5:]])
    reception.finish()
    intake.underway.tell()
    assert rows(desk.engine) == []
    desk.take()
    desk.clock.wait(QUIET)
    assert desk.versions.complete_due() == 1
    assert len(desk.runs(STUDY)[0].instance_ids) == 2


def test_what_arrives_at_once_is_not_told(desk: ClerksDesk) -> None:
    intake = intake_at(desk)
    begin(intake, made(), desk.clock, seconds=0.9)
    intake.underway.tell()
    assert rows(desk.engine) == []


def test_a_study_is_told_as_soon_as_its_uids_have_arrived(desk: ClerksDesk) -> None:
    intake, slow = intake_at(desk), made(study=STUDY)
    reception = intake.begin(slow.request())
    for end, known in ((20, []), (len(slow.data), [("a1", STUDY)])):
        desk.clock.wait(1)
        reception.write([slow.data[:20] if end == 20 else slow.data[20:]])
        intake.underway.tell()
        assert rows(desk.engine) == known


def test_each_look_is_a_sign_of_life_and_without_them_it_is_forgotten(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY))
    intake = intake_at(desk)
    begin(intake, made(study=STUDY), desk.clock, seconds=2)
    for _ in range(6):
        desk.clock.wait(5)
        intake.underway.tell()
        assert desk.versions.complete_due() == 0
    desk.clock.wait(11)  # killed
    assert desk.versions.complete_due() == 1


def test_a_sign_of_life_from_a_clock_that_was_set_back_since_is_none(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY))
    intake = intake_at(desk)
    begin(intake, made(study=STUDY), desk.clock, seconds=2)
    intake.underway.tell()
    desk.clock.set(-3600)
    desk.versions.complete_due()
    desk.clock.wait(QUIET)
    assert desk.versions.complete_due() == 1


@pytest.mark.parametrize("end", ["abandoned", "refused"])
def test_what_will_not_come_any_more_is_not_waited_for(desk: ClerksDesk, end: str) -> None:
    intake, broken = intake_at(desk), made(study="not usable" if end == "refused" else STUDY)
    reception = begin(intake, broken, desk.clock, seconds=2)
    intake.underway.tell()
    assert rows(desk.engine) == ([] if end == "refused" else [("a1", STUDY)])
    if end == "abandoned":
        reception.abandon()
    else:
        with pytest.raises(UnusableIdentity):
            reception.finish()
    intake.underway.tell()
    assert rows(desk.engine) == []


def test_a_receiver_that_starts_again_forgets_what_it_was_in_the_middle_of_and_nothing_else(desk: ClerksDesk) -> None:
    for slot in ("receiver", "other"):
        intake = intake_at(desk, slot)
        begin(intake, made(study=STUDY), desk.clock, seconds=2)
        intake.underway.tell()
    assert len(rows(desk.engine)) == 2
    intake_at(desk).sweep()
    assert len(rows(desk.engine)) == 1


def test_a_thread_tells_and_takes_back(sqlite: sa.Engine) -> None:
    underway = Underway(sqlite, "receiver")
    supervised_thread("underway", underway.run, lambda: None)
    underway.begins("a1", STUDY, "1.2.3.9")
    wait_until(lambda: rows(sqlite) == [("a1", STUDY)])
    with transaction(sqlite) as connection:
        connection.execute(sa.update(arriving).values(beat_at=0.0))
    wait_until(lambda: _beat(sqlite) > 0)
    underway.ends("a1")
    wait_until(lambda: rows(sqlite) == [])


def _beat(engine: sa.Engine) -> float:
    with engine.connect() as connection:
        return float(connection.execute(sa.select(arriving.c.beat_at)).scalar_one())
