"""What the findings model says of urgency: it may ask a person to look, and moves no study."""

from __future__ import annotations

from node.domain import Priority, Urgency
from node.guardrails.case import Case, Judgement, flagged

REVIEW = "Requires human review: the findings model asks for urgent attention, triage did not raise the study."
SOON = (Urgency.URGENT, Urgency.EMERGENCY)
RAISED = (Priority.STAT, Priority.HIGH)


def urgency(case: Case) -> Judgement:
    """An urgency, or urgent words, where triage raised nothing. The place on the worklist stays as it is."""
    stated = case.findings.urgency if case.findings else None
    asks = stated in SOON or case.words.urgency.search(case.text) is not None
    return flagged(REVIEW if asks and case.ai_priority not in RAISED else "")
