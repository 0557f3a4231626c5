"""What the stages decide from what they are given: scores together, places, reasons, marks, names."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from node import images, pipeline
from node.config import Config
from node.database import metadata
from node.domain import (
    DEMO_NOTICE,
    JSON,
    RESEARCH_NOTICE,
    EvidenceLevel,
    Findings,
    FindingScore,
    ImageHead,
    ImageScore,
    InstanceState,
    ModelIdentity,
    OperatingPoint,
    Presence,
    Priority,
    ReceivedInstance,
    Side,
    Study,
    TriageResult,
)
from node.errors import NotEvaluable, StorageError
from node.inference.prompt_sets import load_prompt_set
from node.resizing import bilinear
from node.stages import pictures, planning, reading, selection
from node.stages.analysis import ScoredImage, ai_priority, combine, decisive_image, shown
from node.stages.desk import Desk, RunRef, RunState, dump, parse
from node.stages.pictures import Key
from node.stages.reporting import derive_uid
from node.stages.scale import Scale
from tests.tools.fakes import POINT, FakeFindings, FakeTriage, identity
from tests.tools.instances import chest
from tests.tools.radiographs import write

PROMPTS = load_prompt_set("demo-chest")
KEYS = [finding.key for finding in PROMPTS.findings]
PRIORITIES = {finding.key: finding.priority for finding in PROMPTS.findings}
STUDY = "1.2.3"
REF = RunRef(study_instance_uid=STUDY, version=1, priority=Priority.ROUTINE)


def scores(**high: float) -> dict[str, float]:
    return {key: high.get(key, 0.1) for key in KEYS}


def triaged(*images: dict[str, float], model: FakeTriage | None = None) -> TriageResult:
    named = [ScoredImage(sop_instance_uid=f"{STUDY}.{number}", frame=1, score=ImageScore(scores=found, embedding=b""))
             for number, found in enumerate(images, 1)]
    return combine(model or FakeTriage(), named)


def of(result: TriageResult, key: str) -> FindingScore:
    return next(found for found in result.scores if found.finding == key)


def test_the_highest_score_of_any_image_counts_and_names_it() -> None:
    found = of(triaged(scores(), scores(effusion=0.9), scores(effusion=0.7)), "effusion")
    assert (found.score, found.presence, found.sop_instance_uid) == (0.9, Presence.PRESENT, f"{STUDY}.2")


def test_a_mean_is_taken_where_the_prompt_set_says_so() -> None:
    model = FakeTriage(prompt_set=replace(PROMPTS, aggregate="mean"))
    found = of(triaged(scores(effusion=0.9), scores(effusion=0.3), model=model), "effusion")
    assert (found.score, found.presence) == (pytest.approx(0.6), Presence.PRESENT)
    assert found.sop_instance_uid == f"{STUDY}.1"


def test_the_mean_of_the_highest_is_taken_where_the_prompt_set_says_so() -> None:
    model = FakeTriage(prompt_set=replace(PROMPTS, aggregate="top_2_mean"))
    found = of(triaged(scores(effusion=0.9), scores(effusion=0.5), scores(effusion=0.2), model=model), "effusion")
    assert (found.score, found.sop_instance_uid) == (pytest.approx(0.7), f"{STUDY}.1")
    assert of(triaged(scores(effusion=0.9), model=model), "effusion").score == 0.9


def without_evidence(*keys: str) -> FakeTriage:
    findings = tuple(replace(each, evidence=EvidenceLevel.NONE) if each.key in keys else each
                     for each in PROMPTS.findings)
    return FakeTriage(prompt_set=replace(PROMPTS, findings=findings))


def test_a_finding_without_evidence_is_on_the_board_only_whatever_its_score_and_cut_offs() -> None:
    result = triaged(scores(pneumothorax=0.99), model=without_evidence("pneumothorax"))
    found = of(result, "pneumothorax")
    assert (found.presence, found.operating_point, found.board_only) == (Presence.UNDETERMINED, None, True)
    assert (found.score, ai_priority(result)) == (0.99, Priority.ROUTINE)


def test_a_prompt_set_without_any_evidence_runs_in_shadow() -> None:
    result = triaged(scores(pneumothorax=0.99), model=without_evidence(*KEYS))
    assert (result.shadow, ai_priority(result)) == (True, None)


@pytest.mark.parametrize(("score", "presence"), [
    (0.6, Presence.PRESENT), (0.59, Presence.UNDETERMINED), (0.4, Presence.UNDETERMINED), (0.39, Presence.ABSENT)])
def test_two_cut_offs_leave_room_for_doubt(score: float, presence: Presence) -> None:
    assert of(triaged(scores(effusion=score)), "effusion").presence is presence


def test_a_finding_without_operating_point_is_undetermined_and_raises_nothing() -> None:
    model = FakeTriage()
    model.operating_points = {"edema": POINT}
    result = triaged(scores(pneumothorax=0.99), model=model)
    assert of(result, "pneumothorax").presence is Presence.UNDETERMINED
    assert ai_priority(result) is Priority.ROUTINE


def test_shadow_mode_gives_no_priority() -> None:
    model = FakeTriage()
    model.in_shadow()
    result = triaged(scores(pneumothorax=0.99), model=model)
    assert (result.shadow, ai_priority(result)) == (True, None)


def test_the_most_urgent_present_finding_gives_the_priority() -> None:
    assert ai_priority(triaged(scores(effusion=0.9, pneumothorax=0.7))) is Priority.STAT
    assert ai_priority(triaged(scores(effusion=0.9, pneumothorax=0.5))) is PRIORITIES["effusion"]
    assert ai_priority(triaged(scores())) is Priority.ROUTINE


def test_the_image_of_the_most_urgent_finding_decides_though_another_scores_higher() -> None:
    decided = decisive_image(triaged(scores(effusion=0.99), scores(pneumothorax=0.7)))
    assert (decided.sop_instance_uid, decided.frame) == (f"{STUDY}.2", 1)


def test_where_nothing_is_present_the_most_urgent_finding_still_names_an_image() -> None:
    assert decisive_image(triaged(scores(), scores(pneumothorax=0.2))).sop_instance_uid == f"{STUDY}.2"


def test_triage_alone_shows_neither_side_nor_certainty() -> None:
    (first, *_) = shown(triaged(scores(effusion=0.9)))
    assert (first.finding, first.side, first.certainty, first.agreed) == ("effusion", Side.NONE, None, None)


@st.composite
def any_result(draw: st.DrawFn) -> TriageResult:
    """Any scores of any images, with any cut-offs, or none."""
    cuts = st.tuples(st.floats(0, 1), st.floats(0, 1))
    model = FakeTriage(prompt_set=PROMPTS)
    model.operating_points = {
        key: OperatingPoint(present_above=max(pair), absent_below=min(pair))
        for key in draw(st.sets(st.sampled_from(KEYS))) for pair in [draw(cuts)]}
    one = st.fixed_dictionaries({key: st.floats(0, 1) for key in KEYS})
    return triaged(*draw(st.lists(one, min_size=1, max_size=3)), model=model)


@given(any_result(), st.sampled_from([Priority.STAT, Priority.HIGH, Priority.ROUTINE]))
def test_no_result_ever_lowers_a_study(result: TriageResult, ordered: Priority) -> None:
    found = ai_priority(result)
    place = ordered if found is None else Priority.higher(ordered, found)
    assert int(place) <= int(ordered)


class Enqueued:
    """Notes the priority of what is enqueued."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, Priority]] = []

    def __call__(self, connection: Any, *, stage: str, priority: Priority, arguments: JSON, **_more: Any) -> None:
        assert arguments["priority"] == int(priority)
        self.jobs.append((stage, priority))


