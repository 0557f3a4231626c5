"""Early triage: the same scoring on what has arrived so far, before the study is complete."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from node import header, routing, worklist
from node.arrivals import evidence_of
from node.config import PipelineSection
from node.database import instance, now, reading, score, study
from node.domain import JSON, EntryState, ImageHead, ImageScore, InstanceState, Lane, Priority, ReceivedInstance
from node.interfaces import TriageModel
from node.stages import scores, selection
from node.stages.analysis import ScoredImage, ai_priority, combine, decisive_image, refused, shown, triage_model
from node.stages.desk import Desk
from node.stages.scale import Scale
from node.stages.selection import Limits

JUDGED = 3
"""Instances of a series that tell whether any model may look at it."""
COMPLETE, RANKED = "the study is complete", "the study has its rank"


def early(desk: Desk, arguments: JSON) -> JSON:
    """Score an instance as it arrives; one that is not eligible is left for completion to explain.

    Nothing is scored any more when the version that the image belongs to has its rank.
    """
    uid = arguments["study_instance_uid"]
    with reading(desk.engine) as connection:
        if worklist.has_rank(connection, uid, arguments.get("version", 0)):
            return {"end": True, "reason": RANKED}
        found = evidence_of(connection, [arguments["instance_id"]])
    head = header.read(desk.data_dir / found[0].path)
    section = routing.pipeline_for([head], [found[0].calling_ae_title], desk.config.pipelines)
    if section is None:
        return {"end": True, "reason": "no pipeline"}
    eligibility = desk.prompt_sets[section.prompt_set].eligibility
    reason = routing.decline(head, eligibility, desk.today())
    if reason:
        return {"end": True, "reason": reason}
    return _scored(desk, section.prompt_set, found, Priority(arguments["priority"]), desk.limits)


def early_series(desk: Desk, arguments: JSON) -> JSON:
    """Score a few slices of a quiet series; nothing any more when its study is complete."""
    uid = arguments["study_instance_uid"]
    with reading(desk.engine) as connection:
        version = connection.scalars(sa.select(study.c.version).where(study.c.study_instance_uid == uid)).one()
        ids = connection.scalars(sa.select(instance.c.id).where(
            instance.c.study_instance_uid == uid, instance.c.series_instance_uid == arguments["series_instance_uid"],
            instance.c.state == InstanceState.ACCEPTED.value, instance.c.evidence).order_by(instance.c.id)).all()
        found = evidence_of(connection, ids)
    if version != arguments["version"]:
        return {"end": True, "reason": COMPLETE}
    section, reason = _judged(desk, found[:: max(1, len(found) // JUDGED)])
    if section is None or reason:
        return {"end": True, "reason": reason}
    eligibility = desk.prompt_sets[section.prompt_set].eligibility
    eligible = [one for one in found if not routing.decline(_head(desk, one), eligibility, desk.today())]
    return _scored(desk, section.prompt_set, eligible, Priority.HISTORICAL, desk.early_limits)


def _judged(desk: Desk, some: Sequence[ReceivedInstance]) -> tuple[PipelineSection | None, str]:
    """The pipeline for a series, by a few of its instances, or why none of them may be looked at."""
    heads = [_head(desk, one) for one in some]
    section = routing.pipeline_for(heads, [one.calling_ae_title for one in some], desk.config.pipelines)
    if section is None:
        return None, "no pipeline"
    eligibility = desk.prompt_sets[section.prompt_set].eligibility
    reasons = [routing.decline(head, eligibility, desk.today()) for head in heads]
    return section, "" if "" in reasons else reasons[0]


def _head(desk: Desk, found: ReceivedInstance) -> ImageHead:
    return header.read(desk.data_dir / found.path)


def _scored(
    desk: Desk, prompt_set: str, found: Sequence[ReceivedInstance], priority: Priority, limits: Limits
) -> JSON:
    if refusal := desk.refusal(prompt_set):
        return {"end": True, "reason": refusal}
    model, began_at = triage_model(desk, prompt_set), now()
    scale = Scale.of(model)
    selected = selection.select(desk.data_dir, found, limits, scale)
    decoded_at = now()
    if not selected.images:
        return {"end": True, "reason": next(iter(selected.undecodable.values()), "no image")}
    scored = scores.of_images(desk, model, found, selected.images, priority, scale)
    return {"prompt_set": prompt_set, "scores": scored.scores(), "vectors": scored.vectors,
            "model_sha256": model.identity.sha256,
            "times": {"began_at": began_at, "decoded_at": decoded_at, "scored_at": now()}}


def commit_early(desk: Desk, connection: sa.Connection, uid: str, result: JSON) -> None:
    """Keep the scores and show a provisional entry, unless the study has its rank already."""
    # Two images of a study may be scored at once: the second to come here sees the score of the first.
    connection.execute(sa.update(study).where(study.c.study_instance_uid == uid).values(version=study.c.version))
    ids = {int(name.partition(":")[0]) for name in result["scores"]}
    model = triage_model(desk, result["prompt_set"])
    scores.keep(connection, evidence_of(connection, sorted(ids)), result["model_sha256"], model.prompt_set.name, result)
    booked = connection.execute(sa.select(study).where(study.c.study_instance_uid == uid)).one()
    if booked.lane != Lane.FRESH.value or _is_closed_for_today(desk, booked):
        return
    images, received_at = _so_far(connection, model, uid)
    if not images:
        return  # taken out of use while it was scored, or no such picture: completion tells why
    combined = combine(model, images)
    # The version being collected, or the one that has begun: its rank, if it came first, is not undone by this.
    version = booked.version + 1 if booked.open else booked.version
    worklist.advance(
        connection, uid, version, worklist.Phase.PROVISIONAL, state=EntryState.PROVISIONAL,
        ai_priority=ai_priority(combined), findings=shown(combined), demo_model=model.identity.demo,
        decisive_at=received_at[decisive_image(combined).sop_instance_uid], dossier={"images_analysed": len(images)})


def _so_far(
    connection: sa.Connection, model: TriageModel, uid: str
) -> tuple[list[ScoredImage], dict[str, float]]:
    """Every image of the study that was scored, and when each instance was received."""
    rows = connection.execute(
        sa.select(score.c.sop_instance_uid, score.c.frame, score.c.tile, score.c.scores, score.c.gate,
                  instance.c.received_at)
        .join(instance, instance.c.id == score.c.instance_id)
        .where(score.c.study_instance_uid == uid, scores.of_model(model), instance.c.evidence)
        .order_by(score.c.instance_id, score.c.frame, score.c.tile)).all()
    images = [
        ScoredImage(sop_instance_uid=row.sop_instance_uid, frame=row.frame, tile=row.tile,
                    score=ImageScore(scores=row.scores, embedding=b"", gate=row.gate)) for row in rows]
    return [one for one in images if not refused(model, one)], {row.sop_instance_uid: row.received_at for row in rows}


def _is_closed_for_today(desk: Desk, booked: sa.Row[Any]) -> bool:
    """No version can start any more today: the entry of the last one stays as it is."""
    today = datetime.now(UTC).date().isoformat()
    return bool(booked.versions_on == today and booked.versions_today >= desk.config.study.max_versions_per_day)
