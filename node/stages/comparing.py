"""Comparison: an earlier image and the current one, shown together. Without an earlier one nothing is asked."""

from __future__ import annotations

from node.domain import JSON, Findings, FindingsState, ModelIdentity
from node.interfaces import FindingsModel
from node.stages import prior_images, showing
from node.stages.answering import UNANSWERED, identity_of, unanswered, withheld
from node.stages.desk import Desk, RunState, dump


def compared(desk: Desk, state: RunState) -> JSON:
    """What became of each finding since the newest earlier study; why nothing is said where there is none.

    Empty where the pipeline asks for no comparison.
    """
    name = desk.pipeline(state.results["plan"]["pipeline"]).comparison_prompt
    if not name:
        return {}
    model = desk.findings_models.get(name)
    if model is None:
        return {"comparison": withheld(desk.unanswerable.get(name, "no findings model is configured"))}
    return {"comparison": _asked(desk, state, model)}


def _asked(desk: Desk, state: RunState, model: FindingsModel) -> JSON:
    found = prior_images.of_run(desk, state)
    newest = found[0]
    if not newest.images:
        return withheld(newest.reason)
    asked = {"model": dump(ModelIdentity, model.identity), "prompt": identity_of(model.prompt),
             "earlier": {**prior_images.told(found[:1])["studies"][0],
                         "sop_instance_uid": newest.images[0].sop_instance_uid}}
    try:  # in time order, as the model was trained
        answer = model.describe([newest.images[0], showing.current(desk, state)])
    except UNANSWERED as error:
        return {**asked, **unanswered(error)}
    return {**asked, "state": FindingsState.DONE.value, "reason": "", "findings": dump(Findings, answer)}
