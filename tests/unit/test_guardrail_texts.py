"""What the guardrails say of texts, English and Korean: those that may not leave, those to flag, and near misses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import guardrails
from node.domain import (
    Certainty,
    Finding,
    Findings,
    ImageHead,
    Presence,
    Priority,
    Side,
    Urgency,
    Verdict,
)
from tests.unit.test_guardrails import CHEST, LATERALISED, MODEL, WORDS, triage

SAFETY = Path(__file__).parents[2] / "docs/safety.md"
HEAD = ImageHead(
    sop_class_uid="1", sop_instance_uid="2", study_instance_uid="3", series_instance_uid="4", transfer_syntax_uid="5",
    patient_name="Small^Gildong=홍^길동", patient_id="PT-48213", patient_birth_date="19610412", accession_number="A1")
PROMPT = "Report the findings of this chest X-ray as JSON. Name the patient's side of each finding."
LEFT_EFFUSION = Finding(
    finding="effusion", presence=Presence.PRESENT, side=Side.LEFT, certainty=Certainty.PROBABLE)


def case(text: str, language: str = "en", recommendation: str = "", **changes: object) -> guardrails.Case:
    """A left pleural effusion that both models call present, described in these words."""
    findings = Findings(
        model=MODEL, prompt="p", findings=(LEFT_EFFUSION,), impression=text, recommendation=recommendation)
    scores = triage(effusion=Presence.PRESENT)
    compared = guardrails.compare(scores, findings, WORDS, side_known=True, lateralised=LATERALISED)
    told = guardrails.Case(
        words=WORDS, compared=compared, findings=findings, eligibility=CHEST, side_known=True, prompts=(PROMPT,),
        language=language, identifiers=guardrails.Identifiers.of(HEAD), ai_priority=Priority.HIGH)
    return replace(told, **changes)  # type: ignore[arg-type]


def objections(told: guardrails.Case) -> dict[str, Verdict]:
    """Rules that do not pass."""
    given_outcomes = guardrails.outcomes(told)
    return {outcome.rule: outcome.verdict for outcome in given_outcomes if outcome.verdict is not Verdict.PASS}


WITHHELD = [
    ("en", "modality_words", "CT of the chest shows a left effusion."),
    ("en", "modality_words", "The mammogram shows a left effusion."),
    ("en", "modality_words", "Left effusion. The knee is unremarkable."),
    ("en", "modality_words", "Left effusion on this brain MRI."),
    ("ko", "modality_words", "좌측 흉수. 초음파에서 담석이 관찰됨."),
    ("ko", "modality_words", "좌측 흉수. CT에서 소량 관찰됨."),
    ("ko", "modality_words", "좌측 흉수 있음. 무릎 관절은 정상."),
    ("en", "repetition", "Left effusion. Left effusion. Left effusion."),
    ("en", "repetition", "Left effusion with fluid in the left with fluid in the left with fluid in the left"),
    ("en", "repetition", "Left effusion effusion effusion effusion."),
    ("ko", "repetition", "좌측 흉수 있음. 흉수흉수흉수흉수흉수흉수흉수흉수흉수흉수"),
    ("en", "template_text", "Left effusion. [Insert measurement here]."),
    ("en", "template_text", "As an AI language model, I see a left effusion."),
    ("en", "template_text", "Left effusion. Seen by Dr ____."),
    ("en", "template_text", "I'm sorry, but a left effusion cannot be excluded."),
    ("ko", "template_text", "AI 언어 모델로서 진단은 어렵지만 좌측 흉수 의심."),
    ("ko", "template_text", "[소견 입력] 좌측 흉수."),
    ("en", "leaked_thought", "<unused94>thought The lungs first. Left effusion."),
    ("en", "leaked_thought", "<think>Left effusion?</think> Left effusion."),
    ("en", "leaked_thought", "Okay, so the left costophrenic angle is blunted. Left effusion."),
    ("en", "leaked_thought", "Let me think. Left effusion."),
    ("ko", "leaked_thought", "단계별로 살펴보겠습니다. 좌측 흉수 있음."),
    ("en", "truncated_text", "Left effusion with"),
    ("en", "truncated_text", "Left effusion (small"),
    ("en", "truncated_text", "Left effusion,"),
    ("ko", "truncated_text", "좌측 흉수 및"),
    ("en", "comparison_without_prior", "Unchanged left effusion."),
    ("en", "comparison_without_prior", "Left effusion, larger compared to the prior study."),
    ("en", "comparison_without_prior", "Interval increase of the left effusion."),
    ("en", "comparison_without_prior", "Stable left effusion."),
    ("en", "comparison_without_prior", "New left effusion."),
    ("en", "comparison_without_prior", "Left effusion persists as before."),
    ("ko", "comparison_without_prior", "이전과 비교하여 좌측 흉수 증가."),
    ("ko", "comparison_without_prior", "좌측 흉수, 큰 변화 없음."),
    ("ko", "comparison_without_prior", "좌측 흉수가 호전됨."),
    ("en", "impossible_measurement", "Left effusion. Nodule of 300 mm."),
    ("en", "impossible_measurement", "Left effusion of -5 mm."),
    ("en", "impossible_measurement", "Left effusion. Nodule of 12 x 90 mm."),
    ("en", "impossible_measurement", "Left effusion. Cardiothoracic ratio 1.4."),
    ("en", "impossible_measurement", "Left effusion covering 140 % of the hemithorax."),
    ("ko", "impossible_measurement", "좌측 흉수. 30cm 크기의 결절."),
    ("ko", "impossible_measurement", "좌측 흉수. 심흉비는 1.3."),
    ("en", "language_as_asked", "좌측 흉수 있음."),
    ("en", "language_as_asked", "Left effusion. Левосторонний плевральный выпот."),
    ("ko", "language_as_asked", "Left pleural effusion, blunting of the costophrenic angle."),
    ("ko", "language_as_asked", "좌측 흉수 있음. 左側胸水を認めます。"),
    ("en", "identifiers", "Gildong has a left effusion."),
    ("en", "identifiers", "Left effusion. PT-48213."),
    ("en", "identifiers", "Left effusion, film of 03/12/2024."),
    ("en", "identifiers", "Left effusion. Date of birth 12 April 1961."),
    ("en", "identifiers", "Left effusion, told to Dr. Smith."),
    ("ko", "identifiers", "홍길동님의 좌측 흉수."),
    ("ko", "identifiers", "좌측 흉수. 2024년 3월 촬영."),
    ("en", "echoed_prompt", "You are an expert radiologist. Left effusion."),
    ("en", "echoed_prompt", "Left effusion. Name the patient's side of each finding."),
    ("ko", "echoed_prompt", "좌측 흉수. JSON 형식으로 답하시오."),
    ("en", "denied_finding", "No pleural effusion."),
    ("en", "denied_finding", "No pneumothorax, effusion or consolidation."),
    ("en", "denied_finding", "Normal chest."),
    ("ko", "denied_finding", "흉수 없음."),
    ("ko", "denied_finding", "기흉이나 흉수는 보이지 않음."),
    ("ko", "denied_finding", "특이 소견 없음."),
]

FLAGGED = [
    ("en", "side_agreement", "Right pleural effusion."),
    ("en", "side_agreement", "Bilateral effusions."),
    ("ko", "side_agreement", "우측 흉수 있음."),
    ("en", "unmeasured_size", "Left effusion, 12 mm thick."),
    ("ko", "unmeasured_size", "좌측 흉수, 두께 2cm."),
]

PASSING = [
    ("en", "Left pleural effusion."),
    ("en", "Left pleural effusion. No change in cardiac size is expected."),
    ("en", "Left effusion. Left-sided aortic arch."),
    ("en", "Left effusion. The right heart border is sharp."),
    ("en", "Left effusion, larger than any on the right: none. Recommend comparison with prior studies."),
    ("en", "Left effusion. No prior study is available."),
    ("en", "Left effusion. Short-interval follow-up is suggested."),
    ("en", "Left effusion is denser compared to the right side."),
    ("en", "Left effusion. Consider chest CT."),
    ("en", "Left effusion. Cardiothoracic ratio above 0.5."),
    ("en", "Left effusion. If a nodule exceeds 8 mm, consider follow-up."),
    ("en", "Left effusion. No pneumothorax or consolidation."),
    ("en", "No pneumothorax. Small left effusion."),
    ("en", "Left effusion cannot be excluded."),
    ("en", "Left effusion, more than on the right."),
    ("ko", "좌측 흉수를 배제할 수 없음."),
    ("en", "No acute abnormality besides a left effusion."),
    ("en", "Small left effusion"),
    ("en", "Left effusion. Second rib intact. The second left rib is not displaced."),
    ("en", "Left effusion near T12, at the 10th rib (posterior)."),
    ("en", "Left effusion (α)."),
    ("en", "Left effusion: yes. Pneumothorax: no"),
    ("en", "Left effusion, β-type shadow of a catheter."),
    ("en", "Left effusion. The patient is rotated, the head of the bed is raised, as expected."),
    ("en", "Left effusion. Mr imaging is one way to go on, if wanted."),
    ("ko", "좌측 흉수 있음."),
    ("ko", "좌측 pleural effusion 의심됨."),
    ("ko", "좌측 흉수 있음. 기흉은 없음."),
    ("ko", "좌측 흉수. 흉부 CT 권고."),
    ("ko", "좌측 흉수. 비교할 이전 영상 없음."),
    ("ko", "좌측 흉수. 이전 영상과 비교 권고."),
    ("ko", "좌측 흉수. 심흉비 0.55."),
    ("ko", "좌측 늑골횡격막각 둔화, 소량의 흉막 삼출 의심."),
]


@pytest.mark.parametrize(("language", "rule", "text"), WITHHELD)
def test_a_text_is_withheld_by_its_rule_and_no_other(language: str, rule: str, text: str) -> None:
    told = objections(case(text, language))
    assert [name for name, verdict in told.items() if verdict is Verdict.WITHHOLD] == [rule]


@pytest.mark.parametrize(("language", "rule", "text"), FLAGGED)
def test_a_text_is_flagged_by_its_rule_and_goes_out(language: str, rule: str, text: str) -> None:
    assert objections(case(text, language)) == {rule: Verdict.FLAG}


@pytest.mark.parametrize(("language", "text"), PASSING)
def test_a_near_miss_passes_every_rule(language: str, text: str) -> None:
    assert objections(case(text, language)) == {}


@pytest.mark.parametrize(("language", "text"), [
    (language, text) for language, rule, text in WITHHELD if rule == "comparison_without_prior"])
def test_with_an_earlier_study_a_text_may_compare(language: str, text: str) -> None:
    assert objections(case(text, language, has_prior=True)) == {}


def test_a_model_that_measures_may_state_a_size_that_can_be() -> None:
    assert objections(case("Left effusion, 12 mm thick.", measures=True)) == {}
    assert objections(case("Left effusion. Nodule of 300 mm.", measures=True)) == {
        "impossible_measurement": Verdict.WITHHOLD}


@pytest.mark.parametrize(("imaged", "text", "verdict"), [
    (Side.RIGHT, "Effusion of the left knee.", Verdict.WITHHOLD), (Side.LEFT, "Effusion of the left knee.", None),
    (Side.RIGHT, "Effusion, as on the left and right.", None), (Side.NONE, "Effusion on the left.", None)])
def test_a_text_speaks_of_the_side_that_was_imaged(imaged: Side, text: str, verdict: Verdict | None) -> None:
    assert objections(case(text, imaged_side=imaged)).get("imaged_side") is verdict


@pytest.mark.parametrize(("box", "text", "verdict"), [
    (Side.LEFT, "Left effusion.", None), (Side.RIGHT, "Left effusion.", Verdict.FLAG),
    (Side.RIGHT, "Effusion.", Verdict.FLAG), (Side.NONE, "Left effusion.", None)])
def test_a_box_lies_where_the_answer_says(box: Side, text: str, verdict: Verdict | None) -> None:
    assert objections(case(text, box_sides={"effusion": box})).get("box_side") is verdict


@pytest.mark.parametrize(("raised", "flagged"), [
    (None, True), (Priority.ROUTINE, True), (Priority.HIGH, False), (Priority.STAT, False)])
def test_urgent_words_ask_for_review_where_triage_raised_nothing(raised: Priority | None, flagged: bool) -> None:
    told = guardrails.outcomes(case("Left effusion.", recommendation="Immediate review.", ai_priority=raised))
    outcome = next(one for one in told if one.rule == "urgency")
    assert (outcome.verdict is Verdict.FLAG, "Requires human review" in outcome.reason) == (flagged, flagged)


@pytest.mark.parametrize(("told", "flagged"), [
    (Urgency.URGENT, True), (Urgency.EMERGENCY, True), (Urgency.ROUTINE, False), (None, False)])
def test_an_urgency_asks_for_review_as_urgent_words_do(told: Urgency | None, flagged: bool) -> None:
    plain = case("Left effusion.", ai_priority=None)
    assert plain.findings is not None
    urgent = replace(plain, findings=replace(plain.findings, urgency=told))
    assert objections(urgent) == ({"urgency": Verdict.FLAG} if flagged else {})


def test_a_finding_that_the_structure_denies_is_flagged_in_the_text() -> None:
    absent = replace(LEFT_EFFUSION, finding="pneumothorax", presence=Presence.ABSENT)
    told = case("Left effusion and pneumothorax.")
    assert told.findings is not None
    both = replace(told, findings=replace(told.findings, findings=(LEFT_EFFUSION, absent)))
    assert objections(both) == {"asserted_finding": Verdict.FLAG}


@pytest.mark.parametrize(("name", "text", "withheld"), [
    ("Small^Rose", "Small left effusion.", False), ("Small^Rose", "Rose Small: left effusion.", True),
    ("Small^Rose", "Left effusion. SMALL, ROSE", True), ("Effusion^Left", "Left effusion.", False),
    ("Li^Na", "Left effusion. Na 140.", False), ("Li^Na", "Left effusion of Li Na.", True),
    ("Kim^Do", "Left effusion, kim.", True), ("김^희중", "김희중님의 left effusion", True)])
def test_a_name_that_may_be_a_word_is_one_only_beside_another(name: str, text: str, withheld: bool) -> None:
    told = guardrails.Identifiers.of(replace(HEAD, patient_name=name))
    assert ("identifiers" in objections(case(text, identifiers=told))) == withheld


@pytest.mark.parametrize("text", [text for _, _, text in WITHHELD])
def test_no_reason_repeats_what_is_withheld(text: str) -> None:
    words = {word for word in text.lower().split() if len(word) > 9 or not word.isascii()}
    for outcome in guardrails.outcomes(case(text)):
        assert not {word for word in words if word in outcome.reason.lower()} - {"pneumothorax", "effusion"}


@given(text=st.text(max_size=300), recommendation=st.text(max_size=80), language=st.sampled_from(["en", "ko", ""]))
def test_no_rule_raises_whatever_the_text(text: str, recommendation: str, language: str) -> None:
    given_outcomes = guardrails.outcomes(case(text, language, recommendation))
    assert all(outcome.version for outcome in given_outcomes)


@given(text=st.sampled_from([text for _, _, text in (*WITHHELD, *FLAGGED)]), agreeing=st.booleans())
def test_no_text_takes_a_finding_or_its_score_away_or_makes_it_more_certain(text: str, agreeing: bool) -> None:
    findings = replace(LEFT_EFFUSION, finding="effusion" if agreeing else "nodule")
    answer = Findings(model=MODEL, prompt="p", findings=(findings,), impression=text, recommendation="")
    scores = triage(effusion=Presence.PRESENT)
    compared = guardrails.compare(scores, answer, WORDS, side_known=True, lateralised=LATERALISED)
    for told in (compared, guardrails.without_answer(compared)):
        assert [(each.finding, each.presence, each.score) for each in told] == [
            (each.finding, each.presence, each.score) for each in scores.scores]
        assert all(each.certainty in (None, findings.certainty) for each in told)


def test_side_and_certainty_go_with_a_withheld_answer() -> None:
    told = guardrails.without_answer(case("Left effusion.").compared)
    found = next(each for each in told if each.finding == "effusion")
    assert (found.presence, found.side, found.certainty) == (Presence.PRESENT, Side.NONE, None)
    assert "withheld" in found.reason


@pytest.mark.parametrize("rule", [rule.name for rule in (*guardrails.OF_STUDY, *guardrails.OF_ANSWER)])
def test_every_rule_stands_in_the_table_of_the_docs(rule: str) -> None:
    assert f"`{rule}`" in SAFETY.read_text(encoding="utf-8").partition("## Guardrails")[2]


def test_the_lists_have_a_version_and_a_digest() -> None:
    assert len(WORDS.sha256) == 64
    assert WORDS.version == "1+1"
