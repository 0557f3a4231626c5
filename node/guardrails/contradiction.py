"""The text says otherwise than the structured answer it came with."""

from __future__ import annotations

from collections.abc import Iterator

from node.domain import Finding, Findings, Presence, StudyFinding
from node.guardrails.case import Case, Judgement, flagged, withheld
from node.guardrails.comparison import means
from node.guardrails.sentences import statements

DENIED = "Text withheld: it denies what the structured answer calls present ({names})."
ALL_NORMAL = "Text withheld: it calls the image normal, the structured answer does not."
ASSERTED = "{names}: present in the text, absent in the structured answer."


def denied_finding(case: Case) -> Judgement:
    """Present in the structure, and wherever the text names it, denied; or a text that calls everything normal."""
    if case.findings is None:
        return withheld("")
    present = list(_structured(case, case.findings, Presence.PRESENT))
    told = {about.finding: _claims(case, about) for about, _ in present}
    denied = [about.concept.meaning for about, _ in present if told[about.finding] == {True}]
    if denied:
        return withheld(DENIED.format(names=", ".join(denied)))
    normal = case.words.normal.search(case.text) and not any(False in claims for claims in told.values())
    return withheld(ALL_NORMAL if present and normal else "")


def asserted_finding(case: Case) -> Judgement:
    """Absent in the structure, and the text says that it is there."""
    if case.findings is None:
        return flagged("")
    told = [about.concept.meaning for about, _ in _structured(case, case.findings, Presence.ABSENT)
            if False in _claims(case, about)]
    return flagged(ASSERTED.format(names=", ".join(told)) if told else "")


def _structured(case: Case, findings: Findings, presence: Presence) -> Iterator[tuple[StudyFinding, Finding]]:
    """Findings of the prompt set with the statement of this presence about them."""
    for about in case.compared:
        for each in findings.findings:
            if each.presence is presence and means(each.finding, about, case.words):
                yield about, each


def _claims(case: Case, about: StudyFinding) -> set[bool]:
    """What the impression says of a finding: {True} where it only denies it, nothing where it is silent."""
    impression = case.findings.impression if case.findings else ""
    return {denied for clause, denied in statements(impression, case.words) if means(clause, about, case.words)}