def desk(put: Any = None, **sections: Any) -> Desk:
    return Desk(
        config=Config(**sections), engine=None, chain="c", put=put, node_uid="2.25.1",  # type: ignore[arg-type]
        software_version="0", today=date.today, prompt_sets={PROMPTS.name: PROMPTS},
        findings_prompts={}, triage_models={}, findings_models={})


@given(ordered=st.sampled_from(list(Priority)), found=st.sampled_from([None, *map(int, Priority)]))
def test_the_jobs_after_rank_run_at_least_as_early_as_ordered(ordered: Priority, found: int | None) -> None:
    put, engine = Enqueued(), sa.create_engine("sqlite://")
    metadata.create_all(engine)
    rank = next(stage for stage in pipeline.SEQUENCE if stage.name == "rank")
    with engine.begin() as connection:
        pipeline._put_next(desk(put), connection, replace(REF, priority=ordered), rank, {"ai_priority": found})
    assert put.jobs == [("findings", min(ordered, Priority(found or ordered)))]


def test_the_sequence_is_the_one_of_the_design() -> None:
    assert [stage.name for stage in pipeline.SEQUENCE] == [
        "plan", "decode", "triage", "rank", "findings", "guard", "write", "deliver", "notify"]


def test_every_stage_has_a_queue_and_a_line_in_the_audit_trail() -> None:
    assert set(pipeline.QUEUE_OF) >= {stage.name for stage in pipeline.SEQUENCE} | {pipeline.EARLY}
    identified = {"triage": {"model": {"sha256": "s"}}, "reports": []}
    for stage in pipeline.SEQUENCE:
        pipeline._told(stage.name, identified)


