"""What the findings model said beyond findings: second ranks, the run that knew the order, a comparison, urgency.

All of it stands in the dossier, on the node's own board. None of it changes a presence, a score or a place, and its
words pass the same rules as the others before anybody sees them.
"""

from __future__ import annotations

from node import guardrails
from node.domain import (
    JSON,
    Findings,
    FindingsState,
    GuardrailOutcome,
    ReportProfile,
    TriageResult,
    Verdict,
)
from node.stages import guarding
from node.stages.desk import Desk, RunState, dump, parse

ORDER, COMPARISON = "with_order", "comparison"
RANK = "a rank, not a probability"
CONTEXT_ONLY = "Named only when the order was known, not from the images alone; not counted as present: {}."


def outcomes(told: JSON) -> tuple[GuardrailOutcome, ...]:
    """What the rules say of the run that knew the order, where there was one."""
    if "findings" not in told.get(ORDER, {}):
        return ()
    names = told[ORDER]["context_only"]
    return (GuardrailOutcome(rule="context_only", version="1", verdict=Verdict.FLAG if names else Verdict.PASS,
                             reason=CONTEXT_ONLY.format(", ".join(names)) if names else ""),)


def notes(desk: Desk, state: RunState, triaged: TriageResult, answer: Findings | None) -> JSON:
    """What of it the dossier holds; what was not asked is not there. ``answer`` is the first one, None where there is
    none or it is withheld."""
    told = state.results["findings"]
    noted: JSON = {"findings_prompt": told["prompt"]} if "prompt" in told else {}
    if answer is not None:
        noted |= {"urgency": answer.urgency.value} if answer.urgency else {}
        noted |= {"criteria": {name: one.value for name, one in answer.criteria.items()}} if answer.criteria else {}
    if "yes_ranks" in told or "yes_ranks_withheld" in told:
        noted["yes_ranks"] = {"is": RANK, "model_sha256": told["model"]["sha256"],
                              "by_finding": told.get("yes_ranks", {}), "withheld": told.get("yes_ranks_withheld", "")}
    further = {name: told[name] for name in (ORDER, COMPARISON) if name in told}
    return noted | {name: _guarded(desk, state, triaged, one, compares=name == COMPARISON)
                    for name, one in further.items()}


def _guarded(desk: Desk, state: RunState, triaged: TriageResult, told: JSON, *, compares: bool) -> JSON:
    """An answer as far as no rule withholds it; its words only where drafts are shown at all."""
    shown = {name: value for name, value in told.items() if name != "findings"}
    if "findings" not in told:
        return shown
    answer: Findings = parse(Findings, told["findings"])
    _, spoken = guarding.judged(desk, state, triaged, answer, has_prior=compares)
    if compares:  # it lists changes and no findings, so that it cannot disagree with triage
        spoken = tuple(one for one in spoken if one.rule != "disagreement")
    shown["guardrails"] = dump(tuple[GuardrailOutcome, ...], spoken)
    if guardrails.text_withheld(spoken):
        return {**shown, "state": FindingsState.WITHHELD.value}
    drafts = desk.config.profile is ReportProfile.DRAFT_REPORT
    return {
        **shown, "impression": answer.impression if drafts else "",
        "recommendation": answer.recommendation if drafts else "",
        "urgency": answer.urgency.value if answer.urgency else "",
        "findings": {one.finding: one.presence.value for one in answer.findings},
        "changes": {one.finding: one.change.value for one in answer.changes}}
