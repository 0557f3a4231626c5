"""What the guardrails say of an answer, told what they have to know of its study: header, prompt and place."""

from __future__ import annotations

from node import header
from node.domain import (
    Findings,
    FindingsPrompt,
    GuardrailOutcome,
    ImageHead,
    Priority,
    PromptSet,
    Side,
    StudyFinding,
    TriageResult,
)
from node.guardrails import (
    Case,
    Identifiers,
    compare,
    outcomes,
    text_withheld,
    without_answer,
)
from node.stages.analysis import eligible
from node.stages.desk import Desk, RunState

IMAGED = {"L": Side.LEFT, "R": Side.RIGHT}
"""Image Laterality and Laterality (PS3.3 C.7.6.1, C.7.3.1)."""


def judged(
    desk: Desk, state: RunState, triaged: TriageResult, answer: Findings | None, *, has_prior: bool = False
) -> tuple[tuple[StudyFinding, ...], tuple[GuardrailOutcome, ...]]:
    """Triage and an answer side by side, and what every rule says; side and certainty go with a withheld answer.

    ``has_prior`` says that the model saw an earlier study along with this one.
    """
    prompt_set = desk.prompt_sets[state.results["plan"]["prompt_set"]]
    side_known = state.results["findings"].get("side_known", False)
    lateralised = {finding.key: finding.lateralised for finding in prompt_set.findings}
    compared = compare(triaged, answer, desk.words, side_known=side_known, lateralised=lateralised)
    head, prompt = _head(desk, state), _prompt(desk, state, has_prior)
    spoken = outcomes(Case(
        words=desk.words, compared=compared, findings=answer, eligibility=prompt_set.eligibility,
        side_known=side_known, imaged_side=_imaged(head, prompt_set), prompts=_told(prompt),
        language=prompt.language if prompt else "", has_prior=has_prior, identifiers=Identifiers.of(head),
        ai_priority=raised(state)))
    return without_answer(compared) if text_withheld(spoken) else compared, spoken


def raised(state: RunState) -> Priority | None:
    """What triage raised the study to; None when it raised nothing."""
    found = state.results["rank"]["ai_priority"]
    return None if found is None else Priority(found)


def _imaged(head: ImageHead, prompt_set: PromptSet) -> Side:
    """The side that the header names; none where the findings have sides: then both are on the image."""
    both = any(finding.lateralised for finding in prompt_set.findings)
    return Side.NONE if both else IMAGED.get(head.laterality.strip().upper(), Side.NONE)


def _head(desk: Desk, state: RunState) -> ImageHead:
    """Of the image that decided."""
    named = state.results["rank"]["decisive"]
    return header.read(desk.data_dir / next(one.path for one in eligible(state) if one.sop_instance_uid == named))


def _prompt(desk: Desk, state: RunState, compares: bool) -> FindingsPrompt | None:
    section = desk.pipeline(state.results["plan"]["pipeline"])
    return desk.findings_prompts.get(section.comparison_prompt if compares else section.findings_prompt)


def _told(prompt: FindingsPrompt | None) -> tuple[str, ...]:
    """What the findings model was told in words."""
    texts = (prompt.system, prompt.opening, prompt.instruction, prompt.with_order) if prompt else ()
    return tuple(text for text in texts if text)
