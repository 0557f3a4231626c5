"""Localise: where in its decisive image the score of each flagged finding comes from, where that can be told.

It stands beside the sequence: nothing waits for it, and whatever becomes of it changes no flag and no report.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import replace

import sqlalchemy as sa

from node import header, heat_maps, routing
from node.database import reading
from node.domain import (
    JSON,
    FindingScore,
    HeatMapState,
    ModelIdentity,
    ModelImage,
    Presence,
    Priority,
    Relevance,
    RelevanceMethod,
    ReportProfile,
    TriageResult,
)
from node.errors import DeviceFull, ModelOutputError, Undecodable
from node.heat_maps import View
from node.images import overlay
from node.interfaces import Explainer
from node.stages import boxes, pictures, selection
from node.stages.analysis import eligible, scale_of, triage_model
from node.stages.desk import Desk, RunRef, RunState, dump, load_run, parse
from node.stages.pictures import Key
from node.stages.reading import notices

PRIORITY = int(Priority.HISTORICAL) + 5
"""Behind everything else that a worker does."""

TOLD = ("state", "method", "deletion_drop", "needed_drop", "localisation")
"""What the audit trail keeps of a map."""


def book(desk: Desk, connection: sa.Connection, ref: RunRef, state: RunState) -> bool:
    """Say of which findings a map is to be made; False where of none. It raises nothing: the flag is in this commit."""
    triaged: TriageResult = parse(TriageResult, state.results["triage"]["triage"])
    model = desk.triage_models.get(state.results["plan"]["prompt_set"])
    explainer = model.explainer() if model else None
    if explainer is None or desk.config.profile is ReportProfile.TRIAGE_ONLY:
        return False
    ids = {one.sop_instance_uid: one.id for one in eligible(state)}
    wanted = [found for found in triaged.scores if _is_wanted(found, explainer.method)]
    for found in wanted:
        heat_maps.book(
            connection, ref.study_instance_uid, ref.version, found.finding, instance_id=ids[found.sop_instance_uid],
            sop_instance_uid=found.sop_instance_uid, frame=found.frame, model=dump(ModelIdentity, triaged.model))
    return bool(wanted)


def _is_wanted(found: FindingScore, method: RelevanceMethod) -> bool:
    """What is present; what lies between its cut-offs only where a map takes few passes."""
    if found.presence is Presence.UNDETERMINED:
        return found.operating_point is not None and method is not RelevanceMethod.OCCLUSION
    return found.presence is Presence.PRESENT


def localise(desk: Desk, ref: RunRef) -> JSON:
    """Make the booked maps, check them and keep their pictures. A repeat writes the same pictures again."""
    state = load_run(desk.engine, ref)
    if state.study.version > ref.version:
        return {"maps": [], "reason": f"version {state.study.version} has begun"}
    triaged: TriageResult = parse(TriageResult, state.results["triage"]["triage"])
    explainer = triage_model(desk, state.results["plan"]["prompt_set"]).explainer()
    if explainer is None or explainer.identity.sha256 != triaged.model.sha256:
        return {"maps": [], "reason": "the model that gave the score is not loaded any more"}
    with reading(desk.engine) as connection:
        booked = heat_maps.of_version(connection, ref.study_instance_uid, ref.version)
    tiles = {found.finding: found.tile for found in triaged.scores}
    maps = list(_maps(desk, state, explainer, [(row, tiles[row.finding]) for row in booked], notices(desk, triaged)))
    if state.ended:  # nobody else removes what was decoded again for this
        pictures.discard(desk.data_dir, [found.id for found in state.evidence])
    return {"maps": maps, "reason": "", "model_sha256": triaged.model.sha256}


def _maps(
    desk: Desk, state: RunState, explainer: Explainer, booked: Sequence[tuple[heat_maps.Row, int]],
    stamps: tuple[str, ...],
) -> Iterator[JSON]:
    for row, tile in booked:
        key = Key(row.instance_id, row.frame, tile)
        image = selection.image(desk.data_dir, eligible(state), key, desk.limits, scale_of(state), whole=True)
        try:
            relevance = explainer.explain(image, row.finding)
        except (ModelOutputError, Undecodable, DeviceFull) as error:
            yield {"finding": row.finding, "state": HeatMapState.FAILED.value, "reason": str(error)}
            continue
        for view, png in _drawn(relevance, image, stamps):
            path = heat_maps.place(desk.data_dir, row.version, row.instance_id, row.frame, row.finding, view)
            heat_maps.keep(path, png)
        yield _told(relevance) | _boxes(desk, state, image, relevance)


def _boxes(desk: Desk, state: RunState, image: ModelImage, relevance: Relevance) -> JSON:
    """Where the findings model says that a present finding is; nothing where it cannot give boxes."""
    triaged: TriageResult = parse(TriageResult, state.results["triage"]["triage"])
    found = next(one for one in triaged.scores if one.finding == relevance.finding)
    if desk.localiser is None or found.presence is not Presence.PRESENT:
        return {}
    path = next(one.path for one in state.evidence if one.sop_instance_uid == image.sop_instance_uid)
    shown = replace(image, may_identify=routing.may_identify(header.read(desk.data_dir / path)))
    return {"localisation": boxes.asked(desk.localiser, shown, found.names.get("en") or found.concept.meaning,
                                        relevance)}


def _drawn(relevance: Relevance, image: ModelImage, stamps: tuple[str, ...]) -> Iterator[tuple[View, bytes]]:
    yield View.SEEN, overlay.seen(image, stamps)
    yield View.FRAME, overlay.frame(image, stamps)
    if relevance.reliable:
        yield View.OVERLAY, overlay.overlay(relevance, image, stamps)


def _told(relevance: Relevance) -> JSON:
    state = HeatMapState.RELIABLE if relevance.reliable else HeatMapState.UNRELIABLE
    return {
        "finding": relevance.finding, "state": state.value, "reason": relevance.reason,
        "method": relevance.method.value, "deletion_drop": relevance.deletion_drop,
        "needed_drop": relevance.needed_drop,
        "cells": base64.b64encode(relevance.cells.astype("<f4").tobytes()).decode()}


def give_up(connection: sa.Connection, ref: RunRef, reason: str) -> None:
    """None could be made."""
    heat_maps.give_up(connection, ref.study_instance_uid, ref.version, reason)


def commit_localise(connection: sa.Connection, ref: RunRef, result: JSON) -> None:
    """Keep what came of each map."""
    for told in result["maps"]:
        heat_maps.settle(connection, ref.study_instance_uid, ref.version, told)
    give_up(connection, ref, result["reason"])
