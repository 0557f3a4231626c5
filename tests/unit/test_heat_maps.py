"""Heat maps of the demo model on chests drawn for nobody else, and the check that hides useless ones."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from node.config import TriageModelSection
from node.demo.phantom import FINDINGS, draw
from node.domain import DEMO_NOTICE, ModelImage, Relevance, RelevanceMethod
from node.errors import ConfigurationError, ModelOutputError, ModelUnavailable, NotEvaluable
from node.images.geometry import square, upright
from node.images.overlay import as_displayed, overlay
from node.inference import checkpoints
from node.inference.deletion import CONTROLS, Area, check, elsewhere, most_relevant
from node.inference.medsiglip import MedSigLIP
from node.inference.preprocessing import model_pixels
from node.inference.prompt_sets import load_prompt_set
from node.inference.saliency import Saliency
from node.inference.torch_runtime import set_threads

#: Used by no training, calibration, published measurement or acceptance test.
SEED = 6_100_000
SIDE, PATCHES = 192, 12
EACH = 10
EVERYWHERE = np.ones((PATCHES, PATCHES), dtype=bool)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MedSigLIP:
    set_threads(1)  # such small batches gain nothing from a second thread
    section = TriageModelSection(device="cpu")
    return MedSigLIP.load(section, load_prompt_set("demo-chest"), tmp_path_factory.mktemp("cache"), False)


def drawn(seed: int, finding: str) -> tuple[ModelImage, NDArray[np.bool_]]:
    phantom = draw(seed, SIDE, [finding])
    grey = (phantom.image * 255).astype(np.uint8)[:, :, None]
    image = ModelImage(pixels=np.repeat(grey, 3, axis=2), sop_class_uid="1.2", sop_instance_uid="1.2.3",
                       series_instance_uid="1.2", side_known=True)
    return image, phantom.findings[0].mask


def points_at(relevance: Relevance, mask: NDArray[np.bool_]) -> bool:
    row, column = np.unravel_index(int(relevance.map.argmax()), relevance.map.shape)
    rows, columns = np.nonzero(mask)
    away = np.maximum(np.abs(rows - row), np.abs(columns - column)).min(initial=SIDE)
    return bool(away <= SIDE / PATCHES / 2)


def test_maps_point_at_findings_larger_than_a_patch(model: MedSigLIP) -> None:
    explainer, pointed, shown = model.explainer(), [], []
    assert explainer.method is RelevanceMethod.SINGLE_TOKEN
    for number, finding in enumerate(FINDINGS * EACH):
        image, mask = drawn(SEED + number, finding)
        if mask.mean() > 1 / PATCHES**2:
            relevance = explainer.explain(image, finding)
            pointed.append(points_at(relevance, mask))
            shown.append(relevance.reliable)
    assert len(pointed) >= 40
    assert np.mean(pointed) >= 0.90
    assert np.mean(shown) >= 0.75


def test_maps_that_are_shuffled_or_moved_fail_the_deletion_check(model: MedSigLIP) -> None:
    random, shuffled, moved = np.random.default_rng(1), [], []
    for number, finding in enumerate(FINDINGS * 3):
        image, _ = drawn(SEED + number, finding)
        direction = model._contrast[:, model._keys.index(finding)]
        saliency = Saliency(model._vision, direction, model_pixels(image, 96, "tf"))
        cells = saliency.single_token()
        mixed = random.permutation(cells.ravel()).reshape(PATCHES, PATCHES)
        shuffled.append(check(mixed, EVERYWHERE, saliency.drops).reliable)
        moved.append(check(np.roll(cells, (6, 6), axis=(0, 1)), EVERYWHERE, saliency.drops).reliable)
    assert np.mean(shuffled) <= 0.06 and np.mean(moved) <= 0.06


def test_a_finding_that_the_score_calls_absent_is_not_localised(model: MedSigLIP) -> None:
    image, _ = drawn(SEED, "effusion")
    relevance = model.explainer().explain(image, "pneumothorax")
    assert not relevance.reliable and "nothing speaks for the finding" in relevance.reason


def test_controls_leave_the_area_and_its_peak_alone() -> None:
    random = np.random.default_rng(3)
    cells = random.normal(size=(PATCHES, PATCHES))
    top, peak = most_relevant(cells), int(cells.argmax())
    controls = elsewhere(top, peak, EVERYWHERE, random)
    assert len(controls) == CONTROLS
    assert not any(area.flat[peak] for area in controls)
    assert max((area & top).sum() for area in controls) <= 14 / 8


def test_one_control_that_costs_as_much_is_enough_to_fail() -> None:
    ramp = np.arange(144.0).reshape(PATCHES, PATCHES)
    drops = np.array([3.0, *[0.1] * (CONTROLS - 1), 2.9])
    assert not check(ramp, EVERYWHERE, lambda areas: drops).reliable
    assert check(ramp, EVERYWHERE, lambda areas: drops - [0, *[0] * (CONTROLS - 1), 2.8]).reliable


def lost(first: float, others: float) -> NDArray[np.float64]:
    return np.array([first, *[others] * CONTROLS])


def test_a_drop_must_exceed_that_of_other_areas_by_a_margin() -> None:
    ramp = np.arange(144.0).reshape(PATCHES, PATCHES)
    assert check(ramp, EVERYWHERE, lambda areas: lost(3.0, 0.1)).reliable
    near = check(ramp, EVERYWHERE, lambda areas: lost(3.0, 2.9))
    assert not near.reliable and near.reason.startswith("no reliable localisation")


@pytest.mark.parametrize(("first", "others"), [(np.nan, 0.0), (3.0, np.nan)])
def test_what_is_no_number_never_passes(first: float, others: float) -> None:
    ramp = np.arange(144.0).reshape(PATCHES, PATCHES)
    assert not check(ramp, EVERYWHERE, lambda areas: lost(first, others)).reliable


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_map_that_is_the_same_everywhere_never_passes(value: float) -> None:
    flat = np.full((PATCHES, PATCHES), value)
    assert not check(flat, EVERYWHERE, lambda areas: lost(9.0, 0.0)).reliable


def test_areas_elsewhere_have_the_same_size_and_avoid_the_padding() -> None:
    inside = EVERYWHERE.copy()
    inside[:, :3] = inside[:, -3:] = False
    seen: list[Area] = []

    def drops(areas: object) -> NDArray[np.float64]:
        seen.extend(areas)  # type: ignore[call-overload]
        return lost(1.0, 0.0)

    check(np.where(inside, np.arange(144.0).reshape(PATCHES, PATCHES), -1.0), inside, drops)
    assert {int(area.sum()) for area in seen} == {14}
    assert min((area & inside).sum() for area in seen) >= 0.9 * 14


@pytest.mark.parametrize("method", [RelevanceMethod.OCCLUSION, RelevanceMethod.GRAD_CAM])
def test_other_methods_find_an_obvious_finding(model: MedSigLIP, method: RelevanceMethod) -> None:
    image, mask = drawn(SEED + 2, "cardiomegaly")
    relevance = model.explainer(method).explain(image, "cardiomegaly")
    assert relevance.map.shape == (SIDE, SIDE) and relevance.map.dtype == np.float32
    assert relevance.method is method and relevance.map[mask].mean() > relevance.map[~mask].mean()


def test_a_model_that_answers_with_no_number_gives_no_map(tmp_path: Path) -> None:
    broken = MedSigLIP.load(TriageModelSection(device="cpu"), load_prompt_set("demo-chest"), tmp_path, False)
    broken._contrast = broken._contrast * float("nan")
    with pytest.raises(ModelOutputError, match="not a number"):
        broken.explainer().explain(drawn(SEED, "edema")[0], "edema")


def test_an_unknown_finding_is_named(model: MedSigLIP) -> None:
    with pytest.raises(ConfigurationError, match="fracture"):
        model.explainer().explain(drawn(SEED, "edema")[0], "fracture")


def test_a_checkpoint_that_states_nothing_is_explained_by_occlusion(tmp_path: Path) -> None:
    told = '{"name": "n", "version": "1", "demo": true%s}'
    (tmp_path / "ainode.json").write_text(told % "")
    assert checkpoints.manifest(tmp_path).explain is RelevanceMethod.OCCLUSION
    (tmp_path / "ainode.json").write_text(told % ', "explain": "guess"')
    with pytest.raises(ModelUnavailable, match="explain = 'guess'"):
        checkpoints.manifest(tmp_path)


@pytest.mark.parametrize("orientation", ["L\\F", "R\\F", "L\\H", "R\\H", "F\\L", "F\\R", "H\\L", "H\\R"])
def test_padding_and_orientation_are_undone(orientation: str) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (5, 8, 3), np.uint8)
    laid, _, orient = upright(stored, orientation.split("\\"))
    padded, pad = square(laid)
    assert np.array_equal(as_displayed(padded, (orient, pad)), stored)


def test_an_overlay_is_the_frame_with_its_caption(model: MedSigLIP) -> None:
    image, _ = drawn(SEED + 1, "pneumothorax")
    relevance = replace(model.explainer().explain(image, "pneumothorax"), reliable=True)
    picture = Image.open(io.BytesIO(overlay(relevance, image, [DEMO_NOTICE])))
    assert picture.format == "PNG" and picture.width == 512 and picture.height == 512 + 3 * 20 + 8


def test_a_map_that_failed_its_check_is_not_drawn(model: MedSigLIP) -> None:
    image, _ = drawn(SEED + 1, "pneumothorax")
    relevance = replace(model.explainer().explain(image, "pneumothorax"), reliable=False, reason="no reliable ...")
    with pytest.raises(NotEvaluable, match="no reliable"):
        overlay(relevance, image)
