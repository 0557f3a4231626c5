"""Decode, triage and rank: from the eligible instances of a study to its place on the worklist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from node import worklist
from node.database import reading
from node.domain import (
    JSON,
    EntryState,
    EvidenceLevel,
    FindingScore,
    FindingsState,
    ImageScore,
    OperatingPoint,
    Presence,
    Priority,
    ReceivedInstance,
    ReportState,
    Side,
    StudyFinding,
    Transform,
    TriageResult,
)
from node.errors import ModelUnavailable
from node.inference import gate
from node.inference.aggregates import aggregated
from node.interfaces import TriageModel
from node.stages import changes, scores, selection
from node.stages.desk import Desk, RunRef, RunState, dump, load_run, parse
from node.stages.pictures import Key
from node.stages.scale import Scale


@dataclass(frozen=True, kw_only=True)
class ScoredImage:
    """What a model said about one image."""

    sop_instance_uid: str
    frame: int
    score: ImageScore
    #: Of a slide; 0 where the image is a frame.
    tile: int = 0


def decode(desk: Desk, ref: RunRef) -> JSON:
    """Turn the eligible instances into a bounded number of images, once; what gives none is named with its reason."""
    state = load_run(desk.engine, ref)
    if refusal := desk.refusal(state.results["plan"]["prompt_set"]):
        return {"end": True, "reason": refusal}
    model = desk.triage_models.get(state.results["plan"]["prompt_set"])
    scale = Scale.of(model) if model else Scale()
    found = selection.select(desk.data_dir, eligible(state), desk.limits, scale)
    if not found.images:
        reasons = list(found.undecodable.values())
        return {"end": True, "reason": reasons[0] if reasons else "no image could be decoded"}
    return {"decoded": [str(key) for key in found.images], "undecodable": found.undecodable,
            "remarks": found.remarks, "scale": dump(Scale, scale),
            "transforms": {str(key): [dump(Transform, step) for step in steps] for key, steps in found.images.items()}}


def triage(desk: Desk, ref: RunRef) -> JSON:
    """Score every decoded image, reusing what early triage found, and combine them for the study."""
    state = load_run(desk.engine, ref)
    if refusal := desk.refusal(state.results["plan"]["prompt_set"]):  # decoded before another worker took over
        return {"end": True, "reason": refusal}
    model = triage_model(desk, state.results["plan"]["prompt_set"])
    transforms = {Key.of(name): parse(tuple[Transform, ...], steps)
                  for name, steps in state.results["decode"]["transforms"].items()}
    scored = scores.of_images(desk, model, eligible(state), transforms, ref.priority, scale_of(state))
    uids = {found.id: found.sop_instance_uid for found in state.evidence}
    images = {key: ScoredImage(sop_instance_uid=uids[key.instance_id], frame=key.frame, tile=key.tile, score=one)
              for key, one in scored.images.items()}
    gated = {str(key): reason for key, one in images.items() if (reason := refused(model, one))}
    seen = [one for key, one in images.items() if str(key) not in gated]
    if not seen:
        return {"end": True, "reason": next(iter(gated.values()), "no image could be scored")}
    result = combine(model, seen)
    return {"triage": dump(TriageResult, result), "scores": scored.scores(), "vectors": scored.vectors,
            "reused": len(scored.images) - len(scored.vectors), "gated": gated}


def scale_of(state: RunState) -> Scale:
    """At which the images of the run were decoded."""
    found: Scale = parse(Scale, state.results["decode"].get("scale", {}))
    return found


def refused(model: TriageModel, one: ScoredImage) -> str:
    """Why nothing may be read from the image's scores, as it looks like something else; '' when it may."""
    return gate.refusal(model.prompt_set.gate, one.score.gate)


def eligible(state: RunState) -> list[ReceivedInstance]:
    """Instances that the plan shows to models."""
    ids = set(state.results["plan"]["eligible"])
    return [found for found in state.evidence if found.id in ids]


def triage_model(desk: Desk, prompt_set: str) -> TriageModel:
    """The model that is loaded for a prompt set. Raises ModelUnavailable."""
    model = desk.triage_models.get(prompt_set)
    if model is None:
        raise ModelUnavailable(f"no triage model is loaded for prompt set {prompt_set!r}")
    return model


def combine(model: TriageModel, images: Sequence[ScoredImage]) -> TriageResult:
    """One aggregate per finding over the images, with the image that decided it."""
    points = _usable_points(model)
    return TriageResult(
        model=model.identity, prompt_set=model.prompt_set.name, aggregate=model.prompt_set.aggregate,
        shadow=not points, unvalidated=model.unvalidated,
        scores=tuple(_finding_score(model, finding.key, points.get(finding.key), images)
                     for finding in model.prompt_set.findings))


