"""What the guardrails are told about a study: its answer, its header, its prompt and its place."""

from __future__ import annotations

from collections.abc import Sequence

from node import header
from node.domain import (
    Findings,
    ImageHead,
    Priority,
    PromptSet,
    ReceivedInstance,
    Side,
    StudyFinding,
)
from node.guardrails import Case, Identifiers
from node.stages.desk import Desk, RunState

IMAGED = {"L": Side.LEFT, "R": Side.RIGHT}
"""Image Laterality and Laterality (PS3.3 C.7.6.1, C.7.3.1)."""


def case(
    desk: Desk, state: RunState, decisive: ReceivedInstance, compared: Sequence[StudyFinding], answer: Findings | None
) -> Case:
    """Everything the rules may look at, of the image that decided."""
    prompt_set = desk.prompt_sets[state.results["plan"]["prompt_set"]]
    head = header.read(desk.data_dir / decisive.path)
    return Case(
        words=desk.words, compared=compared, findings=answer, eligibility=prompt_set.eligibility,
        side_known=state.results["findings"].get("side_known", False), imaged_side=_imaged(head, prompt_set),
        prompts=_prompts(desk, state), identifiers=Identifiers.of(head), ai_priority=raised(state))


def raised(state: RunState) -> Priority | None:
    """What triage raised the study to; None when it raised nothing."""
    found = state.results["rank"]["ai_priority"]
    return None if found is None else Priority(found)


def _imaged(head: ImageHead, prompt_set: PromptSet) -> Side:
    """The side that the header names; none where the findings have sides: then both are on the image."""
    both = any(finding.lateralised for finding in prompt_set.findings)
    return Side.NONE if both else IMAGED.get(head.laterality.strip().upper(), Side.NONE)


def _prompts(desk: Desk, state: RunState) -> tuple[str, ...]:
    """What the findings model was told in words."""
    prompt = desk.findings_prompts.get(desk.pipeline(state.results["plan"]["pipeline"]).findings_prompt)
    return tuple(filter(None, (prompt.system, prompt.instruction))) if prompt else ()
