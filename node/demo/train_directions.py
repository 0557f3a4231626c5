"""The direction that each meaning has among the image embeddings.

Directions come first, words after: presence and absence keep the directions that image and text tower found together;
the two sides of a finding get a direction of their own; then the towers are trained towards them one by one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from node.demo.dataset import SIDE_CODE
from node.demo.meanings import MEANINGS, Claim, Meaning
from node.demo.phantom import FINDINGS

#: Length of the step to a side, against the unit length of presence.
SIDE_STEP = 0.8


def directions(core: Mapping[Meaning, Tensor], embeddings: Tensor, sides: NDArray[np.uint8]) -> Tensor:
    """Unit directions (len(MEANINGS), D).

    `core` gives unit directions of presence, absence, normal and abnormal; image embeddings (N, D) and side codes
    (N, F) of the same images say where the sides lie.
    """
    rows = []
    for meaning in MEANINGS:
        if meaning in core:
            rows.append(core[meaning])
            continue
        leftwards = towards_left(embeddings, sides[:, FINDINGS.index(meaning.finding)])
        denied = meaning.claim in (Claim.NOT_LEFT, Claim.NOT_RIGHT)
        step = SIDE_STEP if meaning.claim in (Claim.LEFT, Claim.NOT_RIGHT) else -SIDE_STEP
        rows.append(core[Meaning(Claim.ABSENT if denied else Claim.PRESENT, meaning.finding)] + step * leftwards)
    return functional.normalize(torch.stack(rows), dim=-1)


def towards_left(embeddings: Tensor, sides: NDArray[np.uint8]) -> Tensor:
    """The unit direction (D,) along which a logistic regression tells a finding on the left from one on the right."""
    lone = (sides == SIDE_CODE["left"]) | (sides == SIDE_CODE["right"])
    seen, left = embeddings[torch.from_numpy(lone)], torch.from_numpy(sides[lone] == SIDE_CODE["left"]).float()
    direction = torch.zeros(embeddings.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([direction], max_iter=200)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(20 * (seen @ direction), left)
        penalised = loss + 1e-3 * direction.square().sum()
        torch.autograd.backward(penalised)
        return penalised

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return functional.normalize(direction.detach(), dim=0)