def _usable_points(model: TriageModel) -> dict[str, OperatingPoint]:
    """Cut-offs of the findings that anybody has shown the model to see."""
    without = {finding.key for finding in model.prompt_set.findings if finding.evidence is EvidenceLevel.NONE}
    return {key: point for key, point in model.operating_points.items() if key not in without}


def _finding_score(
    model: TriageModel, key: str, point: OperatingPoint | None, images: Sequence[ScoredImage]
) -> FindingScore:
    finding = next(finding for finding in model.prompt_set.findings if finding.key == key)
    decisive = max(images, key=lambda one: one.score.scores[key])
    value = aggregated(model.prompt_set.aggregate, [one.score.scores[key] for one in images])
    return FindingScore(
        finding=key, concept=finding.concept, site=finding.site, score=value, operating_point=point,
        presence=point.presence(value) if point else Presence.UNDETERMINED, priority=finding.priority,
        sop_instance_uid=decisive.sop_instance_uid, frame=decisive.frame, tile=decisive.tile,
        board_only=finding.evidence is EvidenceLevel.NONE, names=finding.names)


def ai_priority(result: TriageResult) -> Priority | None:
    """The most urgent finding that is present; ROUTINE when none is; None in shadow mode."""
    if result.shadow:
        return None
    present = [found.priority for found in result.scores if found.presence is Presence.PRESENT]
    return min(present, default=Priority.ROUTINE)


def decisive_image(result: TriageResult) -> FindingScore:
    """The finding whose image decided, which it names: the most urgent present one, else that of the highest score."""
    def rank(found: FindingScore) -> tuple[bool, int, float]:
        return (found.presence is not Presence.PRESENT, int(found.priority), -(found.score or 0.0))
    return min(result.scores, key=rank)


def shown(result: TriageResult) -> tuple[StudyFinding, ...]:
    """Triage alone as the worklist shows it, before findings have been looked at."""
    return tuple(
        StudyFinding(
            finding=found.finding, concept=found.concept, site=found.site, presence=found.presence,
            score=found.score, operating_point=found.operating_point, side=Side.NONE, certainty=None, agreed=None,
            sop_instance_uid=found.sop_instance_uid, frame=found.frame, tile=found.tile,
            board_only=found.board_only, names=found.names)
        for found in result.scores)


def commit_triage(_desk: Desk, connection: sa.Connection, _ref: RunRef, state: RunState, result: JSON) -> None:
    """Keep scores and vectors per image, for a later version and for search."""
    triaged: TriageResult = parse(TriageResult, result["triage"])
    scores.keep(connection, state.evidence, triaged.model.sha256, triaged.prompt_set, result)


def evaluated(state: RunState) -> list[Key]:
    """The images that the scores of the study rest on."""
    gated = state.results["triage"].get("gated", {})
    return sorted(Key.of(name) for name in state.results["decode"]["decoded"] if name not in gated)


def rank(desk: Desk, ref: RunRef) -> JSON:
    """The study's place, from triage alone: findings never lower or delay it."""
    state = load_run(desk.engine, ref)
    result: TriageResult = parse(TriageResult, state.results["triage"]["triage"])
    place = None if state.historical else ai_priority(result)
    decisive = decisive_image(result)
    with reading(desk.engine) as connection:
        before = worklist.entry(connection, ref.study_instance_uid)
    received_at = {found.sop_instance_uid: found.received_at.timestamp() for found in state.evidence}
    return {"ai_priority": None if place is None else int(place), "decisive": decisive.sop_instance_uid,
            "decisive_frame": decisive.frame, "decisive_tile": decisive.tile, "images": len(evaluated(state)),
            "changed": changes.since_provisional(before, ref.version, place, shown(result)),
            "decisive_at": received_at.get(decisive.sop_instance_uid)}


def commit_rank(_desk: Desk, connection: sa.Connection, ref: RunRef, state: RunState, result: JSON) -> None:
    """Confirm the entry. From here on the study has its place."""
    triaged: TriageResult = parse(TriageResult, state.results["triage"]["triage"])
    place = result["ai_priority"]
    worklist.advance(
        connection, ref.study_instance_uid, ref.version, worklist.Phase.RANKED,
        state=EntryState.CONFIRMED, reason="shadow mode: no valid operating points" if triaged.shadow else "",
        ai_priority=None if place is None else Priority(place), findings=shown(triaged),
        findings_state=FindingsState.PENDING, report_state=ReportState.PENDING,
        decisive_at=result["decisive_at"], demo_model=triaged.model.demo, dossier={
            "images_analysed": result["images"], "changed": result["changed"],
            "decisive_image": _named(result)})


def _named(result: JSON) -> JSON:
    """The decisive image as the dossier names it; its tile only where it is one."""
    named = {"sop_instance_uid": result["decisive"], "frame": result["decisive_frame"]}
    return {**named, "tile": tile} if (tile := result.get("decisive_tile", 0)) else named
