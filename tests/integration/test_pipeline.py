"""The clinical sequence from an image to its reports, and everything that may go wrong on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from pydicom.uid import Comprehensive3DSRStorage

from node import audit, pipeline, versions
from node.database import connect, embedding, metadata, score, transaction
from node.domain import (
    DeliveryState,
    EntryState,
    EvidenceLevel,
    FindingsState,
    Gate,
    GateDomain,
    Presence,
    Priority,
    ReportState,
    Side,
)
from node.errors import (
    ModelOutputError,
    ModelServerError,
    ModelServerRefused,
    NotAuthorised,
    StorageError,
)
from node.jobs import Jobs, Queue
from node.observability import supervised_thread
from node.timers import Clock
from tests.tools.databases import KINDS, migrated_kind, started
from tests.tools.fakes import EMBEDDING
from tests.tools.instances import chest, document, encoded, rejection_note
from tests.tools.node_in_process import CHAIN, PACS, NodeInProcess, StraightNode
from tests.tools.pictures import clip
from tests.tools.postgres import Cluster
from tests.tools.site import pipeline_for
from tests.tools.waiting import wait_until

STUDY = "1.2.3"
LONG_AGO = f"{date.today() - timedelta(days=30):%Y%m%d}"
Make = Callable[..., StraightNode]


def seeing_an_effusion(engine: sa.Engine, data_dir: Path, **sections: Any) -> StraightNode:
    node = StraightNode(engine, data_dir, **sections)
    node.triage.present = {"effusion"}
    node.findings.sees("pleural effusion", Side.RIGHT, "Right pleural effusion.")
    return node


@pytest.fixture
def make(sqlite_url: str, tmp_path: Path) -> Iterator[Make]:
    """Makes a node that sees a right pleural effusion, with other settings, on SQLite."""
    engine = connect(sqlite_url)
    metadata.create_all(engine)
    yield lambda **sections: seeing_an_effusion(engine, tmp_path, **sections)
    engine.dispose()


@pytest.fixture
def node(make: Make) -> StraightNode:
    """The same with the default settings."""
    return make()


@pytest.fixture
def anywhere(engine: sa.Engine, tmp_path: Path) -> StraightNode:
    """The same on both databases, for what leaves most behind in them."""
    return seeing_an_effusion(engine, tmp_path)


def declined(node: StraightNode, uid: str = STUDY) -> bool:
    """Nothing was said, nothing written, nothing sent."""
    entry = node.entry(uid)
    return (entry.report_state, entry.delivery, entry.ai_priority, node.pacs.held) == (
        ReportState.WITHHELD, DeliveryState.NONE, None, {})


def test_a_chest_image_is_flagged_described_reported_and_delivered(anywhere: StraightNode) -> None:
    entry = anywhere.evaluate(chest(STUDY))
    assert (entry.state, entry.priority, entry.ai_priority) == (EntryState.CONFIRMED, Priority.HIGH, Priority.HIGH)
    assert (entry.findings_state, entry.report_state) == (FindingsState.DONE, ReportState.WRITTEN)
    assert entry.delivery is DeliveryState.COMMITTED
    effusion = anywhere.finding(STUDY, "effusion")
    assert (effusion.presence, effusion.side, effusion.agreed) == (Presence.PRESENT, Side.RIGHT, True)
    assert {found.presence for found in entry.findings} == {Presence.PRESENT, Presence.ABSENT}
    assert sorted(anywhere.pacs.held) == sorted(one.SOPInstanceUID for one in anywhere.reports(STUDY))
    assert len(anywhere.pacs.held) == 2
    assert anywhere.run_of(STUDY).state == "done"


def test_a_prompt_set_may_be_a_file_of_the_site(make: Make, tmp_path: Path) -> None:
    own = tmp_path / "our-chest.yaml"
    own.write_bytes((Path(pipeline.__file__).parent / "inference/prompts/demo-chest.yaml").read_bytes())
    node = make(pipelines=[{"prompt_set": str(own)}])
    node.take(chest(STUDY))
    assert node.entry(STUDY).state is EntryState.PROVISIONAL
    node.complete()
    assert node.entry(STUDY).report_state is ReportState.WRITTEN


CHEST, KNEE = {"chest": 0.9, "knee": 0.1}, {"chest": 0.2, "knee": 0.8}


def gated(node: StraightNode) -> StraightNode:
    """The same with a model that knows a knee when it sees one."""
    domains = tuple(GateDomain(key=key, name=f"a {key} radiograph", prompts=(key,)) for key in ("chest", "knee"))
    node.triage.prompt_set = replace(
        node.triage.prompt_set, gate=Gate(accepted=("chest",), margin=0.0, domains=domains))
    node.triage.gate = CHEST
    return node


def test_an_image_that_looks_like_a_knee_is_not_evaluable_whatever_its_header_says(node: StraightNode) -> None:
    gated(node).triage.gate = KNEE
    entry = node.evaluate(chest(STUDY))
    assert (entry.state, entry.reason) == (
        EntryState.NOT_EVALUABLE, "looks like a knee radiograph, not a chest radiograph")
    assert declined(node)


def test_one_image_of_another_kind_is_left_out_and_named(node: StraightNode) -> None:
    gated(node).triage.gate_by_image[f"{STUDY}.2"] = KNEE
    entry = node.evaluate(chest(STUDY), chest(STUDY, 2))
    reason = "looks like a knee radiograph, not a chest radiograph"
    assert (entry.state, entry.priority) == (EntryState.CONFIRMED, Priority.HIGH)
    notes = node.dossier(STUDY)
    assert notes["images"] == {
        "received": 2, "evaluated": 1, "instances_evaluated": 1, "series": 1, "series_evaluated": 1,
        "decisive": f"{STUDY}.1", "decisive_frame": 1, "aggregate": "max", "not_evaluated": {f"{STUDY}.2": reason}}
    assert f"1 of 2 images were not evaluated: {reason}." in notes["remarks"]
    for one in node.reports(STUDY):
        assert f"{STUDY}.2" not in one.to_json()


def test_a_lateral_is_listed_as_not_analysed_beside_the_frontal_that_is(node: StraightNode) -> None:
    node.evaluate(chest(STUDY), chest(STUDY, 2, ViewPosition="LL"))
    notes = node.dossier(STUDY)
    assert notes["images"]["not_evaluated"] == {f"{STUDY}.2": "view LATERAL"}
    assert "1 of 2 images were not evaluated: view LATERAL." in notes["remarks"]
    assert any("view LATERAL" in one.to_json() for one in node.reports(STUDY))


def test_a_finding_without_evidence_stays_on_the_board(node: StraightNode) -> None:
    findings = tuple(replace(each, evidence=EvidenceLevel.NONE) if each.key == "effusion" else each
                     for each in node.triage.prompt_set.findings)
    node.triage.prompt_set = replace(node.triage.prompt_set, findings=findings)
    entry = node.evaluate(chest(STUDY))
    assert (entry.ai_priority, node.finding(STUDY, "effusion").presence) == (
        Priority.ROUTINE, Presence.UNDETERMINED)
    assert not any("Pleural effusion" in one.to_json() for one in node.reports(STUDY))


def test_early_triage_flags_a_study_that_was_completed_meanwhile(node: StraightNode) -> None:
    node.mailbox.receive(chest(STUDY))
    node._clerk.book()
    node.quiet()
    assert node.versions.complete_due() == 1
    early = next(stage for stage in node.stages if stage.name == pipeline.EARLY)
    arguments = {"instance_id": 1, "study_instance_uid": STUDY, "priority": int(Priority.ROUTINE)}
    with transaction(node.engine) as connection:
        early.commit(connection, arguments, early.work(arguments))
    entry = node.entry(STUDY)
    assert (entry.state, entry.version, entry.priority) == (EntryState.PROVISIONAL, 1, Priority.HIGH)
    assert entry.time_to_flag_ms is not None
    node.jobs.run()
    assert node.entry(STUDY).state is EntryState.CONFIRMED


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1.01, -0.01])
def test_a_score_that_is_no_number_is_a_failure_and_never_a_rank(node: StraightNode, value: float) -> None:
    node.triage.by_image = {f"{STUDY}.1": {"effusion": value}}
    entry = node.evaluate(chest(STUDY))
    assert (entry.state, entry.ai_priority, entry.findings) == (EntryState.FAILED, None, ())
    assert "effusion" in entry.reason


def test_scores_and_vectors_are_kept_with_the_model_that_made_them(anywhere: StraightNode) -> None:
    anywhere.evaluate(chest(STUDY), chest(STUDY, 2))
    with transaction(anywhere.engine) as connection:
        kept = connection.execute(sa.select(embedding).order_by(embedding.c.instance_id)).all()
        scored = connection.execute(sa.select(score).order_by(score.c.instance_id)).all()
    assert [(row.sop_instance_uid, row.frame) for row in kept] == [(f"{STUDY}.1", 1), (f"{STUDY}.2", 1)]
    assert {(row.vector, row.dimension) for row in kept} == {(EMBEDDING, 4)}
    assert {row.model_sha256 for row in (*kept, *scored)} == {anywhere.triage.identity.sha256}
    assert "vectors" not in anywhere.run_of(STUDY).results["triage"]


def test_scores_of_other_pixels_are_not_used_again(node: StraightNode) -> None:
    node.take(chest(STUDY))
    with transaction(node.engine) as connection:
        connection.execute(sa.update(score).values(transforms_sha256="of another window"))
    node.complete()
    assert len(node.triage.calls) == 2
    with transaction(node.engine) as connection:
        assert connection.scalars(sa.select(score.c.transforms_sha256)).one() != "of another window"
        assert connection.execute(sa.select(sa.func.count()).select_from(embedding)).scalar_one() == 1


def test_frames_of_a_cine_are_scored_and_the_one_that_decided_is_named(make: Make, tmp_path: Path) -> None:
    node = make(pipelines=[pipeline_for("US", tmp_path)])
    frames = np.random.default_rng(1).integers(0, 255, (40, 16, 16), dtype=np.uint8)
    loop = clip(frames, StudyInstanceUID=STUDY, SeriesInstanceUID=f"{STUDY}.9", SOPInstanceUID=f"{STUDY}.1",
                StudyDate=f"{date.today():%Y%m%d}")
    node.triage.by_frame = {(f"{STUDY}.1", 23): {"pneumothorax": 0.9}}
    entry = node.evaluate(loop)
    assert (entry.state, entry.priority) == (EntryState.CONFIRMED, Priority.STAT)
    assert node.dossier(STUDY)["images_analysed"] == 8
    assert node.dossier(STUDY)["decisive_image"] == {"sop_instance_uid": f"{STUDY}.1", "frame": 23}
    assert node.finding(STUDY, "pneumothorax").frame == 23
    measured = next(report for report in node.reports(STUDY) if report.SOPClassUID == Comprehensive3DSRStorage)
    named = {str(item.value) for item in measured.iterall() if item.keyword == "ReferencedFrameNumber"}
    assert "23" in named


def test_the_dossier_names_the_image_that_decided_and_how_many_were_looked_at(node: StraightNode) -> None:
    node.triage.by_image = {f"{STUDY}.2": {"pneumothorax": 0.9}}
    node.evaluate(chest(STUDY), chest(STUDY, 2))
    told = node.dossier(STUDY)
    assert told["images_analysed"] == 2
    assert told["decisive_image"] == {"sop_instance_uid": f"{STUDY}.2", "frame": 1}


def test_both_clocks_are_stopped(node: StraightNode) -> None:
    entry = node.evaluate(chest(STUDY))
    assert entry.time_to_flag_ms is not None
    assert entry.time_to_notify_ms is not None
    assert entry.time_to_notify_ms >= entry.time_to_flag_ms


def test_the_stages_run_in_their_order_and_each_is_in_the_audit_trail(anywhere: StraightNode) -> None:
    anywhere.take(chest(STUDY))
    names = [stage.name for stage in pipeline.SEQUENCE]
    ran = anywhere.complete()
    assert [stage for stage in ran if stage in names] == names
    recorded = [action for action in anywhere.actions(STUDY) if action.startswith("stage.")]
    assert recorded == ["stage.early", *(f"stage.{name}" for name in names)]
    with transaction(anywhere.engine) as connection:
        assert audit.verify(connection).problems == ()


def test_an_image_is_flagged_as_it_arrives_and_scored_once(node: StraightNode) -> None:
    node.take(chest(STUDY))
    entry = node.entry(STUDY)
    assert (entry.state, entry.ai_priority) == (EntryState.PROVISIONAL, Priority.HIGH)
    node.complete()
    assert [uids for uids, _ in node.triage.calls] == [[f"{STUDY}.1"]]


def test_the_most_urgent_image_decides_and_is_described(node: StraightNode) -> None:
    node.triage.present = set()
    node.triage.by_image = {f"{STUDY}.2": {"pneumothorax": 0.95}, f"{STUDY}.3": {"effusion": 0.99}}
    entry = node.evaluate(chest(STUDY, 1), chest(STUDY, 2), chest(STUDY, 3))
    assert entry.ai_priority is Priority.STAT
    assert node.findings.calls == [[f"{STUDY}.2"]]
    assert node.finding(STUDY, "effusion").sop_instance_uid == f"{STUDY}.3"


def test_a_negative_study_keeps_its_place_and_gets_a_report(node: StraightNode) -> None:
    node.triage.present = set()
    node.findings.findings = ()
    entry = node.evaluate(chest(STUDY, RequestedProcedurePriority="STAT"))
    assert (entry.priority, entry.ai_priority) == (Priority.STAT, Priority.ROUTINE)
    assert entry.report_state is ReportState.WRITTEN


def test_a_side_is_withheld_where_the_orientation_is_not_known(node: StraightNode) -> None:
    node.evaluate(chest(STUDY, PatientOrientation=None))
    assert node.finding(STUDY, "effusion").side is Side.NONE
    assert node.entry(STUDY).findings_state is FindingsState.WITHHELD  # the text names a side


def test_a_findings_model_without_a_valid_answer_leaves_flag_and_report(node: StraightNode) -> None:
    node.findings.error = ModelOutputError("the answer was cut off")
    entry = node.evaluate(chest(STUDY))
    assert (entry.state, entry.ai_priority) == (EntryState.CONFIRMED, Priority.HIGH)
    assert (entry.findings_state, entry.report_state) == (FindingsState.FAILED, ReportState.WRITTEN)
    assert entry.delivery is DeliveryState.COMMITTED
    assert node.dossier(STUDY)["findings_reason"] == "the answer was cut off"
    assert any("triage stands alone" in remark for remark in node.dossier(STUDY)["remarks"])


@pytest.mark.parametrize("stated", ["YES", "NO"])
def test_the_findings_model_is_told_if_the_pixels_may_name_the_patient(node: StraightNode, stated: str) -> None:
    node.evaluate(chest(STUDY, BurnedInAnnotation=stated))
    assert node.findings.may_identify is (stated == "YES")


@pytest.mark.parametrize(("error", "state"), [
    (ModelServerError("http://127.0.0.1:9: no answer within 120 s"), FindingsState.FAILED),
    (ModelServerRefused("HTTP 404: no such model"), FindingsState.FAILED),
    (NotAuthorised("its pixels may name the patient"), FindingsState.WITHHELD)])
def test_a_model_server_that_gives_nothing_leaves_flag_and_report(
    node: StraightNode, error: Exception, state: FindingsState
) -> None:
    node.findings.error = error
    entry = node.evaluate(chest(STUDY))
    assert (entry.ai_priority, entry.report_state) == (Priority.HIGH, ReportState.WRITTEN)
    assert (entry.findings_state, node.dossier(STUDY)["findings_reason"]) == (state, str(error))
    assert len(node.findings.calls) == 1


def test_a_findings_model_that_breaks_leaves_flag_and_report_too(node: StraightNode) -> None:
    node.findings.error = ZeroDivisionError()
    entry = node.evaluate(chest(STUDY))
    assert (entry.state, entry.ai_priority) == (EntryState.CONFIRMED, Priority.HIGH)
    assert (entry.findings_state, entry.report_state) == (FindingsState.FAILED, ReportState.WRITTEN)


def test_a_triage_model_that_breaks_fails_the_entry_which_keeps_its_place(node: StraightNode) -> None:
    node.triage.errors = [ZeroDivisionError()] * 2  # early, and again when the study is complete
    entry = node.evaluate(chest(STUDY, RequestedProcedurePriority="HIGH"))
    assert (entry.state, entry.priority, entry.ai_priority) == (EntryState.FAILED, Priority.HIGH, None)
    assert entry.reason == "triage failed: unexpected ZeroDivisionError"
    assert (node.pacs.held, node.run_of(STUDY).state) == ({}, "failed")


def test_early_triage_that_breaks_leaves_it_to_completion(node: StraightNode) -> None:
    node.triage.errors = [ZeroDivisionError()]
    assert node.evaluate(chest(STUDY)).state is EntryState.CONFIRMED


def test_a_disk_that_takes_no_report_leaves_the_flag(node: StraightNode) -> None:
    (node.data_dir / "reports").write_text("no folder")
    entry = node.evaluate(chest(STUDY))
    assert (entry.state, entry.ai_priority) == (EntryState.CONFIRMED, Priority.HIGH)
    assert (entry.findings_state, entry.report_state) == (FindingsState.DONE, ReportState.FAILED)
    assert node.jobs.ran.count("write") == 1 + len(pipeline.RETRY_SECONDS)
    assert "write failed" in node.dossier(STUDY)["report_reason"]


def test_a_stage_that_fails_for_now_is_put_again_later(anywhere: StraightNode) -> None:
    anywhere.take(chest(STUDY))
    anywhere.triage.errors = [StorageError("the database is away")] * 3
    anywhere.evaluate(chest(STUDY, 2))
    assert anywhere.entry(STUDY).state is EntryState.CONFIRMED
    assert anywhere.actions(STUDY).count("stage.deferred") == 2


def test_in_shadow_mode_scores_are_shown_and_nothing_is_raised_or_sent(node: StraightNode) -> None:
    node.triage.in_shadow()
    entry = node.evaluate(chest(STUDY))
    assert (entry.ai_priority, entry.priority) == (None, Priority.ROUTINE)
    assert {found.presence for found in entry.findings} == {Presence.UNDETERMINED}
    assert node.finding(STUDY, "effusion").score == 0.9
    assert "shadow mode" in entry.reason
    assert declined(node)


def test_triage_only_asks_no_findings_model(make: Make) -> None:
    node = make(reports={"profile": "triage_only"})
    entry = node.evaluate(chest(STUDY))
    assert (node.findings.calls, entry.findings_state) == ([], FindingsState.WITHHELD)
    assert (entry.report_state, node.finding(STUDY, "effusion").side) == (ReportState.WRITTEN, Side.NONE)


def test_triage_and_localise_lets_sides_out_and_no_text(make: Make) -> None:
    node = make(reports={"profile": "triage_and_localise"})
    node.evaluate(chest(STUDY))
    assert node.finding(STUDY, "effusion").side is Side.RIGHT
    assert node.dossier(STUDY)["impression"] == ""
    assert all(b"Right pleural effusion." not in path.read_bytes() for path in node.pacs.held.values())


def test_a_draft_report_carries_the_text(node: StraightNode) -> None:
    node.evaluate(chest(STUDY))
    assert any(b"Right pleural effusion." in path.read_bytes() for path in node.pacs.held.values())


def test_without_a_findings_model_triage_is_reported_alone(make: Make) -> None:
    node = make(models={"findings": {"backend": "none"}})
    entry = node.evaluate(chest(STUDY))
    assert (entry.findings_state, entry.report_state) == (FindingsState.WITHHELD, ReportState.WRITTEN)


def test_an_undecodable_image_is_not_evaluable(anywhere: StraightNode) -> None:
    image = chest(STUDY)
    anywhere.mailbox.receive_bytes(image, encoded(image)[:-500])
    anywhere.book()
    anywhere.complete()
    entry = anywhere.entry(STUDY)
    assert entry.state is EntryState.NOT_EVALUABLE
    assert entry.reason
    assert declined(anywhere)


def test_an_undecodable_image_beside_a_good_one_is_remarked(node: StraightNode) -> None:
    image = chest(STUDY, 2)
    node.mailbox.receive_bytes(image, encoded(image)[:-500])
    entry = node.evaluate(chest(STUDY, 1))
    assert entry.state is EntryState.CONFIRMED
    assert any("1 of 2 images were not evaluated" in remark for remark in node.dossier(STUDY)["remarks"])


@pytest.mark.parametrize(("image", "reason"), [
    (chest(STUDY, BodyPartExamined="KNEE"), "KNEE"), (chest(STUDY, PatientName="TEST^ONE"), "test"),
    (chest(STUDY, PatientAge="010Y"), "age 10"), (document(STUDY, 5), "no image"),
], ids=["knee", "test patient", "child", "no image"])
def test_a_study_no_model_may_see_says_why(node: StraightNode, image: Any, reason: str) -> None:
    entry = node.evaluate(image)
    assert entry.state is EntryState.NOT_EVALUABLE
    assert reason in entry.reason
    assert declined(node)
    assert node.triage.calls == []


def test_a_historical_study_is_scored_and_neither_raised_nor_sent(node: StraightNode) -> None:
    entry = node.evaluate(chest(STUDY, StudyDate=LONG_AGO))
    assert (entry.priority, entry.ai_priority) == (Priority.HISTORICAL, None)
    assert (entry.report_state, entry.delivery, node.pacs.held) == (ReportState.WRITTEN, DeliveryState.NONE, {})
    assert "historical" in node.dossier(STUDY)["delivery_blocked"]["pacs"]


def test_results_of_demo_models_stay_on_this_machine(make: Make) -> None:
    node = make(destinations=[{**PACS, "host": "192.0.2.1"}])
    entry = node.evaluate(chest(STUDY))
    assert (entry.report_state, entry.delivery, node.pacs.held) == (ReportState.WRITTEN, DeliveryState.NONE, {})
    assert "demo" in node.dossier(STUDY)["delivery_blocked"]["pacs"]


def test_a_late_image_gives_new_reports_that_name_the_old_ones(anywhere: StraightNode) -> None:
    anywhere.evaluate(chest(STUDY))
    anywhere.evaluate(chest(STUDY, 2))
    old, new = anywhere.reports(STUDY, 1), anywhere.reports(STUDY, 2)
    assert len(anywhere.pacs.held) == 4
    for before, after in zip(old, new, strict=True):
        (predecessor,) = after.PredecessorDocumentsSequence
        named = predecessor.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        assert named == before.SOPInstanceUID
    assert (anywhere.entry(STUDY).version, anywhere.entry(STUDY).state) == (2, EntryState.CONFIRMED)


def test_a_corrected_patient_gets_a_report_and_the_wrong_one_is_not_shown_any_more(anywhere: StraightNode) -> None:
    anywhere.evaluate(chest(STUDY, PatientID="WRONG"))
    entry = anywhere.evaluate(chest(STUDY, PatientID="RIGHT"))
    assert entry.patient_id == "RIGHT"
    assert {one.PatientID for one in anywhere.reports(STUDY, 2)} == {"RIGHT"}


def test_a_reported_study_is_withdrawn_also_when_a_late_image_was_scored_in_between(node: StraightNode) -> None:
    first, late = chest(STUDY), chest(STUDY, 2)
    node.evaluate(first)
    node.take(late)
    assert node.entry(STUDY).state is EntryState.PROVISIONAL
    assert node.evaluate(rejection_note(STUDY, 7, first, late)).state is EntryState.WITHDRAWN


def test_a_study_whose_images_are_rejected_is_withdrawn(anywhere: StraightNode) -> None:
    image = chest(STUDY)
    anywhere.evaluate(image)
    entry = anywhere.evaluate(rejection_note(STUDY, 7, image))
    assert (entry.state, entry.priority, entry.report_state) == (
        EntryState.WITHDRAWN, Priority.ROUTINE, ReportState.WITHHELD)
    assert anywhere.reports(STUDY, 2) == []


def test_a_replay_writes_new_objects(node: StraightNode) -> None:
    node.evaluate(chest(STUDY))
    with transaction(node.engine) as connection:
        versions.request_replay(connection, "operator", STUDY)
    node.complete()
    assert len({one.SOPInstanceUID for one in [*node.reports(STUDY, 1), *node.reports(STUDY, 2)]}) == 4


def test_our_own_reports_coming_back_change_nothing(node: StraightNode) -> None:
    node.evaluate(chest(STUDY))
    before = node.entry(STUDY)
    for ours in node.reports(STUDY):
        node.take(ours)
    node.quiet()
    assert node.versions.complete_due() == 0
    assert node.entry(STUDY) == before
    assert node.actions(STUDY)[-2:] == ["instance.echo"] * 2


def test_working_copies_are_gone_when_the_run_is_over(node: StraightNode) -> None:
    node.evaluate(chest(STUDY))
    assert list((node.data_dir / "work").iterdir()) == []


def test_stages_may_repeat_before_they_commit(node: StraightNode) -> None:
    """A process that died between work and commit does the work again: the same objects come out."""
    for stage in node.jobs.stages.values():
        object.__setattr__(stage, "work", lambda arguments, once=stage.work: once(arguments) and once(arguments))
    node.evaluate(chest(STUDY))
    assert len(node.pacs.held) == 2
    assert node.entry(STUDY).delivery is DeliveryState.COMMITTED


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_way_on_the_job_engine(kind: str, cluster: Cluster, tmp_path: Path) -> None:
    with migrated_kind(kind, cluster, tmp_path) as engine:
        jobs = Jobs(engine, CHAIN, pipeline.QUEUE_OF)
        node = NodeInProcess(engine, tmp_path, jobs.put, study={"quiet_seconds": 0.5}, clock=Clock())
        node.triage.by_image = {f"{STUDY}.1": {"pneumothorax": 0.9}}
        with started(jobs, node.stages, dict.fromkeys(Queue, 2)):
            clerk = node.clerk(jobs)
            working = supervised_thread("clerk", clerk.run, clerk.stopping.set)
            node.mailbox.receive(chest(STUDY))
            node.mailbox.receive(chest("1.2.4", BodyPartExamined="KNEE"))
            wait_until(lambda: node.run_states() == {STUDY: "done", "1.2.4": "not_evaluable"}, 60)
            wait_until(lambda: node.entry(STUDY).delivery is DeliveryState.COMMITTED)
            clerk.stopping.set()
            working.join()
        entry = node.entry(STUDY)
        assert (entry.state, entry.priority, entry.report_state) == (
            EntryState.CONFIRMED, Priority.STAT, ReportState.WRITTEN)
        assert sorted(node.pacs.held) == sorted(one.SOPInstanceUID for one in node.reports(STUDY))
        assert node.entry("1.2.4").state is EntryState.NOT_EVALUABLE
        with transaction(engine) as connection:
            assert audit.verify(connection).problems == ()