def test_the_audit_trail_holds_decisions_and_no_texts() -> None:
    answer = dump(Findings, FakeFindings(impression="a sentence").describe([]))
    told = pipeline._told("findings", {
        "state": "done", "reason": "", "findings": answer, "model": dump(ModelIdentity, identity("m"))})
    assert set(told) == {"state", "reason", "model_sha256"}
    assert pipeline._told("plan", {"end": True, "reason": "no image"}) == {"ended": "no image"}


def head(**attributes: Any) -> ImageHead:
    values = {
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1", "sop_instance_uid": "1", "study_instance_uid": STUDY,
        "series_instance_uid": "2", "transfer_syntax_uid": "1.2.840.10008.1.2.1", "modality": "CR",
        "body_part_examined": "CHEST", "view_position": "PA", "has_pixel_data": True, "patient_age": "040Y"}
    return ImageHead(**{**values, **attributes})


def test_a_test_patient_is_told_before_any_other_reason() -> None:
    section = Config().pipelines[0]
    heads = {1: head(), 2: head()}
    assert planning._why({1: "body part KNEE", 2: "test: QC"}, heads, section) == "test: QC"
    assert planning._why({1: "body part KNEE", 2: ""}, heads, section) == "body part KNEE"


def test_a_study_that_no_pipeline_takes_says_its_modality() -> None:
    assert planning._why({1: ""}, {1: head(modality="MG")}, None) == "no pipeline takes this study (modality MG)"


@pytest.mark.parametrize(("changed", "eligible"), [
    ({}, True), ({"body_part_examined": "KNEE"}, False), ({"view_position": "LL"}, False),
    ({"patient_age": "009Y"}, False), ({"modality": "CT"}, False)])
def test_only_what_a_model_may_see_is_worth_a_new_version(changed: dict[str, str], eligible: bool) -> None:
    sets = {PROMPTS.name: PROMPTS}
    assert planning.eligible_late(Config().pipelines, sets, date.today(), head(**changed), "CR1") is eligible


def state(**results: JSON) -> RunState:
    received = ReceivedInstance(
        id=1, sop_class_uid="1", sop_instance_uid="1", study_instance_uid=STUDY, series_instance_uid="2",
        transfer_syntax_uid="1", modality="CR", path="p", size=1, calling_ae_title="A", called_ae_title="B",
        source_host="h", received_at=datetime.now(UTC), state=InstanceState.ACCEPTED)
    left: JSON = {"plan": {"remarks": [], "declined": {}}, "decode": {"decoded": ["1:1"], "undecodable": {}},
                  "triage": {}, "findings": {"state": "done"}}
    return RunState(ref=REF, study=Study(study_instance_uid=STUDY), started_at=0.0, trigger="quiet",
                    evidence=(received, received), results={**left, **results})


def test_images_that_were_left_out_are_remarked_with_their_reasons() -> None:
    remarks = reading._remarks(state(plan={"remarks": ["Age is not known."], "declined": {"9": "view LATERAL"}},
                                     decode={"decoded": ["1:1"], "undecodable": {"8": "no pixels"}}), ())
    assert remarks == ("Age is not known.", "2 of 2 images were not evaluated: no pixels, view LATERAL.")


def test_a_failed_answer_is_remarked_and_a_good_one_is_not() -> None:
    assert reading._remarks(state(), ()) == ()
    assert "triage stands alone" in reading._remarks(state(findings={"state": "failed"}), ())[0]


@pytest.mark.parametrize(("triage_is_demo", "findings_are_demo", "use", "notices"), [
    (True, True, {}, (DEMO_NOTICE, RESEARCH_NOTICE)), (False, True, {}, (DEMO_NOTICE, RESEARCH_NOTICE)),
    (False, False, {}, (RESEARCH_NOTICE,)),
    (False, False, {"intended_use": "clinical", "jurisdiction": "KR", "authorisation_reference": "1"}, ())])
def test_what_every_object_is_stamped_with(
    triage_is_demo: bool, findings_are_demo: bool, use: dict[str, str], notices: tuple[str, ...]
) -> None:
    result = triaged(scores(), model=FakeTriage(identity=identity("t", demo=triage_is_demo)))
    answer = FakeFindings(identity=identity("f", demo=findings_are_demo)).describe([])
    assert reading.notices(desk(node=use), result, answer) == notices


