"""Earlier studies through the stages: asked for beside the sequence, waited for by findings alone, and audited."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from node import audit
from node.database import prior, transaction
from node.domain import FindingsState, ImageHead, Lane, PriorState
from node.errors import PeerError
from node.stages import earlier, prior_images
from node.stages.desk import RunRef, load_run
from tests.tools.instances import AE_TITLE, Mailbox, chest
from tests.tools.node_in_process import StraightNode

STUDY, EARLIER = "1.2.3", "1.2.2"
SOURCE = {"name": "archive", "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": 104}
PATIENT = {"PatientID": "D1", "IssuerOfPatientID": "HOSPITAL", "PatientBirthDate": "19800101", "PatientSex": "F"}


class Site:
    """A node in one process, and an archive that has one earlier study of the patient."""

    def __init__(self, engine: sa.Engine, data_dir: Path, node: StraightNode | None = None, **source: Any) -> None:
        self.node = node or StraightNode(engine, data_dir, priors=[{**SOURCE, **source}], node={"data_dir": data_dir})
        self.node.mailbox = Mailbox(engine, data_dir, self.node.clock, self.node.config.study)
        self.archive = self.node.archive
        self.sent: list[Dataset] = []
        self.archive.sends = self._send
        self.offer(chest(EARLIER, 7, StudyDate="20200101", **PATIENT))

    def offer(self, *images: Dataset, **answered: Any) -> None:
        """The archive has this study; it answers so about it."""
        self.sent = list(images)
        head = self._head(images[0], **answered)
        self.archive.studies = [head]
        self.archive.series = {head.study_instance_uid: [(head, len(images))]}

    def _head(self, image: Dataset, **answered: Any) -> ImageHead:
        told = {"study_date": image.StudyDate, "study_time": image.get("StudyTime", ""),
                "patient_id": image.PatientID, "issuer_of_patient_id": image.get("IssuerOfPatientID", ""),
                "patient_birth_date": image.PatientBirthDate, "patient_sex": image.PatientSex,
                "modality": image.Modality, "body_part_examined": image.BodyPartExamined}
        return ImageHead(sop_class_uid="", sop_instance_uid="", transfer_syntax_uid="",
                         study_instance_uid=image.StudyInstanceUID, series_instance_uid=image.SeriesInstanceUID,
                         **{**told, **answered})

    def _send(self, series: ImageHead) -> int:
        """By C-MOVE: as it comes from the archive, booked while the job waits."""
        for image in self.sent:
            self.node.mailbox.receive(image, caller="ARCHIVE", move_originator=AE_TITLE)
        while self.node._clerk.book():
            pass
        return len(self.sent)

    def evaluate(self, **attributes: Any) -> list[str]:
        self.node.take(chest(STUDY, StudyTime="120000", **{**PATIENT, **attributes}))
        return list(self.node.complete())

    def row(self) -> Any:
        with self.node.engine.connect() as connection:
            return connection.execute(sa.select(prior).where(prior.c.study_instance_uid == STUDY)).one()

    def told(self, action: str) -> list[Any]:
        with self.node.engine.connect() as connection:
            return [event["detail"] for event in audit.events(connection, STUDY) if event["action"] == action]

    def priors(self) -> tuple[Any, ...]:
        return prior_images.of_run(self.node.desk, load_run(
            self.node.engine, RunRef(study_instance_uid=STUDY, version=1, priority=50)))  # type: ignore[arg-type]


@pytest.fixture
def site(sqlite: sa.Engine, tmp_path: Path) -> Site:
    return Site(sqlite, tmp_path)


def test_an_earlier_study_is_asked_for_retrieved_and_shown_as_the_current_one_is(
        engine: sa.Engine, tmp_path: Path) -> None:
    site = Site(engine, tmp_path, time_limit_seconds=20)
    ran = site.evaluate()
    assert ran.index("prior_find") < ran.index("prior_retrieve") < ran.index("findings")
    assert [site.told(f"prior.{what}")[0].get("studies") for what in ("found", "received")] == [[EARLIER]] * 2
    (found,) = site.priors()
    assert (found.study_instance_uid, found.when.isoformat(), found.reason) == (EARLIER, "2020-01-01T00:00:00", "")
    (image,) = found.images
    assert image.sop_instance_uid == f"{EARLIER}.7" and image.pixels.shape == (32, 32, 3) and image.side_known
    assert site.node.entry(STUDY).findings_state is FindingsState.DONE
    with engine.connect() as connection:
        lanes = dict(connection.execute(sa.text("SELECT study_instance_uid, lane FROM study")).tuples().all())
    assert lanes == {STUDY: Lane.FRESH.value, EARLIER: Lane.PRIOR.value}


def test_the_rank_is_there_before_the_archive_answers_and_findings_wait_for_it(site: Site) -> None:
    node = site.node
    node.take(chest(STUDY, StudyTime="120000", **PATIENT))
    node.quiet()
    node.versions.complete_due()
    for name in earlier.QUEUE_OF:
        node.jobs.stages[name] = replace(node.jobs.stages[name], work=lambda arguments: {}, commit=lambda *_: None)
    ran = node.jobs.run()
    assert "rank" in ran and "findings" not in ran
    assert site.row().held_priority is not None
    assert earlier.expire(node.desk) == 0
    with transaction(node.engine) as connection:
        connection.execute(sa.update(prior).values(deadline_at=0.0))
    assert earlier.expire(node.desk) == 1 and earlier.expire(node.desk) == 0
    assert node.jobs.run()[:2] == ["findings", "guard"]
    assert site.row().state == PriorState.TIMED_OUT.value and len(site.told("prior.timed_out")) == 1
    assert site.priors()[0].reason == "no earlier study came in time"


def test_a_clock_that_was_set_back_holds_nothing_up(site: Site) -> None:
    site.evaluate()
    with transaction(site.node.engine) as connection:
        connection.execute(sa.update(prior).values(
            state="asked", asked_at=prior.c.asked_at + 7200, deadline_at=prior.c.deadline_at + 7200))
    assert earlier.expire(site.node.desk) == 1


def test_a_source_that_is_away_holds_nothing_up(site: Site) -> None:
    site.archive.error = PeerError("ARCHIVE: no association")
    ran = site.evaluate()
    assert "prior_retrieve" not in ran and ran.count("findings") == 1
    assert site.told("prior.none") == [{"version": 1, "reason": "ARCHIVE: no association"}]
    assert site.priors()[0].reason == "ARCHIVE: no association"
    assert site.node.entry(STUDY).findings_state is FindingsState.DONE


@pytest.mark.parametrize("other", [
    {"patient_id": "D2"}, {"issuer_of_patient_id": "OTHER"}, {"patient_birth_date": "19800102"},
    {"patient_birth_date": ""}, {"patient_sex": ""}, {"study_date": ""}, {"body_part_examined": "KNEE"},
    {"modality": "CT"}])
def test_what_the_archive_says_of_another_patient_or_part_is_not_asked_for(site: Site, other: dict[str, str]) -> None:
    site.offer(*site.sent, **other)
    ran = site.evaluate()
    assert "prior_retrieve" not in ran and "retrieve" not in site.archive.calls
    (rejected,) = site.told("prior.rejected")
    assert list(rejected["studies"]) == [EARLIER]
    assert not any(value in str(rejected) for value in other.values() if value)


@pytest.mark.parametrize("other", [
    {"PatientID": "D2"}, {"PatientBirthDate": "19800102"}, {"IssuerOfPatientID": "OTHER"}, {"PatientSex": "M"}])
def test_images_of_another_patient_than_the_archive_said_are_no_prior(site: Site, other: dict[str, str]) -> None:
    site.offer(chest(EARLIER, 7, StudyDate="20200101", **PATIENT), chest(
        EARLIER, 8, StudyDate="20200101", **{**PATIENT, **other}), patient_birth_date="19800101", patient_sex="F",
        patient_id="D1", issuer_of_patient_id="HOSPITAL")
    site.evaluate()
    assert site.row().state == PriorState.NONE.value
    assert site.told("prior.rejected")[0]["studies"][EARLIER].startswith("its images name another patient")


def test_images_of_a_study_that_name_two_patients_ask_nobody(site: Site) -> None:
    site.node.take(chest(STUDY, 1, **PATIENT), chest(STUDY, 2, **{**PATIENT, "PatientBirthDate": "19810101"}))
    site.node.complete()
    assert site.archive.calls == []
    assert "differ" in site.told("prior.none")[0]["reason"]


@pytest.mark.parametrize("patient_id", ["D*", "D?", "D\\E", ""])
def test_a_patient_id_with_a_wildcard_asks_nobody(site: Site, patient_id: str) -> None:
    site.evaluate(PatientID=patient_id)
    assert site.archive.calls == [] and "Patient ID" in site.told("prior.none")[0]["reason"]


def test_the_newest_that_matches_is_taken_and_no_more_than_wanted(site: Site) -> None:
    (newest,), older = site.archive.studies, replace(site.archive.studies[0], study_instance_uid="1.2.1",
                                                     study_date="20190101")
    site.archive.studies = [older, replace(newest, patient_sex="M", study_instance_uid="1.2.9"), newest]
    site.archive.series["1.2.1"] = [(older, 1)]
    site.evaluate()
    assert site.told("prior.found")[0]["studies"] == [EARLIER]
    assert site.archive.calls == ["find_studies", "find_series", "retrieve"]


def test_what_is_there_is_not_asked_for_again(site: Site) -> None:
    site.evaluate()
    with transaction(site.node.engine) as connection:
        connection.execute(sa.update(prior).values(state="found", found=[{
            "study_instance_uid": EARLIER, "when": "2020-01-01T00:00:00", "series": [
                {"series_instance_uid": f"{EARLIER}.9", "modality": "CR", "instances": 1}]}]))
    stage = site.node.jobs.stages["prior_retrieve"]
    again = stage.work({"study_instance_uid": STUDY, "version": 1, "priority": 50})
    assert len(again["received"]) == 1 and site.archive.calls.count("retrieve") == 1


def test_without_a_source_or_findings_nobody_is_asked(sqlite: sa.Engine, tmp_path: Path) -> None:
    for number, sections in enumerate(({}, {"pipelines": [{"priors": "none"}], "priors": [SOURCE]},
                                       {"reports": {"profile": "triage_only"}, "priors": [SOURCE]})):
        node = StraightNode(sqlite, tmp_path, **sections)
        node.evaluate(chest(f"1.2.{number + 30}", **PATIENT))
        assert node.archive.calls == []
        assert "prior.asked" not in node.actions(f"1.2.{number + 30}")


def test_a_historical_study_asks_nobody(site: Site) -> None:
    site.evaluate(StudyDate="20210101")
    assert site.archive.calls == []


def test_what_cannot_be_shown_of_an_earlier_study_is_no_prior(site: Site) -> None:
    site.offer(chest(EARLIER, 7, StudyDate="20200101", **PATIENT, PresentationIntentType="FOR PROCESSING"))
    site.evaluate()
    assert site.priors()[0].reason == prior_images.NO_IMAGE
