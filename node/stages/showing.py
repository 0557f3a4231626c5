"""Which images of a study the findings model is shown: what its prompt is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from node import header, images, routing
from node.domain import FindingsPrompt, ModelImage, ReceivedInstance, Rendering, Showing
from node.errors import BadInput, NotEvaluable
from node.images import Family, SampleRule
from node.stages import selection
from node.stages.analysis import eligible, scale_of
from node.stages.desk import Desk, RunState
from node.stages.pictures import Key

TONES: Mapping[Rendering, images.Tone] = {
    Rendering.CT_WINDOWS: images.MEDGEMMA_CT, Rendering.ACQUISITION_RANGE: images.MR}


def decisive(state: RunState) -> tuple[list[ReceivedInstance], Key]:
    """The eligible instances, and which image of them decided."""
    ranked, found = state.results["rank"], eligible(state)
    instance = next(one for one in found if one.sop_instance_uid == ranked["decisive"])
    return found, Key(instance.id, ranked["decisive_frame"], ranked.get("decisive_tile", 0))


def shown(desk: Desk, state: RunState, prompt: FindingsPrompt) -> tuple[ModelImage, ...]:
    """The images in the order in which they are shown, each with what its header says of names in the pixels.

    Raises:
        NotEvaluable, Undecodable: the study has not what the prompt is about.
        StorageError: a file cannot be read.
    """
    made = {Showing.VOLUME: _slices, Showing.PATCHES: _patches}.get(prompt.images.shows, _decisive)(desk, state, prompt)
    return tuple(_with_annotation(desk, eligible(state), made))


def current(desk: Desk, state: RunState) -> ModelImage:
    """The decisive image alone. Raises StorageError."""
    found, key = decisive(state)
    image = selection.image(desk.data_dir, found, key, desk.limits, scale_of(state), whole=True)
    (told,) = _with_annotation(desk, found, [image])
    return told


def _decisive(desk: Desk, state: RunState, _prompt: FindingsPrompt) -> list[ModelImage]:
    return [current(desk, state)]


def _slices(desk: Desk, state: RunState, prompt: FindingsPrompt) -> list[ModelImage]:
    """Of the main acquisition, as triage chose it, sampled and rendered as the findings model was trained."""
    paths = _paths(desk, (one for one in eligible(state) if selection.family_of(one) is Family.VOLUME))
    main = images.grouped(paths).main if paths else None
    if main is None:
        raise NotEvaluable(f"prompt {prompt.name!r} is about a volume, and the study has none")
    refused: list[BadInput] = []
    assert prompt.images.rendering is not None
    chosen = images.sample(main, prompt.images.at_most, SampleRule.MEDGEMMA)
    made = list(images.volume(main, chosen, TONES[prompt.images.rendering],
                              failed=lambda _, error: refused.append(error)))
    if not made:
        raise refused[0]
    return made


def _patches(desk: Desk, state: RunState, prompt: FindingsPrompt) -> list[ModelImage]:
    """Of the slide whose tile decided."""
    found, key = decisive(state)
    series = next(one.series_instance_uid for one in found if one.id == key.instance_id)
    levels = [one for one in found
              if one.series_instance_uid == series and selection.family_of(one) is Family.SLIDE]
    if not levels:
        raise NotEvaluable(f"prompt {prompt.name!r} is about a slide, and the study has none")
    return list(images.slide(_paths(desk, levels), microns=prompt.images.microns, patch=prompt.images.patch,
                             most=prompt.images.at_most))


def _paths(desk: Desk, instances: Iterable[ReceivedInstance]) -> list[Path]:
    return [desk.data_dir / one.path for one in instances]


def _with_annotation(
    desk: Desk, instances: Iterable[ReceivedInstance], made: Iterable[ModelImage]
) -> Iterable[ModelImage]:
    paths = {one.sop_instance_uid: desk.data_dir / one.path for one in instances}
    known: dict[str, bool] = {}
    for image in made:
        uid = image.sop_instance_uid
        if uid not in known:
            known[uid] = routing.may_identify(header.read(paths[uid]))
        yield replace(image, may_identify=known[uid])
