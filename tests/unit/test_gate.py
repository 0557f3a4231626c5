"""The gate and the review rule: pure decisions over scores."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.domain import (
    CodedConcept,
    FindingScore,
    Gate,
    GateDomain,
    OperatingPoint,
    Presence,
    Priority,
    ReviewRule,
)
from node.inference import gate, review

KINDS = {"chest": "a chest radiograph", "child": "a chest radiograph of a child", "knee": "a knee radiograph",
         "text": "a page of text"}
GATE = Gate(accepted=("chest",), margin=0.0, domains=tuple(
    GateDomain(key=key, name=name, prompts=(key,)) for key, name in KINDS.items()))
FOUND = FindingScore(
    finding="edema", concept=CodedConcept("SCT", "19242006", "Pulmonary edema"), site=CodedConcept("S", "1", "Lung"),
    presence=Presence.PRESENT, score=0.5, operating_point=OperatingPoint(present_above=0.6, absent_below=0.4),
    priority=Priority.HIGH)
RULE = ReviewRule(entropy_above=0.99, margin_below=0.02)


def kinds(**scores: float) -> dict[str, float]:
    return {key: scores.get(key, 0.0) for key in KINDS}


def test_a_picture_of_the_accepted_kind_passes() -> None:
    assert gate.refusal(GATE, kinds(chest=0.6, knee=0.4)) == ""


def test_another_kind_is_named() -> None:
    assert gate.refusal(GATE, kinds(chest=0.1, text=0.8)) == "looks like a page of text, not a chest radiograph"


def test_a_lead_that_is_too_small_is_refused() -> None:
    strict = replace(GATE, margin=0.3)
    assert gate.refusal(strict, kinds(chest=0.6, knee=0.4)) == (
        "looks too much like a knee radiograph to be a chest radiograph")


def test_any_of_the_accepted_kinds_may_lead() -> None:
    both = replace(GATE, accepted=("chest", "child"))
    assert gate.refusal(both, kinds(child=0.6, knee=0.4)) == ""
    assert gate.refusal(both, kinds(knee=1.0)).endswith("not a chest radiograph or a chest radiograph of a child")


def test_without_a_gate_or_scores_the_header_alone_decides() -> None:
    assert gate.refusal(None, {"a": 1.0}) == gate.refusal(GATE, {}) == ""


@pytest.mark.parametrize(("score", "why"), [
    (0.5, "score 0.50 leaves the answer open"), (0.61, "score 0.61 is close to the cut-off 0.60"),
    (0.39, "score 0.39 is close to the cut-off 0.40"), (0.7, ""), (0.0, ""), (1.0, "")])
def test_what_is_close_or_open_requires_human_review(score: float, why: str) -> None:
    assert review.reason(replace(FOUND, score=score), RULE) == why


def test_a_review_is_a_sentence_for_the_reader() -> None:
    assert review.remarks([FOUND], RULE) == (
        "Requires human review: Pulmonary edema, score 0.50 leaves the answer open.",)


def test_without_a_rule_or_evidence_nothing_requires_review() -> None:
    assert review.remarks([FOUND], None) == review.remarks([replace(FOUND, board_only=True)], RULE) == ()


@given(st.floats(0, 1))
def test_entropy_is_between_nothing_and_one_bit_and_the_same_both_ways(score: float) -> None:
    assert 0 <= review.entropy(score) <= 1
    assert review.entropy(score) == pytest.approx(review.entropy(1 - score), abs=1e-9)