def test_points_that_nobody_measured_are_stamped() -> None:
    result = triaged(scores(), model=FakeTriage(unvalidated=True, identity=identity("t", demo=False)))
    assert reading.notices(desk(), result, None) == (RESEARCH_NOTICE, reading.UNVALIDATED_NOTICE)


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_a_derived_uid_is_valid_and_always_the_same(parts: list[str]) -> None:
    made = derive_uid(*parts)
    assert UID(made).is_valid
    assert made == derive_uid(*parts)


def test_parts_that_only_look_alike_together_derive_other_uids() -> None:
    assert len({derive_uid("a", "bc"), derive_uid("ab", "c"), derive_uid("abc"), derive_uid("a", "b", "c")}) == 4


def test_a_run_survives_its_way_through_a_job() -> None:
    assert RunRef.of(REF.arguments()) == REF
    assert RunRef.of(REF.arguments(Priority.STAT)).priority is Priority.STAT


def test_a_result_survives_its_way_through_json() -> None:
    result = triaged(scores(effusion=0.9))
    assert parse(TriageResult, dump(TriageResult, result)) == result


def test_a_pipeline_that_was_removed_is_named() -> None:
    with pytest.raises(NotEvaluable, match="'old' is not configured any more"):
        desk().pipeline("old")


@pytest.fixture
def received(tmp_path: Path) -> ReceivedInstance:
    write(chest(STUDY), tmp_path / "1.dcm")
    return ReceivedInstance(
        id=1, sop_class_uid="1.2.840.10008.5.1.4.1.1.1", sop_instance_uid=f"{STUDY}.1", study_instance_uid=STUDY,
        series_instance_uid=f"{STUDY}.9", transfer_syntax_uid="1.2.840.10008.1.2.1", modality="CR", path="1.dcm",
        size=1, calling_ae_title="A", called_ae_title="B", source_host="h", received_at=datetime.now(UTC))


LIMITS = selection.Limits(most=4)


def test_an_image_is_decoded_once_and_the_copy_is_the_same(received: ReceivedInstance, tmp_path: Path) -> None:
    chosen = selection.select(tmp_path, [received], LIMITS)
    drawn = images.projection(tmp_path / received.path)
    (tmp_path / "1.dcm").unlink()
    copy = selection.image(tmp_path, [received], Key(1, 1), LIMITS)
    assert np.array_equal(drawn.pixels, copy.pixels)
    assert replace(drawn, pixels=copy.pixels) == copy
    assert selection.select(tmp_path, [received], LIMITS) == chosen


def test_a_copy_that_was_removed_or_cut_off_is_made_again(received: ReceivedInstance, tmp_path: Path) -> None:
    selection.select(tmp_path, [received], LIMITS)
    first = selection.image(tmp_path, [received], Key(1, 1), LIMITS)
    (tmp_path / "work" / "1-1.npy").write_bytes(b"\x93NUMPY")
    assert np.array_equal(selection.image(tmp_path, [received], Key(1, 1), LIMITS).pixels, first.pixels)
    pictures.discard(tmp_path, [1])
    assert list((tmp_path / "work").iterdir()) == []
    assert np.array_equal(selection.image(tmp_path, [received], Key(1, 1), LIMITS).pixels, first.pixels)


def test_triage_is_given_few_pixels_and_findings_all_of_them(received: ReceivedInstance, tmp_path: Path) -> None:
    whole = selection.select(tmp_path, [received], LIMITS)
    pictures.discard(tmp_path, [1])
    assert selection.select(tmp_path, [received], LIMITS, Scale(side=96)) == whole  # so that kept scores stay valid
    assert {file.name for file in (tmp_path / "work").iterdir()} == {"1-1-96.npy", "1-1-96.json"}
    drawn = images.projection(tmp_path / received.path)
    small = selection.image(tmp_path, [received], Key(1, 1), LIMITS, Scale(side=96))
    assert np.array_equal(small.pixels, bilinear(drawn.pixels, 96)) and small.transforms == drawn.transforms
    whole_again = selection.image(tmp_path, [received], Key(1, 1), LIMITS, Scale(side=96), whole=True)
    assert np.array_equal(whole_again.pixels, drawn.pixels)


def test_an_image_that_was_decoded_and_is_gone_may_come_back(received: ReceivedInstance, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="image 1:2 "):
        selection.image(tmp_path, [received], Key(1, 2), LIMITS)
