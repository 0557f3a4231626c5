"""Every rule by its name and version, in the order in which they are asked, and what they say together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from node.domain import GuardrailOutcome, Verdict
from node.guardrails.case import Case, Judgement, withheld
from node.guardrails.comparison import disagreement
from node.guardrails.contradiction import asserted_finding, denied_finding
from node.guardrails.echo import echoed_prompt
from node.guardrails.identity import identifiers
from node.guardrails.language import language_as_asked
from node.guardrails.measurement import impossible_measurement, unmeasured_size
from node.guardrails.prior import comparison_without_prior
from node.guardrails.repetition import repetition
from node.guardrails.side import box_side, imaged_side, side_agreement
from node.guardrails.subject import modality_words
from node.guardrails.template import empty_text, template_text
from node.guardrails.thought import leaked_thought, truncated_text
from node.guardrails.urgency import urgency

TEST = "test:"
"""Reasons that begin so are about patients nobody treats."""


@dataclass(frozen=True)
class Rule:
    """A pure function with a name; its version changes with what it says."""

    name: str
    version: str
    judge: Callable[[Case], Judgement]

    def outcome(self, case: Case) -> GuardrailOutcome:
        """What it says of a case."""
        verdict, reason = self.judge(case)
        return GuardrailOutcome(rule=self.name, version=self.version, verdict=verdict, reason=reason)


def test_patient(case: Case) -> Judgement:
    """A test or quality-control patient."""
    return withheld(case.declined if case.declined.startswith(TEST) else "")


def eligibility(case: Case) -> Judgement:
    """No image was eligible."""
    return withheld("" if case.declined.startswith(TEST) else case.declined)


OF_STUDY = (Rule("test_patient", "1", test_patient), Rule("eligibility", "1", eligibility))

OF_ANSWER = (
    Rule("empty_text", "1", empty_text),
    Rule("leaked_thought", "1", leaked_thought),
    Rule("truncated_text", "1", truncated_text),
    Rule("echoed_prompt", "1", echoed_prompt),
    Rule("template_text", "1", template_text),
    Rule("repetition", "2", repetition),
    Rule("identifiers", "1", identifiers),
    Rule("language_as_asked", "1", language_as_asked),
    Rule("modality_words", "2", modality_words),
    Rule("comparison_without_prior", "1", comparison_without_prior),
    Rule("impossible_measurement", "1", impossible_measurement),
    Rule("unmeasured_size", "1", unmeasured_size),
    Rule("side_agreement", "2", side_agreement),
    Rule("imaged_side", "1", imaged_side),
    Rule("box_side", "1", box_side),
    Rule("denied_finding", "1", denied_finding),
    Rule("asserted_finding", "1", asserted_finding),
    Rule("disagreement", "1", disagreement),
    Rule("urgency", "1", urgency),
)


def outcomes(case: Case) -> tuple[GuardrailOutcome, ...]:
    """What every rule says, in a fixed order; rules over an answer only where there is one."""
    asked = OF_STUDY if case.findings is None else OF_STUDY + OF_ANSWER
    return tuple(rule.outcome(case) for rule in asked)


def text_withheld(given: Iterable[GuardrailOutcome]) -> bool:
    """True when impression and recommendation must not leave the node."""
    return any(outcome.verdict is Verdict.WITHHOLD for outcome in given)


def remarks(given: Iterable[GuardrailOutcome]) -> tuple[str, ...]:
    """The sentences a reader must see."""
    return tuple(outcome.reason for outcome in given if outcome.verdict is not Verdict.PASS)
