"""Decode, triage and rank; and the same scoring early, on one image as it arrives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from node import header, routing, worklist
from node.arrivals import evidence_of
from node.database import insert_ignore, instance, now, reading, score, study
from node.domain import (
    JSON,
    EntryState,
    FindingScore,
    FindingsState,
    Lane,
    OperatingPoint,
    Presence,
    Priority,
    ReportState,
    Side,
    StudyFinding,
    TriageResult,
)
from node.errors import BadInput, ModelUnavailable
from node.interfaces import TriageModel
from node.stages import pictures
from node.stages.desk import Desk, RunRef, RunState, dump, load_run, parse

#: Scores of one image by finding key, with the SOP Instance UID they belong to.
ImageScores = tuple[str, Mapping[str, float]]


def decode(desk: Desk, ref: RunRef) -> JSON:
    """Turn every eligible image into model pixels, once; an image that does not decode is named with its reason."""
    state = load_run(desk.engine, ref)
    eligible = set(state.results["plan"]["eligible"])
    transforms, undecodable = {}, {}
    for found in state.evidence:
        if found.id not in eligible:
            continue
        try:
            image = pictures.prepare(desk.data_dir, found)
        except BadInput as error:
            undecodable[found.sop_instance_uid] = str(error)
            continue
        transforms[str(found.id)] = [dump(type(step), step) for step in image.transforms]
    if not transforms:
        reasons = list(undecodable.values())
        return {"end": True, "reason": reasons[0] if reasons else "no image could be decoded"}
    return {"decoded": sorted(int(key) for key in transforms), "transforms": transforms, "undecodable": undecodable}


def triage(desk: Desk, ref: RunRef) -> JSON:
    """Score every decoded image, reusing what early triage found, and combine them for the study."""
    state = load_run(desk.engine, ref)
    model = _model(desk, state.results["plan"]["prompt_set"])
    found = {found.id: found for found in state.evidence if found.id in state.results["decode"]["decoded"]}
    known = _known(desk, model, found)
    missing = [instance_id for instance_id in found if instance_id not in known]
    if missing:
        images = [pictures.prepare(desk.data_dir, found[instance_id]) for instance_id in missing]
        known |= dict(zip(missing, model.score(images, ref.priority), strict=True))
    result = combine(model, [(found[key].sop_instance_uid, known[key]) for key in sorted(known)])
    return {"triage": dump(TriageResult, result), "scores": {str(key): dict(value) for key, value in known.items()},
            "reused": len(found) - len(missing)}


def early(desk: Desk, arguments: JSON) -> JSON:
    """Score one projection as it arrives; an image that is not eligible is left for completion to explain."""
    with reading(desk.engine) as connection:
        found = evidence_of(connection, [arguments["instance_id"]])[0]
    head = header.read(desk.data_dir / found.path)
    section = routing.pipeline_for([head], [found.calling_ae_title], desk.config.pipelines)
    if section is None:
        return {"end": True, "reason": "no pipeline"}
    eligibility = desk.prompt_sets[section.prompt_set].eligibility
    reason = routing.decline(head, eligibility, desk.today())
    if reason:
        return {"end": True, "reason": reason}
    try:
        image = pictures.prepare(desk.data_dir, found)
    except BadInput as error:
        return {"end": True, "reason": str(error)}
    model = _model(desk, section.prompt_set)
    (scores,) = model.score([image], Priority(arguments["priority"]))
    return {"prompt_set": section.prompt_set, "scores": {str(found.id): scores},
            "model_sha256": model.identity.sha256}


def _model(desk: Desk, prompt_set: str) -> TriageModel:
    model = desk.triage_models.get(prompt_set)
    if model is None:
        raise ModelUnavailable(f"no triage model is loaded for prompt set {prompt_set!r}")
    return model


def _known(desk: Desk, model: TriageModel, found: Iterable[int]) -> dict[int, dict[str, float]]:
    query = sa.select(score.c.instance_id, score.c.scores).where(
        score.c.instance_id.in_(list(found)), score.c.model_sha256 == model.identity.sha256,
        score.c.prompt_set == model.prompt_set.name)
    with reading(desk.engine) as connection:
        return {row.instance_id: row.scores for row in connection.execute(query)}


def combine(model: TriageModel, images: Sequence[ImageScores]) -> TriageResult:
    """One aggregate per finding over the images, with the image that decided it."""
    points = model.operating_points
    return TriageResult(
        model=model.identity, prompt_set=model.prompt_set.name, aggregate=model.prompt_set.aggregate,
        shadow=not points, unvalidated=model.unvalidated,
        scores=tuple(_finding_score(model, finding.key, points.get(finding.key), images)
                     for finding in model.prompt_set.findings))


def _finding_score(
    model: TriageModel, key: str, point: OperatingPoint | None, images: Sequence[ImageScores]
) -> FindingScore:
    finding = next(finding for finding in model.prompt_set.findings if finding.key == key)
    decisive, highest = max(((uid, scores[key]) for uid, scores in images), key=lambda pair: pair[1])
    value = highest
    if model.prompt_set.aggregate == "mean":
        value = sum(scores[key] for _, scores in images) / len(images)
    return FindingScore(
        finding=key, concept=finding.concept, site=finding.site, score=value, operating_point=point,
        presence=point.presence(value) if point else Presence.UNDETERMINED,
        priority=finding.priority, sop_instance_uid=decisive)


def ai_priority(result: TriageResult) -> Priority | None:
    """The most urgent finding that is present; ROUTINE when none is; None in shadow mode."""
    if result.shadow:
        return None
    present = [found.priority for found in result.scores if found.presence is Presence.PRESENT]
    return min(present, default=Priority.ROUTINE)


def decisive_image(result: TriageResult) -> str:
    """SOP Instance UID of the image that decided: of the most urgent present finding, else of the highest score."""
    def rank(found: FindingScore) -> tuple[bool, int, float]:
        return (found.presence is not Presence.PRESENT, int(found.priority), -(found.score or 0.0))
    return min(result.scores, key=rank).sop_instance_uid


def shown(result: TriageResult) -> tuple[StudyFinding, ...]:
    """Triage alone as the worklist shows it, before findings have been looked at."""
    return tuple(
        StudyFinding(
            finding=found.finding, concept=found.concept, site=found.site, presence=found.presence,
            score=found.score, operating_point=found.operating_point, side=Side.NONE, certainty=None, agreed=None,
            sop_instance_uid=found.sop_instance_uid)
        for found in result.scores)


def commit_triage(_desk: Desk, connection: sa.Connection, ref: RunRef, state: RunState, result: JSON) -> None:
    """Keep the scores per image for a later version."""
    triaged: TriageResult = parse(TriageResult, result["triage"])
    uids = {found.id: found.sop_instance_uid for found in state.evidence}
    for key, values in result["scores"].items():
        _keep(connection, ref.study_instance_uid, uids[int(key)], int(key), triaged.model.sha256,
              triaged.prompt_set, values)


def _keep(
    connection: sa.Connection, study_uid: str, sop_uid: str, instance_id: int, model_sha256: str, prompt_set: str,
    values: JSON,
) -> None:
    insert_ignore(connection, score, sop_instance_uid=sop_uid, instance_id=instance_id, model_sha256=model_sha256,
                  prompt_set=prompt_set, study_instance_uid=study_uid, scores=values, scored_at=now())


def rank(desk: Desk, ref: RunRef) -> JSON:
    """The study's place, from triage alone: findings never lower or delay it."""
    state = load_run(desk.engine, ref)
    result: TriageResult = parse(TriageResult, state.results["triage"]["triage"])
    place = None if state.historical else ai_priority(result)
    decisive = decisive_image(result)
    received_at = {found.sop_instance_uid: found.received_at.timestamp() for found in state.evidence}
    return {"ai_priority": None if place is None else int(place), "decisive": decisive,
            "decisive_at": received_at.get(decisive)}


