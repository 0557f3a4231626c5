"""One drawn picture stored in every lossless way is one picture to the node and to the model."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from node.config import TriageModelSection
from node.demo.evaluate_forms import FORMS, SYNTAXES, compared, written
from node.demo.forms import Form, Voi
from node.demo.phantom import FINDINGS
from node.images import projection, resized
from node.inference.medsiglip import MedSigLIP
from node.inference.prompt_sets import load_prompt_set
from node.resizing import bilinear

#: Used by no training, calibration, published measurement or acceptance test.
SEED = 6_500_003


def test_every_way_to_store_a_picture_scores_the_same(tmp_path: Path) -> None:
    ways = list(written(SEED, tmp_path / "files"))
    model = MedSigLIP.load(TriageModelSection(device="cpu"), load_prompt_set("demo-chest"), tmp_path / "cache", False)
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
