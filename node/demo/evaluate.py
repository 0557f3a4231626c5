"""How good the demo models are, measured the way they are served: scores, areas under the curve, operating points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from node.demo.phantom import FINDINGS

PROMPTS = Path(__file__).resolve().parents[1] / "inference" / "prompts"
CHECKPOINTS = Path(__file__).resolve().parent / "checkpoints"

Scores = NDArray[np.float32]


def auc(scores: NDArray[Any], truth: NDArray[np.bool_]) -> float:
    """Area under the ROC curve by ranks (Mann-Whitney U); ties count half."""
    _, rank_group, group_size = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(group_size) - (group_size - 1) / 2)[rank_group]
    positives, negatives = int(truth.sum()), int((~truth).sum())
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


@torch.inference_mode()
def text_vectors(model: Any, tokenizer: Any, prompts: Sequence[str]) -> Tensor:
    """L2-normalised embeddings (len(prompts), D)."""
    tokens = tokenizer(list(prompts), padding="max_length", max_length=64, truncation=True, return_tensors="pt")
    return functional.normalize(model.get_text_features(input_ids=tokens["input_ids"]).pooler_output, dim=-1)


@dataclass(frozen=True, kw_only=True)
class PromptVectors:
    """Mean directions of each finding's positive and negative prompts, each (F, D) and normalised."""

    positive: Tensor
    negative: Tensor

    @classmethod
    def of(cls, model: Any, tokenizer: Any, prompt_set: Mapping[str, Any]) -> PromptVectors:
        """The ensembles of a prompt set, in the order of FINDINGS."""
        entries = {entry["key"]: entry for entry in prompt_set["findings"]}
        sides = {}
        for sign in ("positive", "negative"):
            means = [text_vectors(model, tokenizer, entries[f][sign]).mean(dim=0) for f in FINDINGS]
            sides[sign] = functional.normalize(torch.stack(means), dim=-1)
        return cls(positive=sides["positive"], negative=sides["negative"])


def prompt_set(name: str = "demo-chest") -> dict[str, Any]:
    """A shipped prompt set as written."""
    loaded: dict[str, Any] = yaml.safe_load((PROMPTS / f"{name}.yaml").read_text(encoding="utf-8"))
    return loaded


@torch.inference_mode()
def triage_scores(model: Any, vectors: PromptVectors, pixels: Tensor, batch: int = 64) -> Scores:
    """Scores (N, F) in 0..1 of pixels (N, 3, SIZE, SIZE) in -1..1: sigmoid of the scaled difference of cosines."""
    difference = (vectors.positive - vectors.negative).T * model.logit_scale.exp()
    rows = []
    for part in torch.split(pixels, batch):
        image = functional.normalize(model.get_image_features(pixel_values=part).pooler_output, dim=-1)
        rows.append(torch.sigmoid(image @ difference))
    scores: Scores = torch.cat(rows).float().numpy()
    return scores


def to_pixels(images: NDArray[np.uint8]) -> Tensor:
    """uint8 (N, H, W) to the (N, 3, H, W) in -1..1 that both models take."""
    return (torch.from_numpy(images).float() / 127.5 - 1).unsqueeze(1).expand(-1, 3, -1, -1)


def areas(scores: Scores, present: NDArray[np.bool_]) -> dict[str, float]:
    """AUC of every finding."""
    return {f: round(auc(scores[:, i], present[:, i]), 4) for i, f in enumerate(FINDINGS)}


def operating_point(scores: NDArray[Any], truth: NDArray[np.bool_], keep: float = 0.975) -> dict[str, float]:
    """`present_above` leaves `keep` of the negatives below, `absent_below` leaves `keep` of the positives above.

    Where the classes are apart both would cross; the gap between them is then divided in three, so that whatever the
    model was not made for has a place to be undetermined.
    """
    specific = float(np.quantile(scores[~truth], keep))
    sensitive = float(np.quantile(scores[truth], 1 - keep))
    if specific < sensitive:
        third = (sensitive - specific) / 3
        specific, sensitive = specific + 2 * third, specific + third
    return {"present_above": round(specific, 4), "absent_below": round(sensitive, 4)}


def rates(scores: Scores, truth: NDArray[np.bool_], points: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Sensitivity and specificity of "present", and the share left undetermined, for every finding."""
    told = {}
    for i, finding in enumerate(FINDINGS):
        score, sick, point = scores[:, i], truth[:, i], points[finding]
        flagged, between = score > point["present_above"], score >= point["absent_below"]
        told[finding] = {
            "sensitivity": round(float(flagged[sick].mean()), 4),
            "specificity": round(float(1 - flagged[~sick].mean()), 4),
            "missed_as_absent": round(float(1 - between[sick].mean()), 4),
            "undetermined": round(float((between & ~flagged).mean()), 4),
        }
    return told
