"""When a study is complete: quiet, forced, by lane, and whatever somebody does to the clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from node.database import audit_event, run, series, study, transaction
from node.domain import Lane
from tests.tools.desk_of_clerk import ClerksDesk
from tests.tools.instances import chest, rejection_note

STUDY, OTHER = "1.2.3", "1.2.4"
LONG_AGO = f"{date.today() - timedelta(days=30):%Y%m%d}"
QUIET, SERIES_QUIET, FORCED = 5.0, 1.0, 600.0
HOURS = 3 * 3600.0
Make = Callable[..., ClerksDesk]


@pytest.fixture
def make(sqlite: sa.Engine, tmp_path: Path) -> Make:
    """Makes a desk with other settings, on SQLite."""
    return lambda **section: ClerksDesk(sqlite, tmp_path, quiet_seconds=QUIET, forced_seconds=FORCED, **section)


@pytest.fixture
def desk(engine: sa.Engine, tmp_path: Path) -> ClerksDesk:
    """On both databases."""
    return ClerksDesk(engine, tmp_path, quiet_seconds=QUIET, forced_seconds=FORCED)


def finish(desk: ClerksDesk, uid: str) -> None:
    """What the worker does in the end."""
    with transaction(desk.engine) as connection:
        connection.execute(sa.update(run).where(run.c.study_instance_uid == uid).values(state="done"))


def started(desk: ClerksDesk) -> list[str]:
    """Studies of all runs in the order they were started."""
    return [put.arguments["study_instance_uid"] for put in desk.jobs.put_jobs]


# Quiet.

def test_a_study_is_complete_when_it_was_quiet_for_so_long(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY))
    desk.clock.wait(QUIET - 0.5)
    assert desk.versions.complete_due() == 0
    desk.clock.wait(0.5)
    assert desk.versions.complete_due() == 1


def test_every_image_begins_the_quiet_time_again(desk: ClerksDesk) -> None:
    for number in range(1, 4):
        desk.take(chest(STUDY, number))
        desk.clock.wait(QUIET - 1)
        assert desk.versions.complete_due() == 0


def test_a_study_waits_for_each_of_its_series(make: Make) -> None:
    desk = make(series_quiet_seconds=20.0)
    desk.take(chest(STUDY), chest(STUDY, 2, SeriesInstanceUID="1.2.3.7"))
    desk.clock.wait(QUIET)
    assert desk.versions.complete_due() == 0
    desk.clock.wait(20.0 - QUIET)
    assert desk.versions.complete_due() == 1


def test_series_are_counted(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY, 1), chest(STUDY, 2), chest(STUDY, 3, SeriesInstanceUID="1.2.3.7"), chest(STUDY, 1))
    with desk.engine.connect() as connection:
        rows = connection.execute(sa.select(series).order_by(series.c.series_instance_uid)).all()
    assert [(row.series_instance_uid, row.modality, row.instances) for row in rows] == [
        ("1.2.3.7", "CR", 1), ("1.2.3.9", "CR", 2)]


def test_timers_survive_a_restart(desk: ClerksDesk, tmp_path: Path) -> None:
    desk.take(chest(STUDY))
    later = ClerksDesk(desk.engine, tmp_path, quiet_seconds=QUIET, forced_seconds=FORCED)
    later.clock.wait(QUIET - 1)
    assert later.versions.complete_due() == 0
    later.clock.wait(2)
    assert later.versions.complete_due() == 1


def test_a_study_that_never_falls_quiet_is_completed_in_the_end(desk: ClerksDesk) -> None:
    for number in range(1, 5):
        desk.take(chest(STUDY, number))
        desk.clock.wait(0.0 if number == 4 else FORCED / 3)
        desk.take(chest(STUDY, number + 10))
    assert desk.versions.complete_due() == 1
    assert desk.runs(STUDY)[0].trigger == "forced"


# The clock is set.

def test_a_clock_set_forward_completes_nothing_early(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY))
    desk.versions.complete_due()
    desk.clock.set(HOURS)
    assert desk.versions.complete_due() == 0
    desk.clock.wait(QUIET)
    assert desk.versions.complete_due() == 1
    assert desk.runs(STUDY)[0].trigger == "quiet"


def test_a_clock_set_forward_between_two_images_completes_nothing_early(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY))
    desk.versions.complete_due()
    desk.clock.set(HOURS)
    desk.take(chest(STUDY, 2))
    assert desk.versions.complete_due() == 0
    desk.clock.wait(QUIET)
    assert desk.versions.complete_due() == 1


def test_a_clock_set_back_holds_nothing_up(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY))
    desk.clock.set(-HOURS)
    assert desk.versions.complete_due() == 0
    desk.clock.wait(QUIET)
    assert desk.versions.complete_due() == 1


def test_a_clock_set_back_while_the_clerk_was_away_holds_nothing_up(desk: ClerksDesk, tmp_path: Path) -> None:
    desk.take(chest(STUDY))
    later = ClerksDesk(desk.engine, tmp_path, quiet_seconds=QUIET, forced_seconds=FORCED)
    later.clock.wall -= HOURS
    later.clock.step()
    assert later.versions.complete_due() == 0
    later.clock.wait(QUIET)
    assert later.versions.complete_due() == 1


def test_an_image_received_before_the_clock_was_set_back_is_booked_as_of_now(desk: ClerksDesk) -> None:
    desk.mailbox.receive(chest(STUDY))
    desk.clock.set(-HOURS)
    desk.clerk.book()
    assert desk.study(STUDY).last_received_at == desk.clock.now()


def test_a_forced_limit_counts_time_and_not_what_the_clock_was_set_by(make: Make) -> None:
    desk = make(series_quiet_seconds=10 * FORCED)
    desk.take(chest(STUDY))
    desk.versions.complete_due()
    desk.clock.set(HOURS)
    desk.versions.complete_due()
    desk.clock.wait(FORCED - 1)
    assert desk.versions.complete_due() == 0
    desk.clock.wait(1)
    assert desk.versions.complete_due() == 1


def test_a_clock_that_is_set_is_audited_and_one_that_is_not_writes_nothing(desk: ClerksDesk) -> None:
    def told() -> list[Any]:
        query = sa.select(audit_event.c.detail).where(audit_event.c.action == "study.timers_moved")
        with desk.engine.connect() as connection:
            return list(connection.scalars(query))

    desk.take(chest(STUDY))
    desk.clock.wait(1)
    desk.versions.complete_due()
    assert told() == []
    desk.clock.set(60)
    desk.versions.complete_due()
    assert told() == ['{"forward_seconds":60.0,"studies":1}']


# Lanes.

def test_what_is_fresh_is_booked_first_then_priors_then_historical(desk: ClerksDesk) -> None:
    desk.mailbox.receive(chest("1.9.1"), move_originator="AINODE")
    desk.mailbox.receive(chest("1.9.2", StudyDate=LONG_AGO))
    desk.mailbox.receive(chest("1.9.3"))
    order = []
    for _ in range(3):
        desk.clerk.book()
        with desk.engine.connect() as connection:
            order += [uid for uid in connection.scalars(sa.select(study.c.study_instance_uid)) if uid not in order]
    assert order == ["1.9.3", "1.9.1", "1.9.2"]  # findings wait for priors


def test_a_flood_is_read_a_little_at_a_time_while_a_fresh_study_is_under_way(desk: ClerksDesk) -> None:
    def booked() -> int:
        with desk.engine.connect() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(study).where(study.c.lane == "historical"))

    desk.take(chest(STUDY))
    for number in range(30):
        desk.mailbox.receive(chest(f"1.9.{number}", StudyDate=LONG_AGO))
    for seconds, number in ((0.0, 8), (0.9, 8), (0.1, 16)):
        desk.clock.wait(seconds)
        desk.clerk.book_others_at_leisure()
        assert booked() == number
    desk.complete()
    finish(desk, STUDY)
    for number in (24, 30):
        desk.clerk.book_others_at_leisure()
        assert booked() == number


def test_instances_of_one_uid_keep_their_order_across_lanes(desk: ClerksDesk) -> None:
    first = desk.mailbox.receive(chest(STUDY, 1, StudyDate=LONG_AGO))
    corrected = desk.mailbox.receive(chest(STUDY, 1, PatientID="D2"))
    assert desk.clerk.book_fresh() == 1
    assert desk.instance(first).state == "accepted"
    desk.clerk.book_fresh()
    assert (desk.instance(first).state, desk.instance(corrected).state) == ("superseded", "accepted")


def test_what_came_later_under_the_uid_of_a_postponed_instance_waits_with_it(desk: ClerksDesk) -> None:
    first = desk.mailbox.receive(chest(STUDY, 1))
    desk.mailbox.receive(chest(STUDY, 1))
    other = desk.mailbox.receive(chest(OTHER, 1))
    assert [found.id for found in desk.arrivals.waiting(Lane.FRESH, 64, [first])] == [other]


def test_a_historical_study_waits_while_a_fresh_one_is_received_and_while_it_is_worked_on(desk: ClerksDesk) -> None:
    desk.take(chest(OTHER, StudyDate=LONG_AGO))
    desk.clock.wait(QUIET)
    desk.mailbox.receive(chest(STUDY))
    assert desk.versions.complete_due() == 0  # received
    desk.clerk.book()
    assert desk.versions.complete_due() == 0  # still arriving
    desk.clock.wait(QUIET)
    assert [desk.versions.complete_due(), desk.versions.complete_due()] == [1, 0]
    assert started(desk) == [STUDY]  # worked on
    finish(desk, STUDY)
    assert desk.versions.complete_due() == 1
    assert started(desk) == [STUDY, OTHER]


def test_a_fresh_study_that_waits_for_something_else_holds_up_no_historical_one(make: Make) -> None:
    desk = make(series_quiet_seconds=60.0)
    desk.take(chest(OTHER, StudyDate=LONG_AGO))
    desk.clock.wait(60.0)
    desk.take(chest(STUDY))
    desk.clock.wait(QUIET)
    desk.versions.complete_due()
    assert started(desk) == [OTHER]


def test_historical_studies_start_a_few_at_a_time(desk: ClerksDesk) -> None:
    for number in range(6):
        desk.take(chest(f"1.9.{number}", StudyDate=LONG_AGO))
    desk.clock.wait(QUIET)
    assert [desk.versions.complete_due(), desk.versions.complete_due()] == [4, 0]
    finish(desk, started(desk)[0])
    assert desk.versions.complete_due() == 1


def test_between_fresh_studies_one_historical_study_starts_at_a_time(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY), chest("1.9.1", StudyDate=LONG_AGO), chest("1.9.2", StudyDate=LONG_AGO))
    desk.complete()
    finish(desk, STUDY)
    assert [desk.versions.complete_due(), desk.versions.complete_due()] == [1, 0]
    desk.clock.wait(60)
    assert desk.versions.complete_due() == 1


def test_a_run_that_lost_its_worker_does_not_hold_up_historical_studies_for_ever(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY), chest(OTHER, StudyDate=LONG_AGO))
    desk.clock.wait(QUIET)
    assert [desk.versions.complete_due(), desk.versions.complete_due()] == [1, 0]
    desk.clock.wait(3601)
    assert desk.versions.complete_due() == 1


def test_an_operator_gets_a_historical_study_at_once(desk: ClerksDesk) -> None:
    desk.take(chest(OTHER, StudyDate=LONG_AGO), chest(STUDY))
    desk.change(OTHER, complete_requested=True)
    assert desk.versions.complete_due() == 1
    assert desk.runs(OTHER)[0].trigger == "operator"


def test_the_most_urgent_of_the_due_studies_is_started_first(desk: ClerksDesk) -> None:
    desk.take(chest("1.9.1"), chest("1.9.2", RequestedProcedurePriority="STAT"), chest("1.9.3"))
    desk.clock.wait(QUIET)
    desk.versions.complete_due()
    assert started(desk)[0] == "1.9.2"


def test_a_study_leaves_the_historical_lane_for_a_fresh_date_only(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY, 1, StudyDate=LONG_AGO), chest(STUDY, 2, StudyDate=""))
    assert desk.study(STUDY).lane == "historical"
    desk.take(chest(STUDY, 3))
    assert desk.study(STUDY).lane == "fresh"


# Priors.

def test_a_prior_is_kept_and_never_analysed(desk: ClerksDesk) -> None:
    (row,) = desk.take(chest(STUDY), move_originator="AINODE")
    assert (desk.instance(row).state, desk.study(STUDY).lane, desk.study(STUDY).open) == ("accepted", "prior", False)
    desk.clock.wait(2 * FORCED)
    assert (desk.versions.complete_due(), desk.runs(STUDY)) == (0, [])


def test_a_prior_that_is_corrected_or_rejected_is_not_analysed_either(desk: ClerksDesk) -> None:
    image = chest(STUDY)
    desk.take(image, move_originator="AINODE")
    desk.take(chest(STUDY, PatientID="D2"), rejection_note(STUDY, 7, image), move_originator="AINODE")
    desk.clock.wait(2 * FORCED)
    assert (desk.versions.complete_due(), desk.study(STUDY).open) == (0, False)


def test_a_prior_that_is_sent_after_all_becomes_fresh(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY), move_originator="AINODE")
    desk.take(chest(STUDY, 2))
    assert desk.study(STUDY).lane == "fresh"
    assert desk.complete() == 1
    assert len(desk.runs(STUDY)[0].instance_ids) == 2


def test_a_prior_becomes_fresh_also_by_the_same_pixels(desk: ClerksDesk) -> None:
    (kept,) = desk.take(chest(STUDY), move_originator="AINODE")
    desk.take(chest(STUDY))
    assert desk.study(STUDY).lane == "fresh"
    assert desk.complete() == 1
    assert desk.runs(STUDY)[0].instance_ids == [kept]


def test_what_we_asked_for_never_opens_a_complete_study(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY))
    desk.complete()
    desk.take(chest(STUDY, 2), move_originator="AINODE")
    assert (desk.study(STUDY).lane, desk.study(STUDY).open, desk.complete()) == ("fresh", False, 0)
