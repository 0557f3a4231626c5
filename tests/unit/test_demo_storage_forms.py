"""One drawn picture stored in every lossless way is one picture to the node and to the model."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import JPEGLSLossless

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from node.config import TriageModelSection
from node.demo.evaluate_forms import (
    FORMS,
    OPENJPH_OPTIONS,
    SYNTAXES,
    TARGET,
    USUAL,
    compared,
    scores_by_way,
    table,
    written,
)
from node.demo.forms import Form, Voi
from node.demo.phantom import FINDINGS
from node.images import projection, resized
from node.inference.medsiglip import MedSigLIP
from node.inference.prompt_sets import load_prompt_set
from node.resizing import bilinear

#: Used by no training, calibration, published measurement or acceptance test.
SEED = 6_500_003


#: Of a smaller sample, likewise.
FIRST, COUNT = 6_510_000, 40
SAMPLE = (USUAL, "signed MONOCHROME1", "10 bits", "VOI LUT, signed", "VOI SIGMOID", JPEGLSLossless.name)
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MedSigLIP:
    cache = tmp_path_factory.mktemp("cache")
    return MedSigLIP.load(TriageModelSection(device="cpu"), load_prompt_set("demo-chest"), cache, False)


def test_every_way_to_store_a_picture_scores_the_same(model: MedSigLIP, tmp_path: Path) -> None:
    ways = list(written(SEED, tmp_path / "files"))
    images = [projection(each.file) for each in ways]
    for each, image in zip(ways, images, strict=True):
        quick = resized(each.file, model.takes)
        assert np.array_equal(quick.pixels, bilinear(image.pixels, model.takes)), each.way
        assert quick.transforms == image.transforms, each.way
    scores = np.array([[told[f] for f in FINDINGS] for told in model.score(images)])
    assert {each.way for each in ways} >= {*FORMS, *(syntax.name for syntax in SYNTAXES)}
    for each, image, row in zip(ways, images, scores, strict=True):
        grey = np.abs(image.pixels.astype(int) - images[0].pixels)
        assert grey.max() <= 12 and grey.mean() < 3, each.way  # no VOI: the range is stretched
        assert np.abs(row - scores[0]).max() < 0.05, each.way


@pytest.mark.skipif(shutil.which("ojph_compress") is None, reason="needs OpenJPH (openjph-tools)")
def test_high_throughput_jpeg_2000_of_a_peer_is_read_as_it_was_drawn(tmp_path: Path) -> None:
    ways = list(written(SEED, tmp_path / "files", (USUAL, *(syntax.name for syntax in OPENJPH_OPTIONS))))
    assert len(ways) == 3
    for each in ways:
        assert np.array_equal(projection(each.file).pixels, projection(ways[0].file).pixels), each.way


def test_the_area_under_the_curve_does_not_hang_on_how_a_picture_is_stored(model: MedSigLIP) -> None:
    told = compared(*scores_by_way(model, FIRST, COUNT, SAMPLE))
    assert set(told["ways"]) == set(SAMPLE)
    assert max(each["auc_differs_by"] for each in told["ways"].values()) <= TARGET


def test_the_published_comparison_covers_every_way_and_meets_its_target() -> None:
    told = json.loads((REPOSITORY / "node" / "demo" / "metrics.json").read_text(encoding="utf-8"))["forms"]
    assert set(told["ways"]) >= {*FORMS, *(syntax.name for syntax in (*SYNTAXES, *OPENJPH_OPTIONS))}
    assert max(each["auc_differs_by"] for each in told["ways"].values()) <= TARGET
    assert table(told) in (REPOSITORY / "docs" / "demo-models.md").read_text(encoding="utf-8")


def test_the_difference_of_areas_is_that_of_the_worst_finding() -> None:
    truth = np.array([[True] * 6, [False] * 6, [True] * 6, [False] * 6])
    plain = np.array([[0.9] * 6, [0.1] * 6, [0.8] * 6, [0.2] * 6], np.float32)
    worse = plain.copy()
    worse[3, 2] = 0.85
    told = compared({"plain": plain, "worse": worse}, truth, usual="plain")
    assert told["ways"]["plain"] == {"auc_differs_by": 0.0, "score_differs_by": 0.0}
    assert told["ways"]["worse"] == {"auc_differs_by": 0.25, "score_differs_by": 0.65}


def test_a_signed_form_needs_no_rescaling() -> None:
    assert Form(signed=True, bits_stored=12).shift == 2048
    with pytest.raises(ValueError, match="choose 10 to 16"):
        Form(signed=True, bits_stored=8, voi=Voi.LUT)
