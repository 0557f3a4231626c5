"""The shipped demo checkpoints: small, loadable without a network, as good as their documentation says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from transformers import AutoModelForImageTextToText, AutoProcessor, SiglipModel, SiglipTokenizer

from node.demo import vocabulary
from node.demo.dataset import SIZE
from node.demo.evaluate import (
    CHECKPOINTS,
    PROMPTS,
    PromptVectors,
    auc,
    operating_point,
    prompt_set,
    to_pixels,
    triage_scores,
)
from node.demo.evaluate_findings import answers, parsed
from node.demo.evaluate_served import displayed, model_image
from node.demo.phantom import FINDINGS, LATERALISED
from node.demo.phantom_dicom import drawn_dataset
from node.demo.probes import probes
from node.inference.identity import scorer_sha256
from node.inference.prompt_sets import load_prompt_set

TRIAGE, ANSWERS = CHECKPOINTS / "medsiglip-demo", CHECKPOINTS / "medgemma-demo"
METRICS: dict[str, Any] = json.loads((CHECKPOINTS.parent / "metrics.json").read_text(encoding="utf-8"))

#: Seeds that no training, calibration or published measurement has used.
UNSEEN = 5_000_000


def served_pixels(seed: int, findings: list[str]) -> Any:
    """A phantom as the models see it after its way through DICOM."""
    image = model_image(displayed(drawn_dataset(seed, findings=findings)))
    return to_pixels(image[np.newaxis])


@pytest.mark.parametrize("folder", [TRIAGE, ANSWERS], ids=lambda f: f.name)
def test_a_checkpoint_is_at_most_5_megabytes(folder: Path) -> None:
    assert sum(file.stat().st_size for file in folder.rglob("*")) <= 5_000_000


@pytest.mark.parametrize("folder", [TRIAGE, ANSWERS], ids=lambda f: f.name)
def test_a_checkpoint_says_that_it_is_a_demo(folder: Path) -> None:
    told = json.loads((folder / "ainode.json").read_text(encoding="utf-8"))
    assert told["name"] == folder.name
    assert told["demo"] is True
    assert told["intended_use"] == "SYNTHETIC DEMO MODEL, NOT FOR CLINICAL USE"
    assert told["prompt_sets"] == ["demo-chest"]


def test_operating_points_belong_to_the_shipped_scorer() -> None:
    told = json.loads((TRIAGE / "operating_points.json").read_text(encoding="utf-8"))
    assert told["scorer_sha256"] == scorer_sha256(TRIAGE, load_prompt_set("demo-chest").sha256)
    assert set(told["points"]) == set(FINDINGS)
    for point in told["points"].values():
        assert 0 < point["absent_below"] <= point["present_above"] < 1


def test_triage_reaches_its_floors() -> None:
    triage = METRICS["triage"]
    floors = {"consolidation": 0.99, "nodule": 0.97}
    for finding in FINDINGS:
        assert triage["auc"][finding] >= floors.get(finding, 0.995)
        # What the route through DICOM costs.
        assert abs(triage["auc"][finding] - triage["auc_as_drawn_at_training_size"][finding]) < 0.02


def test_findings_reach_their_floors() -> None:
    findings = METRICS["findings"]
    assert findings["valid_json"] >= 0.97
    assert findings["micro_f1"] >= 0.85
    assert findings["side_accuracy"] >= 0.93


def test_training_stayed_within_its_budget() -> None:
    parts = (*METRICS["words"]["training_cpu_seconds"].values(), *METRICS["findings"]["training_cpu_seconds"].values())
    assert METRICS["triage"]["training_cpu_seconds"] + sum(parts) <= 40 * 60


def test_how_a_picture_is_stored_changes_no_area() -> None:
    assert METRICS["forms"]["n"] >= 100
    assert len(METRICS["forms"]["ways"]) >= 20
    for way, told in METRICS["forms"]["ways"].items():
        assert told["auc_differs_by"] <= 0.01, way


def test_the_probe_images_are_drawn_and_told_apart() -> None:
    with np.load(PROMPTS / "demo-chest.probes.npz", allow_pickle=False) as stored:
        pixels, shows = stored["pixels"], stored["shows"].tolist()
    drawn, names = probes()
    assert shows == names
    assert np.abs(pixels.astype(int) - drawn).max() <= 1
    model = SiglipModel.from_pretrained(TRIAGE, dtype="float32").eval()
    vectors = PromptVectors.of(model, SiglipTokenizer.from_pretrained(TRIAGE), prompt_set())
    scores = triage_scores(model, vectors, to_pixels(pixels))
    for i, finding in enumerate(FINDINGS):
        others = [row for row, shown in enumerate(shows) if shown != finding]
        assert scores[shows.index(finding), i] > scores[others, i].max() + 0.3


def test_the_prompt_set_uses_only_phrases_the_model_was_trained_on() -> None:
    told = prompt_set()
    assert [entry["key"] for entry in told["findings"]] == list(FINDINGS)
    for entry in told["findings"]:
        assert set(entry["positive"]) <= set(vocabulary.positive(entry["key"]))
        assert set(entry["negative"]) <= set(vocabulary.negative(entry["key"]))
        has_side = entry["key"] in (*LATERALISED, "edema")  # edema is drawn on both sides, and that is a side
        assert entry["lateralised"] == has_side


def test_the_triage_model_tells_a_drawn_finding_from_none() -> None:
    model = SiglipModel.from_pretrained(TRIAGE, dtype="float32").eval()
    vectors = PromptVectors.of(model, SiglipTokenizer.from_pretrained(TRIAGE), prompt_set())
    healthy = triage_scores(model, vectors, served_pixels(UNSEEN, []))[0]
    for i, finding in enumerate(FINDINGS):
        sick = triage_scores(model, vectors, served_pixels(UNSEEN, [finding]))[0]
        assert sick[i] > healthy[i]


def test_the_triage_processor_makes_images_of_the_trained_size() -> None:
    processor = AutoProcessor.from_pretrained(TRIAGE)
    made = processor(images=np.zeros((50, 40, 3), np.uint8), return_tensors="pt")["pixel_values"]
    assert tuple(made.shape) == (1, 3, SIZE, SIZE)
    assert made.min() == made.max() == -1


def test_the_findings_model_answers_in_the_agreed_shape() -> None:
    model = AutoModelForImageTextToText.from_pretrained(ANSWERS, dtype="float32").eval()
    processor, prompts = AutoProcessor.from_pretrained(ANSWERS), prompt_set("demo-chest-findings")
    pixels = served_pixels(UNSEEN, ["effusion", "cardiomegaly"])
    (text,) = answers(model, processor, prompts["instruction"], pixels, int(prompts["max_new_tokens"]))
    told = parsed(text)
    assert told is not None
    assert {item["finding"] for item in told} == {"pleural effusion", "cardiomegaly"}


def test_no_piece_of_the_answer_holds_both_a_word_and_punctuation() -> None:
    """Else constrained decoding would choose between whole answers instead of words."""
    tokenizer = AutoProcessor.from_pretrained(ANSWERS).tokenizer
    items = [vocabulary.Seen(finding=f, side="left", certainty="definite") for f in FINDINGS]
    for piece in tokenizer.tokenize(vocabulary.answer(items)):
        bare = piece.replace("\u2581", "")
        assert bare.isalpha() or not any(map(str.isalpha, bare)), piece


def test_any_text_survives_the_tokenizer() -> None:
    tokenizer = AutoProcessor.from_pretrained(ANSWERS).tokenizer
    text = 'é {"a": 1}\n 胸部'
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_the_area_under_the_curve_counts_ties_half() -> None:
    truth = np.array([False, False, True, True])
    assert auc(np.array([0.1, 0.2, 0.3, 0.4]), truth) == 1.0
    assert auc(np.array([0.5, 0.5, 0.5, 0.5]), truth) == 0.5
    assert auc(np.array([0.4, 0.3, 0.2, 0.1]), truth) == 0.0


def test_operating_points_never_cross() -> None:
    truth = np.array([False] * 50 + [True] * 50)
    apart = operating_point(np.linspace(0, 1, 100), truth)
    mixed = operating_point(np.tile(np.linspace(0, 1, 50), 2), truth)
    assert 0.4 < apart["absent_below"] < apart["present_above"] < 0.6
    assert mixed["absent_below"] < mixed["present_above"]
