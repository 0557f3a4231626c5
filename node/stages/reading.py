"""Guard: triage and findings side by side, and what the rules let through."""

from __future__ import annotations

import sqlalchemy as sa

from node import guardrails, worklist
from node.domain import (
    DEMO_NOTICE,
    JSON,
    RESEARCH_NOTICE,
    AnalysisResult,
    EvidenceImage,
    Findings,
    FindingsState,
    GuardrailOutcome,
    IntendedUse,
    ModelIdentity,
    Priority,
    ReportProfile,
    TriageResult,
)
from node.inference import review
from node.stages import further_answers, guarding, showing
from node.stages.analysis import evaluated
from node.stages.desk import Desk, RunRef, RunState, dump, load_run, local, parse
from node.stages.pictures import Key

UNVALIDATED_NOTICE = "UNVALIDATED OPERATING POINTS"


def guard(desk: Desk, ref: RunRef) -> JSON:
    """Put triage and findings side by side and let the rules speak; nothing is invented here."""
    state = load_run(desk.engine, ref)
    triaged: TriageResult = parse(TriageResult, state.results["triage"]["triage"])
    told = state.results["findings"]
    answer: Findings | None = parse(Findings, told["findings"]) if "findings" in told else None
    prompt_set = desk.prompt_sets[state.results["plan"]["prompt_set"]]
    compared, outcomes = guarding.judged(desk, state, triaged, answer)
    outcomes += further_answers.outcomes(told)
    withheld = guardrails.text_withheld(outcomes)
    text = answer if answer and not withheld and desk.config.profile is ReportProfile.DRAFT_REPORT else None
    analysis = AnalysisResult(
        study_instance_uid=ref.study_instance_uid, version=ref.version, priority=_place(state),
        findings=compared, evidence=_evidence(state),
        triage_model=triaged.model, findings_model=answer.model if answer else None,
        prompt_set=triaged.prompt_set, aggregate=triaged.aggregate,
        impression=text.impression if text else "", recommendation=text.recommendation if text else "",
        remarks=(*_remarks(state, outcomes), *review.remarks(triaged.scores, prompt_set.review)),
        notices=notices(desk, triaged, answer), started_at=local(state.started_at), unvalidated=triaged.unvalidated)
    answered = FindingsState.WITHHELD if withheld else FindingsState(told["state"])
    return {"analysis": dump(AnalysisResult, analysis), "findings_state": answered.value,
            "guardrails": dump(tuple[GuardrailOutcome, ...], outcomes), "words_sha256": desk.words.sha256,
            "further": further_answers.notes(desk, state, triaged, None if withheld else answer)}


def _place(state: RunState) -> Priority:
    """The study's priority as the report states it: the order's, or the higher one AI found."""
    if state.historical:
        return Priority.HISTORICAL
    found, order = guarding.raised(state), state.study.order_priority
    return order if found is None else Priority.higher(order, found)


def _evidence(state: RunState) -> tuple[EvidenceImage, ...]:
    """Every instance that was shown to a model, with the frame that decided, or else the first that was shown."""
    frames: dict[int, int] = {}
    for key in evaluated(state):
        frames.setdefault(key.instance_id, key.frame)
    _, decisive = showing.decisive(state)
    frames[decisive.instance_id] = decisive.frame
    described = set(state.results["findings"].get("shown", ()))
    for found in state.evidence:
        if found.sop_instance_uid in described:
            frames.setdefault(found.id, 1)
    return tuple(
        EvidenceImage(sop_class_uid=found.sop_class_uid, sop_instance_uid=found.sop_instance_uid,
                      series_instance_uid=found.series_instance_uid, frame=frames[found.id])
        for found in state.evidence if found.id in frames)


def left_out(state: RunState) -> dict[str, str]:
    """Every instance of the study that no answer rests on, by SOP Instance UID, with the reason."""
    used = {key.instance_id for key in evaluated(state)}
    gated = {Key.of(name).instance_id: reason for name, reason in state.results["triage"].get("gated", {}).items()}
    unlike = {found.sop_instance_uid: gated[found.id] for found in state.evidence
              if found.id in gated and found.id not in used}
    return {**state.results["plan"]["declined"], **state.results["decode"]["undecodable"], **unlike}


