"""Rules over results: what is flagged, what is withheld, and what no rule may ever do."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import guardrails
from node.domain import (
    Certainty,
    CodedConcept,
    Eligibility,
    Finding,
    Findings,
    FindingScore,
    GuardrailOutcome,
    ModelIdentity,
    Presence,
    Priority,
    Side,
    StudyFinding,
    TriageResult,
    Verdict,
)

WORDS = guardrails.load_words()
MODEL = ModelIdentity(name="m", version="1", sha256="0" * 64, device_uid="2.25.1")
CHEST = Eligibility(modalities=("CR", "DX"), body_parts=("CHEST",), views=("PA", "AP"), minimum_age_years=18)
LUNG = CodedConcept("SCT", "39607008", "Lung")
CONCEPTS = {
    "effusion": "Pleural effusion", "pneumothorax": "Pneumothorax", "cardiomegaly": "Cardiomegaly",
    "consolidation": "Lung consolidation", "nodule": "Nodule of lung", "edema": "Pulmonary edema",
}
NAMES = ("pleural effusion", "pneumothorax", "cardiomegaly", "lung consolidation", "lung nodule", "pulmonary edema")
LATERALISED = {key: key not in ("cardiomegaly", "edema") for key in CONCEPTS}


def triage(**presence: Presence) -> TriageResult:
    """Every finding of the prompt set; those not named are absent."""
    scores = tuple(
        FindingScore(finding=key, concept=CodedConcept("SCT", key, meaning), site=LUNG, score=0.5,
                     presence=presence.get(key, Presence.ABSENT), operating_point=None, priority=Priority.HIGH)
        for key, meaning in CONCEPTS.items()
    )
    return TriageResult(model=MODEL, prompt_set="p", scores=scores, aggregate="max", shadow=False)


def finding(name: str, side: Side = Side.NONE, certainty: Certainty = Certainty.PROBABLE,
            presence: Presence = Presence.PRESENT) -> Finding:
    return Finding(finding=name, presence=presence, side=side, certainty=certainty)


def answer(*findings: Finding, impression: str = "Seen.", recommendation: str = "") -> Findings:
    return Findings(model=MODEL, prompt="p", findings=findings, impression=impression, recommendation=recommendation)


def line(key: str, scores: TriageResult, findings: Findings | None, *, side_known: bool = True) -> StudyFinding:
    compared = guardrails.compare(scores, findings, WORDS, side_known=side_known, lateralised=LATERALISED)
    return next(each for each in compared if each.finding == key)


def ruled(scores: TriageResult, findings: Findings | None, *, side_known: bool = True,
          declined: str = "") -> dict[str, GuardrailOutcome]:
    compared = guardrails.compare(scores, findings, WORDS, side_known=side_known, lateralised=LATERALISED)
    given_outcomes = guardrails.outcomes(guardrails.Case(
        words=WORDS, compared=compared, findings=findings, eligibility=CHEST, side_known=side_known,
        declined=declined))
    return {outcome.rule: outcome for outcome in given_outcomes}


@pytest.mark.parametrize(("key", "name"), zip(CONCEPTS, NAMES, strict=True))
def test_each_name_of_the_findings_model_finds_its_key(key: str, name: str) -> None:
    assert line(key, triage(**{key: Presence.PRESENT}), answer(finding(name))).agreed


@pytest.mark.parametrize(("key", "name"), [
    ("nodule", "NODULE OF LUNG"), ("effusion", "Effusions"), ("edema", "pulmonary oedema")])
def test_other_spellings_of_a_finding_are_understood(key: str, name: str) -> None:
    assert line(key, triage(**{key: Presence.PRESENT}), answer(finding(name))).agreed


def test_side_and_certainty_come_from_the_findings_model() -> None:
    found = line("effusion", triage(effusion=Presence.PRESENT),
                 answer(finding("pleural effusion", Side.LEFT, Certainty.POSSIBLE)))
    assert (found.presence, found.side, found.certainty) == (Presence.PRESENT, Side.LEFT, Certainty.POSSIBLE)


def test_a_finding_listed_on_either_side_is_on_both_and_only_as_certain_as_the_weaker() -> None:
    found = line("nodule", triage(nodule=Presence.PRESENT), answer(
        finding("lung nodule", Side.LEFT, Certainty.DEFINITE), finding("lung nodule", Side.RIGHT, Certainty.POSSIBLE)))
    assert (found.side, found.certainty) == (Side.BOTH, Certainty.POSSIBLE)


@given(presence=st.sampled_from(list(Presence)), said=st.sampled_from(list(Presence)), known=st.booleans())
def test_presence_and_score_always_stay_those_of_triage(presence: Presence, said: Presence, known: bool) -> None:
    scores = triage(effusion=presence)
    for findings in (None, answer(), answer(finding("pleural effusion", Side.LEFT, presence=said))):
        found = line("effusion", scores, findings, side_known=known)
        assert (found.presence, found.score) == (presence, 0.5)
        assert found.certainty is None or (presence is said is Presence.PRESENT)


def test_a_positive_that_is_not_described_stays_and_the_disagreement_is_named() -> None:
    scores, findings = triage(pneumothorax=Presence.PRESENT), answer(impression="No acute finding.")
    found, outcome = line("pneumothorax", scores, findings), ruled(scores, findings)["disagreement"]
    assert (found.presence, found.agreed, found.certainty) == (Presence.PRESENT, False, None)
    assert outcome.verdict is Verdict.FLAG
    assert "Pneumothorax: Flagged by triage, not described" in outcome.reason


def test_what_only_the_findings_model_says_is_shown_but_is_no_positive() -> None:
    scores = triage()
    findings = answer(finding("pleural effusion", Side.LEFT, Certainty.DEFINITE), finding("rib fracture"))
    found, outcome = line("effusion", scores, findings), ruled(scores, findings)["disagreement"]
    assert (found.presence, found.agreed, found.side, found.certainty) == (Presence.ABSENT, False, Side.NONE, None)
    assert "Pleural effusion: Described by the findings model" in outcome.reason
    assert "rib fracture" in outcome.reason


def test_where_triage_is_undecided_nobody_disagrees() -> None:
    findings = answer(finding("pleural effusion"))
    assert line("effusion", triage(effusion=Presence.UNDETERMINED), findings).agreed is None
    assert line("effusion", triage(effusion=Presence.PRESENT), None).agreed is None


def test_no_side_where_the_orientation_is_not_known() -> None:
    scores, findings = triage(effusion=Presence.PRESENT), answer(finding("pleural effusion", Side.LEFT))
    found = line("effusion", scores, findings, side_known=False)
    assert (found.side, found.reason) == (Side.NONE, guardrails.ORIENTATION_NOT_KNOWN)


@pytest.mark.parametrize(("text", "verdict"), [
    ("Left pleural effusion.", Verdict.WITHHOLD), ("Pleural effusion.", Verdict.PASS),
    ("Bilateral pleural effusion.", Verdict.PASS)])
def test_a_text_names_no_side_where_the_orientation_is_not_known(text: str, verdict: Verdict) -> None:
    scores, findings = triage(effusion=Presence.PRESENT), answer(finding("pleural effusion"), impression=text)
    assert ruled(scores, findings, side_known=False)["side_agreement"].verdict is verdict


def test_a_recommendation_names_no_side_either_where_the_orientation_is_not_known() -> None:
    findings = answer(finding("pleural effusion"), recommendation="Drain the right pleural effusion.")
    assert ruled(triage(), findings, side_known=False)["side_agreement"].verdict is Verdict.WITHHOLD
    assert ruled(triage(), findings)["side_agreement"].verdict is Verdict.PASS


def test_a_side_is_withheld_when_the_recommendation_says_another() -> None:
    scores = triage(effusion=Presence.PRESENT)
    findings = answer(finding("pleural effusion", Side.LEFT), recommendation="Drain the right pleural effusion.")
    assert line("effusion", scores, findings).side is Side.NONE


@pytest.mark.parametrize(("structured", "text", "kept"), [
    (Side.LEFT, "Left pleural effusion.", True), (Side.LEFT, "Pleural effusion on the right.", False),
    (Side.BOTH, "Bilateral pleural effusion and cardiomegaly.", True),
    (Side.LEFT, "Bilateral pleural effusion.", False),
    (Side.BOTH, "Left and right pleural effusion.", True), (Side.LEFT, "Left and right pleural effusion.", False),
    (Side.LEFT, "Left pleural effusion and right pneumothorax.", True),
    (Side.LEFT, "Right lung nodule, left pleural effusion.", True), (Side.LEFT, "Pleural effusion.", True),
    (Side.LEFT, "Left pleural effusion. No right pleural effusion.", True), (Side.LEFT, "", True),
])
def test_a_side_is_withheld_when_the_text_says_another(structured: Side, text: str, kept: bool) -> None:
    scores = triage(effusion=Presence.PRESENT)
    findings = answer(finding("pleural effusion", structured), impression=text)
    found, outcome = line("effusion", scores, findings), ruled(scores, findings)["side_agreement"]
    assert found.side is (structured if kept else Side.NONE)
    assert outcome.verdict is (Verdict.PASS if kept else Verdict.FLAG)
    assert kept or "Pleural effusion: Side withheld: the text says" in outcome.reason


def test_a_finding_without_sides_never_gets_one() -> None:
    found = line("cardiomegaly", triage(cardiomegaly=Presence.PRESENT), answer(finding("cardiomegaly", Side.LEFT)))
    assert (found.side, found.reason) == (Side.NONE, "")


@pytest.mark.parametrize("text", [
    "CT of the chest shows a nodule.", "MRI without abnormality.", "Normal mammogram.", "The knee is unremarkable.",
    "No intracranial haemorrhage.", "Ultrasound shows fluid.", "Axial slices show an effusion.",
])
def test_a_text_about_another_kind_of_image_is_withheld(text: str) -> None:
    outcome = ruled(triage(), answer(impression=text))["modality_words"]
    assert outcome.verdict is Verdict.WITHHOLD


@pytest.mark.parametrize(("text", "verdict"), [
    ("The CT shows a nodule.", Verdict.WITHHOLD), ("Drain the knee.", Verdict.WITHHOLD),
    ("Chest CT.", Verdict.PASS), ("Consider ultrasound.", Verdict.PASS), ("No recommendation.", Verdict.PASS)])
def test_a_recommendation_may_ask_for_another_image_and_not_speak_of_one(text: str, verdict: Verdict) -> None:
    assert ruled(triage(), answer(recommendation=text))["modality_words"].verdict is verdict


@pytest.mark.parametrize("text", [
    "Small left pleural effusion.", "Consider chest CT.", "Further evaluation with CT is recommended.",
    "Cardiothoracic ratio above 0.5.", "Effect of positioning.", "Acute finding.",
])
def test_a_text_about_this_kind_of_image_is_not(text: str) -> None:
    assert ruled(triage(), answer(impression=text))["modality_words"].verdict is Verdict.PASS


def test_an_empty_text_is_withheld() -> None:
    assert ruled(triage(), answer(impression=" \n"))["empty_text"].verdict is Verdict.WITHHOLD


def test_a_sentence_said_three_times_is_withheld() -> None:
    twice, thrice = "Effusion. Effusion. Seen.", "Effusion. effusion.\nEffusion. Seen."
    assert ruled(triage(), answer(impression=twice))["repetition"].verdict is Verdict.PASS
    assert ruled(triage(), answer(impression=thrice))["repetition"].verdict is Verdict.WITHHOLD


@pytest.mark.parametrize(("declined", "rule"), [
    ("test: quality control subject", "test_patient"), ("view LATERAL", "eligibility")])
def test_a_declined_study_is_withheld_with_its_reason(declined: str, rule: str) -> None:
    given_outcomes = ruled(triage(), None, declined=declined)
    assert [each.rule for each in given_outcomes.values() if each.verdict is not Verdict.PASS] == [rule]
    assert guardrails.remarks(given_outcomes.values()) == (declined,)


def test_one_withheld_rule_withholds_the_text_and_a_flag_does_not() -> None:
    def verdicts(*given_verdicts: Verdict) -> Sequence[GuardrailOutcome]:
        return [GuardrailOutcome(rule="r", verdict=verdict, reason=verdict.value) for verdict in given_verdicts]

    assert guardrails.text_withheld(verdicts(Verdict.PASS, Verdict.WITHHOLD))
    assert not guardrails.text_withheld(verdicts(Verdict.PASS, Verdict.FLAG))
    assert guardrails.remarks(verdicts(Verdict.PASS, Verdict.FLAG)) == ("flag",)


def test_an_agreeing_answer_passes_every_rule() -> None:
    scores = triage(effusion=Presence.PRESENT, cardiomegaly=Presence.PRESENT)
    findings = answer(finding("pleural effusion", Side.LEFT), finding("cardiomegaly"),
                      impression="Left pleural effusion and cardiomegaly.", recommendation="Chest CT.")
    assert all(outcome.verdict is Verdict.PASS for outcome in ruled(scores, findings).values())


@given(text=st.text(max_size=200), name=st.text(max_size=40))
def test_any_text_at_all_gets_an_answer(text: str, name: str) -> None:
    scores = triage(effusion=Presence.PRESENT)
    assert list(ruled(scores, answer(finding(name), impression=text, recommendation=text))) == [
        rule.name for rule in (*guardrails.OF_STUDY, *guardrails.OF_ANSWER)]
