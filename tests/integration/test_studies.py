"""Studies: which lane, when they are complete, what late images do, and that versions are started once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from node import versions
from node.database import connect, metadata, transaction
from node.domain import Lane, Priority
from node.errors import BadInput
from node.jobs import DeadJob
from tests.tools.desk_of_clerk import CHAIN, ClerksDesk
from tests.tools.instances import chest, document, rejection_note

STUDY = "1.2.3"
LONG_AGO = f"{date.today() - timedelta(days=30):%Y%m%d}"
QUIET, FORCED = 5.0, 600.0


def desk_at(engine: sa.Engine, data_dir: Path) -> ClerksDesk:
    return ClerksDesk(engine, data_dir, quiet_seconds=QUIET, forced_seconds=FORCED, max_versions_per_day=3)


@pytest.fixture
def desk(sqlite_url: str, tmp_path: Path) -> Iterator[ClerksDesk]:
    engine = connect(sqlite_url)
    metadata.create_all(engine)
    yield desk_at(engine, tmp_path)
    engine.dispose()


@pytest.fixture
def anywhere(engine: sa.Engine, tmp_path: Path) -> ClerksDesk:
    """The same on both databases, for what depends on how they lock and compare."""
    return desk_at(engine, tmp_path)


def ask(desk: ClerksDesk, what: str, uid: str = STUDY) -> None:
    request = {"complete": versions.request_complete, "replay": versions.request_replay}[what]
    with transaction(desk.engine) as connection:
        request(connection, CHAIN, uid)


@pytest.mark.parametrize(("study_date", "lane"), [
    (f"{date.today():%Y%m%d}", Lane.FRESH), (LONG_AGO, Lane.HISTORICAL), ("", Lane.FRESH)])
def test_the_date_of_the_study_chooses_its_lane(desk: ClerksDesk, study_date: str, lane: Lane) -> None:
    desk.take(chest(STUDY, StudyDate=study_date))
    assert desk.study(STUDY).lane == lane.value


def test_the_most_urgent_order_wins_whichever_comes_first(anywhere: ClerksDesk) -> None:
    for number, ordered in enumerate(("ROUTINE", "STAT", "HIGH"), 1):
        anywhere.take(chest(STUDY, number, RequestedProcedurePriority=ordered))
    assert Priority(anywhere.study(STUDY).order_priority) is Priority.STAT


def test_what_the_first_image_leaves_out_comes_from_the_next(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY, 1, PatientID="", AccessionNumber=""), chest(STUDY, 2, PatientID="D2", AccessionNumber="A2"))
    assert (desk.study(STUDY).patient_id, desk.study(STUDY).accession_number) == ("D2", "A2")


def test_the_pipeline_hears_of_every_image_and_of_its_study(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY, RequestedProcedurePriority="STAT"))
    ((arrival, booked),) = desk.accepted
    assert (arrival.evidence, booked.order_priority, booked.lane) == (True, Priority.STAT, Lane.FRESH)


def test_a_study_that_still_receives_is_not_complete(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY))
    assert (desk.versions.complete_due(), desk.runs(STUDY)) == (0, [])


def test_a_quiet_study_is_completed_with_its_evidence(anywhere: ClerksDesk) -> None:
    image, _report, other = anywhere.take(chest(STUDY), document(STUDY, 5), chest(STUDY, 2))
    assert anywhere.complete() == 1
    (run,) = anywhere.runs(STUDY)
    assert (run.version, run.trigger, run.instance_ids, run.state) == (1, "quiet", [image, other], "running")
    (job,) = anywhere.jobs.put_jobs
    assert (job.stage, job.key, job.priority) == ("plan", f"plan:{STUDY}:v1", Priority.ROUTINE)
    assert job.arguments == {"study_instance_uid": STUDY, "version": 1, "priority": 50}
    assert anywhere.actions(STUDY)[-1] == "study.completed"


def test_a_completed_study_is_not_completed_again(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY))
    assert [desk.complete(), desk.complete()] == [1, 0]


def test_two_clerks_start_one_version(anywhere: ClerksDesk, tmp_path: Path) -> None:
    anywhere.take(chest(STUDY))
    anywhere.clock.wait(QUIET)
    other = ClerksDesk(anywhere.engine, tmp_path)
    other.clock.wait(QUIET)
    with ThreadPoolExecutor(2) as pool:
        started = list(pool.map(lambda one: one.complete_due(), (anywhere.versions, other.versions)))
    assert (sum(started), len(anywhere.runs(STUDY))) == (1, 1)


def test_an_ordered_study_is_planned_with_its_priority(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY, RequestedProcedurePriority="STAT"))
    desk.complete()
    assert desk.jobs.put_jobs[0].priority is Priority.STAT


def test_a_historical_study_is_planned_behind_everything_even_if_it_was_urgent(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY, StudyDate=LONG_AGO, RequestedProcedurePriority="STAT"))
    desk.complete()
    assert desk.jobs.put_jobs[0].priority is Priority.HISTORICAL


def test_what_nobody_read_yet_holds_completion(anywhere: ClerksDesk) -> None:
    anywhere.take(chest(STUDY))
    anywhere.mailbox.receive(chest(STUDY, 2))
    ask(anywhere, "complete")
    assert anywhere.complete() == 0
    anywhere.clerk.book()
    assert anywhere.complete() == 1
    assert len(anywhere.runs(STUDY)[0].instance_ids) == 2


def test_a_study_that_never_ends_is_completed_in_the_end(anywhere: ClerksDesk) -> None:
    anywhere.take(chest(STUDY))
    anywhere.mailbox.receive(chest(STUDY, 2))
    anywhere.change(STUDY, opened_at=anywhere.study(STUDY).opened_at - FORCED - 1)
    assert anywhere.versions.complete_due() == 1
    assert anywhere.runs(STUDY)[0].trigger == "forced"


def test_an_operator_completes_a_study_at_once(anywhere: ClerksDesk) -> None:
    anywhere.take(chest(STUDY))
    ask(anywhere, "complete")
    assert anywhere.versions.complete_due() == 1
    assert anywhere.runs(STUDY)[0].trigger == "operator"
    assert "study.complete_requested" in anywhere.actions(STUDY)


@pytest.mark.parametrize("what", ["complete", "replay"])
def test_an_unknown_study_is_refused_with_what_to_look_at(desk: ClerksDesk, what: str) -> None:
    with pytest.raises(BadInput, match=r"study 1\.9 is not known.*ainode worklist"):
        ask(desk, what, "1.9")


def test_a_complete_study_cannot_be_completed(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY))
    desk.complete()
    with pytest.raises(BadInput):
        ask(desk, "complete")


def test_a_late_image_opens_a_version_about_all_images(anywhere: ClerksDesk) -> None:
    (first,) = anywhere.take(chest(STUDY))
    anywhere.complete()
    (late,) = anywhere.take(chest(STUDY, 2))
    assert anywhere.complete() == 1
    assert [run.instance_ids for run in anywhere.runs(STUDY)] == [[first], [first, late]]
    assert anywhere.jobs.put_jobs[-1].key == f"plan:{STUDY}:v2"


def test_the_forced_limit_of_a_late_image_counts_from_its_arrival(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY))
    desk.change(STUDY, opened_at=0.0)
    desk.complete()
    desk.take(chest(STUDY, 2))
    assert desk.versions.complete_due() == 0


@pytest.mark.parametrize("late", [
    chest(STUDY, 2, BodyPartExamined="KNEE"), document(STUDY, 5), chest(STUDY, 1), chest(STUDY, 1, picture=77),
    chest(STUDY, 2, PatientName="TEST^ONE"),
], ids=["knee", "report", "copy", "conflict", "test patient"])
def test_what_no_model_may_see_does_not_open_a_complete_study(desk: ClerksDesk, late: Dataset) -> None:
    desk.take(chest(STUDY))
    desk.complete()
    desk.take(late)
    assert (desk.complete(), desk.study(STUDY).open) == (0, False)


@pytest.mark.parametrize("changed", [{"PatientID": "D2"}, {"PatientID": "QC-1"}, {"ViewPosition": "LL"}],
                         ids=["eligible", "test patient", "lateral"])
def test_a_correction_opens_a_version_even_if_the_image_is_not_eligible_any_more(
    anywhere: ClerksDesk, changed: dict[str, str]
) -> None:
    anywhere.take(chest(STUDY))
    anywhere.complete()
    (corrected,) = anywhere.take(chest(STUDY, **changed))
    assert anywhere.complete() == 1
    assert anywhere.runs(STUDY)[-1].instance_ids == [corrected]


def test_a_rejection_opens_a_version_without_what_it_names(anywhere: ClerksDesk) -> None:
    rejected = chest(STUDY, 1)
    _, kept = anywhere.take(rejected, chest(STUDY, 2))
    anywhere.complete()
    anywhere.take(rejection_note(STUDY, 7, rejected))
    assert anywhere.complete() == 1
    assert anywhere.runs(STUDY)[-1].instance_ids == [kept]


def test_a_study_that_changes_too_often_is_stopped_once_and_can_be_replayed(anywhere: ClerksDesk) -> None:
    for number in range(1, 6):
        anywhere.take(chest(STUDY, number))
        anywhere.complete()
    assert len(anywhere.runs(STUDY)) == 3
    assert anywhere.actions(STUDY).count("study.version_limit") == 2  # one per image that came after
    assert anywhere.complete() == 0
    ask(anywhere, "replay")
    assert anywhere.versions.complete_due() == 1
    assert len(anywhere.runs(STUDY)[-1].instance_ids) == 5


def test_the_limit_is_one_per_day(desk: ClerksDesk) -> None:
    for number in range(1, 4):
        desk.take(chest(STUDY, number))
        desk.complete()
    desk.change(STUDY, versions_on="2020-01-01")
    desk.take(chest(STUDY, 4))
    assert desk.complete() == 1


def test_a_replay_is_a_new_version_of_the_same_instances(anywhere: ClerksDesk) -> None:
    (image,) = anywhere.take(chest(STUDY))
    anywhere.complete()
    ask(anywhere, "replay")
    assert anywhere.versions.complete_due() == 1
    assert [(run.version, run.trigger, run.instance_ids) for run in anywhere.runs(STUDY)] == [
        (1, "quiet", [image]), (2, "replay", [image])]
    assert anywhere.versions.complete_due() == 0


def test_a_study_without_any_image_is_completed_too(desk: ClerksDesk) -> None:
    desk.take(document(STUDY, 5))
    assert desk.complete() == 1
    assert desk.runs(STUDY)[0].instance_ids == []


def test_a_dead_job_fails_its_study_once_and_is_forgotten(desk: ClerksDesk) -> None:
    arguments = {"study_instance_uid": STUDY, "version": 1, "priority": 50}
    desk.jobs.dead_jobs.append(DeadJob(key="plan:1", stage="plan", status="ERROR", arguments=arguments))
    assert [desk.clerk.bury(), desk.clerk.bury()] == [1, 0]
    assert desk.failures == [(STUDY, "job is error")]
    assert desk.jobs.forgotten == ["plan:1"]
