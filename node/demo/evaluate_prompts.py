"""How well the triage model takes wordings it was never trained on, and whether it knows left from right."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from node.demo import vocabulary
from node.demo.dataset import SIDE_CODE, Examples
from node.demo.evaluate import auc, text_vectors, to_pixels
from node.demo.phantom import FINDINGS, LATERALISED
from node.demo.phrases import HELD_OUT_NAMES, HELD_OUT_PAIRS, HELD_OUT_SIDED, Pair

#: As the documentation of MedSigLIP asks, and a plain pair of trained frames.
KNOWN_PAIRS = (
    Pair(positive="{} present", negative="normal x-ray"),
    Pair(positive="there is {}", negative="there is no {}"),
)


@torch.inference_mode()
def image_vectors(model: Any, images: NDArray[np.uint8], batch: int = 64) -> Tensor:
    """L2-normalised embeddings (N, D) of uint8 images (N, SIZE, SIZE)."""
    parts = (to_pixels(images[start : start + batch]) for start in range(0, len(images), batch))
    pooled = torch.cat([model.get_image_features(pixel_values=part).pooler_output for part in parts])
    return functional.normalize(pooled, dim=-1)


def contrast(model: Any, tokenizer: Any, images: Tensor, pair: Pair, name: str) -> NDArray[np.float32]:
    """Cosine to the affirming prompt less cosine to the denying one, (N,)."""
    affirmed, denied = text_vectors(model, tokenizer, [pair.positive.format(name), pair.negative.format(name)])
    difference: NDArray[np.float32] = (images @ (affirmed - denied)).numpy()
    return difference


def paraphrases(model: Any, tokenizer: Any, images: Tensor, present: NDArray[np.bool_]) -> dict[str, Any]:
    """AUC per finding of every pair of frames, each with one prompt a side; and of held-out names in known frames."""

    def areas(pair: Pair, chosen: dict[str, str]) -> dict[str, float]:
        return {
            f: round(auc(contrast(model, tokenizer, images, pair, chosen[f]), present[:, i]), 4)
            for i, f in enumerate(FINDINGS)
        }

    usual = {f: vocabulary.NAMES[f][0] for f in FINDINGS}
    pairs = {f"{p.positive} / {p.negative}": areas(p, usual) for p in (*KNOWN_PAIRS, *HELD_OUT_PAIRS)}
    known = [f"{p.positive} / {p.negative}" for p in KNOWN_PAIRS]
    plain, unseen = KNOWN_PAIRS[1], HELD_OUT_PAIRS[0]
    renamed = {
        name: round(auc(contrast(model, tokenizer, images, plain, name), present[:, i]), 4)
        for i, f in enumerate(FINDINGS)
        for name in HELD_OUT_NAMES[f]
    }
    both = areas(unseen, {f: HELD_OUT_NAMES[f][0] for f in FINDINGS})
    return {
        "known_pairs": {key: pairs[key] for key in known},
        "held_out_pairs": {key: told for key, told in pairs.items() if key not in known},
        "held_out_names": renamed,
        "held_out_pair_and_name": both,
    }


def sides(model: Any, tokenizer: Any, images: Tensor, truth: Examples) -> dict[str, Any]:
    """Share of the findings drawn on one side whose side the prompts "left" and "right" tell, by frame and finding."""
    told: dict[str, Any] = {}
    for frame in (*vocabulary.SIDED, *HELD_OUT_SIDED):
        told[frame] = {f: _side_accuracy(model, tokenizer, images, truth, frame, f) for f in LATERALISED}
    return {
        "trained_frames": {frame: told[frame] for frame in vocabulary.SIDED},
        "held_out_frames": {frame: told[frame] for frame in HELD_OUT_SIDED},
    }


def _side_accuracy(model: Any, tokenizer: Any, images: Tensor, truth: Examples, frame: str, finding: str) -> float:
    name, side = vocabulary.NAMES[finding][0], truth.sides[:, FINDINGS.index(finding)]
    pair = Pair(positive=frame.format(side="left", name=name), negative=frame.format(side="right", name=name))
    lone = (side == SIDE_CODE["left"]) | (side == SIDE_CODE["right"])
    leftwards = contrast(model, tokenizer, images, pair, name)[lone]
    return round(float(((leftwards > 0) == (side[lone] == SIDE_CODE["left"])).mean()), 4)
