"""Earlier studies as the findings model may see them: rendered as the current one is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from node import header, priors, routing
from node.arrivals import evidence_of
from node.database import reading
from node.domain import JSON, ImageHead, ModelImage, Prior, PriorState, ReceivedInstance
from node.errors import BadInput, StorageError
from node.stages import pictures, selection
from node.stages.analysis import scale_of
from node.stages.desk import Desk, RunState

NOT_ASKED = "nobody was asked for an earlier study"
NO_IMAGE = "no image of the earlier study can be shown"


def of_run(desk: Desk, state: RunState) -> tuple[Prior, ...]:
    """Earlier studies of a version, the newest first, each with images; or one that says why there is none.

    Never raises for what an earlier study is like: findings go on without it.
    """
    ref = state.ref
    with reading(desk.engine) as connection:
        row = priors.of_version(connection, ref.study_instance_uid, ref.version)
    if row is None:
        return (Prior(reason=NOT_ASKED),)
    if row.state != PriorState.RECEIVED.value:
        return (Prior(reason=row.reason or f"the question for an earlier study is {row.state}"),)
    found = [_prior(desk, state, told) for told in row.found]
    return tuple(one for one in found if one.images) or (Prior(reason=NO_IMAGE),)


def told(found: Sequence[Prior]) -> JSON:
    """What the later stages know of the earlier studies that were shown: which and when, or why none."""
    return {"studies": [{"study_instance_uid": one.study_instance_uid, "when": one.when.isoformat() if one.when else ""}
                        for one in found if one.images],
            "reason": next((one.reason for one in found if not one.images), "")}


def _prior(desk: Desk, state: RunState, told: JSON) -> Prior:
    with reading(desk.engine) as connection:
        instances = evidence_of(connection, told["instances"])
    return Prior(study_instance_uid=told["study_instance_uid"], when=datetime.fromisoformat(told["when"]),
                 images=tuple(_images(desk, state, instances)))


def _images(desk: Desk, state: RunState, instances: Sequence[ReceivedInstance]) -> Iterator[ModelImage]:
    """Of what this pipeline may look at, the decisive view first; radiographs of other views only where that lacks."""
    heads = _eligible(desk, state, instances)
    shown = [found for found in instances if found.id in heads]
    alike = [found for found in shown if routing.view_of(heads[found.id]) == _view(desk, state)]
    chosen, scale = alike or shown, scale_of(state)
    try:
        keys = list(selection.select(desk.data_dir, chosen, desk.limits, scale).images)[:desk.limits.most]
        for key in keys:
            image = selection.image(desk.data_dir, chosen, key, desk.limits, scale, whole=True)
            yield replace(image, may_identify=routing.may_identify(heads[key.instance_id]))
    except StorageError:
        return
    finally:  # nobody else removes what was decoded for this
        pictures.discard(desk.data_dir, [found.id for found in chosen])


def _eligible(desk: Desk, state: RunState, instances: Sequence[ReceivedInstance]) -> dict[int, ImageHead]:
    eligibility = desk.prompt_sets[state.results["plan"]["prompt_set"]].eligibility
    heads = {found.id: head for found in instances if (head := _head(desk, found)) is not None}
    return {key: head for key, head in heads.items() if not routing.decline(head, eligibility, desk.today())}


def _view(desk: Desk, state: RunState) -> str:
    decisive = state.results["rank"]["decisive"]
    found = next((one for one in state.evidence if one.sop_instance_uid == decisive), None)
    head = _head(desk, found) if found else None
    return routing.view_of(head) if head else ""


def _head(desk: Desk, found: ReceivedInstance) -> ImageHead | None:
    try:
        return header.read(desk.data_dir / found.path)
    except (BadInput, StorageError):
        return None
