"""Findings: what the findings model is asked about a study, and what it says.

What counts comes of a run over the images alone. Header and order are told in a second run only, as quoted data; a
finding that is named there alone is not present.
"""

from __future__ import annotations

from collections.abc import Sequence

from node import header, routing
from node.domain import (
    JSON,
    Findings,
    FindingsState,
    ModelIdentity,
    ModelImage,
    Presence,
    ReportProfile,
)
from node.interfaces import FindingsModel
from node.stages import comparing, showing
from node.stages.answering import UNANSWERED, identity_of, unanswered, withheld
from node.stages.desk import Desk, RunRef, RunState, dump, load_run


def findings(desk: Desk, ref: RunRef) -> JSON:
    """Ask the findings model what the pipeline's prompt asks. A failed answer is a result."""
    state = load_run(desk.engine, ref)
    if desk.config.profile is ReportProfile.TRIAGE_ONLY:
        return withheld("reports.profile is triage_only")
    name = desk.pipeline(state.results["plan"]["pipeline"]).findings_prompt
    model = desk.findings_models.get(name)
    if model is None:
        return withheld(desk.unanswerable.get(name, "no findings model is configured"))
    asked = {"model": dump(ModelIdentity, model.identity), "prompt": identity_of(model.prompt)}
    try:
        seen = showing.shown(desk, state, model.prompt)
        answer = model.describe(seen)
    except UNANSWERED as error:
        return {**asked, **unanswered(error)}
    return {
        **asked, "state": FindingsState.DONE.value, "reason": "", "findings": dump(Findings, answer),
        "side_known": all(image.side_known for image in seen), "images": len(seen),
        "shown": list(dict.fromkeys(image.sop_instance_uid for image in seen)),
        **_likelihoods(model, seen), **_with_order(desk, state, model, seen, answer), **comparing.compared(desk, state)}


def _likelihoods(model: FindingsModel, seen: Sequence[ModelImage]) -> JSON:
    """How likely the model answers yes, per finding: a second rank beside the score of triage."""
    if not model.prompt.yes_no:
        return {}
    try:
        return {"yes_ranks": dict(model.likelihoods(seen))}
    except UNANSWERED as error:
        return {"yes_ranks_withheld": str(error)}


def _with_order(
    desk: Desk, state: RunState, model: FindingsModel, seen: Sequence[ModelImage], alone: Findings
) -> JSON:
    """The second run, in which the model is told what was asked for; nothing of the first is changed by it."""
    if not (desk.config.models.findings.context and model.prompt.with_order):
        return {}
    found, key = showing.decisive(state)
    head = header.read(desk.data_dir / next(one.path for one in found if one.id == key.instance_id))
    order = routing.order_data(head, desk.today())
    if not order.fields:
        return {"with_order": {**withheld("neither age nor sex nor indication is known"), "told": []}}
    try:
        answer = model.describe(seen, order)
    except UNANSWERED as error:
        return {"with_order": {**unanswered(error), "told": list(order.fields)}}
    return {"with_order": {
        "state": FindingsState.DONE.value, "reason": "", "told": list(order.fields),
        "findings": dump(Findings, answer), "context_only": context_only(alone, answer)}}


def context_only(alone: Findings, told: Findings) -> list[str]:
    """Findings that are present only where the model knew the order."""
    seen = {one.finding for one in alone.findings if one.presence is Presence.PRESENT}
    return [one.finding for one in told.findings if one.presence is Presence.PRESENT and one.finding not in seen]
