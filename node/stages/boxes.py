"""Boxes of the findings model, set beside the heat map: they agree, or stay unconfirmed."""

from __future__ import annotations

from node.domain import JSON, Localisation, ModelImage, Relevance
from node.errors import DeviceFull, ModelOutputError, ModelServerError, NotAuthorised, Undecodable
from node.images import places
from node.inference import agreement
from node.interfaces import Localiser


def asked(localiser: Localiser, image: ModelImage, name: str, relevance: Relevance) -> JSON:
    """What the model says of the place of one finding: state, reason, who said it, and boxes in the stored frame.

    Each box is [top, left, bottom, right] in pixels of the frame as it was received. A failure is a result.
    """
    try:
        found = localiser.locate(image, name)
    except (DeviceFull, ModelOutputError, ModelServerError, NotAuthorised, Undecodable) as error:
        return _told(localiser, Localisation.FAILED, str(error), [])
    kept = [(box, place) for box in found if (place := places.in_frame(box, image.transforms)) is not None]
    if not kept:
        return _told(localiser, Localisation.FAILED, "boxes: none of them lies in the image", [])
    state, reason = agreement.compared([box for box, _ in kept], relevance)
    return _told(localiser, state, reason, [
        [int(place.top), int(place.left), int(place.bottom), int(place.right)] for _, place in kept])


def _told(localiser: Localiser, state: Localisation, reason: str, boxes: list[list[int]]) -> JSON:
    identity = localiser.identity
    return {"state": state.value, "reason": reason, "boxes": boxes,
            "model": {"name": identity.name, "version": identity.version, "sha256": identity.sha256}}