def _remarks(state: RunState, outcomes: tuple[GuardrailOutcome, ...]) -> tuple[str, ...]:
    remarks = list(state.results["plan"]["remarks"])
    if without := left_out(state):
        reasons = ", ".join(sorted(set(without.values())))
        remarks.append(f"{len(without)} of {len(state.evidence)} images were not evaluated: {reasons}.")
    counted = _counted(state)
    if counted["series_evaluated"] < counted["series"]:
        remarks.append(f"{counted['series_evaluated']} of {counted['series']} series were analysed.")
    remarks += state.results["decode"].get("remarks", [])
    if state.results["findings"]["state"] == FindingsState.FAILED.value:
        remarks.append("The findings model gave no valid answer; triage stands alone.")
    return (*remarks, *guardrails.remarks(outcomes))


def notices(desk: Desk, triaged: TriageResult, answer: Findings | None = None) -> tuple[str, ...]:
    """What is stamped on everything that comes of these answers."""
    stamped = []
    if triaged.model.demo or (answer is not None and answer.model.demo):
        stamped.append(DEMO_NOTICE)
    if desk.config.node.intended_use is IntendedUse.RESEARCH:
        stamped.append(RESEARCH_NOTICE)
    if triaged.unvalidated:
        stamped.append(UNVALIDATED_NOTICE)
    return tuple(stamped)


def spoke_demo(analysis: AnalysisResult) -> bool:
    """True when any of the models that spoke is a demo model."""
    return analysis.triage_model.demo or bool(analysis.findings_model and analysis.findings_model.demo)


def commit_guard(_desk: Desk, connection: sa.Connection, ref: RunRef, state: RunState, result: JSON) -> None:
    """Show sides, text and what the rules said."""
    analysis: AnalysisResult = parse(AnalysisResult, result["analysis"])
    told = state.results["findings"]
    worklist.advance(
        connection, ref.study_instance_uid, ref.version, worklist.Phase.GUARDED,
        findings=analysis.findings, findings_state=FindingsState(result["findings_state"]),
        demo_model=spoke_demo(analysis),
        dossier={
            "impression": analysis.impression, "recommendation": analysis.recommendation,
            "remarks": list(analysis.remarks), "notices": list(analysis.notices),
            "guardrails": result["guardrails"], "words_sha256": result["words_sha256"],
            "findings_reason": told["reason"],
            "triage_model": dump(ModelIdentity, analysis.triage_model),
            "findings_model": told.get("model"), "unvalidated": analysis.unvalidated, **result.get("further", {}),
            "images": {**_counted(state), "decisive": state.results["rank"]["decisive"],
                       "decisive_frame": state.results["rank"]["decisive_frame"],
                       **_place_of_tile(state),
                       "aggregate": analysis.aggregate, "not_evaluated": left_out(state)},
        })


def _place_of_tile(state: RunState) -> JSON:
    """Where a decisive tile lies on its level, in pixels from the upper left; nothing where the image is no tile."""
    _, key = showing.decisive(state)
    steps = state.results["decode"]["transforms"].get(str(key), [])
    told: JSON = next((step["parameters"] for step in steps if step["name"] == "tile"), {})
    if not told:
        return {}
    return {"decisive_tile": {"number": key.tile, **{name: told[name] for name in ("top", "left", "side")}}}


def _counted(state: RunState) -> JSON:
    """How much of what was received the answers rest on; of a multi-frame several images may have been shown."""
    keys = evaluated(state)
    used = {key.instance_id for key in keys}
    return {"received": len(state.evidence), "evaluated": len(keys), "instances_evaluated": len(used),
            "series": len({found.series_instance_uid for found in state.evidence}),
            "series_evaluated": len({found.series_instance_uid for found in state.evidence if found.id in used})}