def commit_rank(_desk: Desk, connection: sa.Connection, ref: RunRef, state: RunState, result: JSON) -> None:
    """Confirm the entry. From here on the study has its place."""
    triaged: TriageResult = parse(TriageResult, state.results["triage"]["triage"])
    place = result["ai_priority"]
    worklist.advance(
        connection, ref.study_instance_uid, ref.version, worklist.Phase.RANKED,
        state=EntryState.CONFIRMED, reason="shadow mode: no valid operating points" if triaged.shadow else "",
        ai_priority=None if place is None else Priority(place), findings=shown(triaged),
        findings_state=FindingsState.PENDING, report_state=ReportState.PENDING,
        decisive_at=result["decisive_at"], demo_model=triaged.model.demo)


def commit_early(desk: Desk, connection: sa.Connection, result: JSON) -> None:
    """Keep the score and show a provisional entry, unless the study has its rank already."""
    (key, values), = result["scores"].items()
    found = evidence_of(connection, [int(key)])[0]
    uid = found.study_instance_uid
    # Two images of a study may be scored at once: the second to come here sees the score of the first.
    connection.execute(sa.update(study).where(study.c.study_instance_uid == uid).values(version=study.c.version))
    model = _model(desk, result["prompt_set"])
    _keep(connection, uid, found.sop_instance_uid, found.id, result["model_sha256"], model.prompt_set.name, values)
    booked = connection.execute(sa.select(study).where(study.c.study_instance_uid == uid)).one()
    if booked.lane != Lane.FRESH.value or _is_closed_for_today(desk, booked):
        return
    rows = connection.execute(
        sa.select(score.c.sop_instance_uid, score.c.scores)
        .join(instance, instance.c.id == score.c.instance_id)
        .where(score.c.study_instance_uid == uid, score.c.model_sha256 == result["model_sha256"],
               score.c.prompt_set == model.prompt_set.name, instance.c.evidence)).all()
    if not rows:
        return  # taken out of use while it was scored
    combined = combine(model, [(row.sop_instance_uid, row.scores) for row in rows])
    place = ai_priority(combined)
    # The version being collected, or the one that has begun: its rank, if it came first, is not undone by this.
    version = booked.version + 1 if booked.open else booked.version
    worklist.advance(
        connection, uid, version, worklist.Phase.PROVISIONAL, state=EntryState.PROVISIONAL,
        ai_priority=place, findings=shown(combined), demo_model=model.identity.demo,
        decisive_at=found.received_at.timestamp())


def _is_closed_for_today(desk: Desk, booked: sa.Row[Any]) -> bool:
    """No version can start any more today: the entry of the last one stays as it is."""
    today = datetime.now(UTC).date().isoformat()
    return bool(booked.versions_on == today and booked.versions_today >= desk.config.study.max_versions_per_day)
