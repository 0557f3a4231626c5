"""The triage model's image tower, taught left and right.

Prompts of two sides lie so close together after the first training that the image tower has no reason to keep sides
in the pooled vector. Here every meaning has a fixed direction (node.demo.train_directions) and a finding's sides are
far apart: the tower is trained on towards them, and keeps the region loss so that single patches still match presence.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from node.demo.dataset import SIDE_CODE, Examples
from node.demo.meanings import MEANINGS, Claim, Meaning
from node.demo.phantom import FINDINGS, LATERALISED
from node.demo.train_triage import LATERAL, RegionLoss, augmented, optimizer_of, rate_at

SEED = 11
STEPS = 600
BATCH = 32
PEAK_RATE = 5e-4
SIDE_WEIGHT, REGION_WEIGHT = 0.3, 0.5

Log = Callable[[str], None]


def rows_of(claim: Claim, findings: tuple[str, ...]) -> list[int]:
    """Rows of a claim about some findings in `directions`."""
    return [MEANINGS.index(Meaning(claim, finding)) for finding in findings]


class MeaningLoss(nn.Module):
    """Image vectors against the fixed directions of all that is said without a side, and sides against each other."""

    def __init__(self, directions: Tensor, scale: Tensor, bias: Tensor) -> None:
        super().__init__()
        said = rows_of(Claim.PRESENT, FINDINGS) + rows_of(Claim.ABSENT, FINDINGS) + rows_of(Claim.NORMAL, ("",))
        self.said = directions[said + rows_of(Claim.ABNORMAL, ("",))]
        left, right = rows_of(Claim.LEFT, LATERALISED), rows_of(Claim.RIGHT, LATERALISED)
        self.leftwards = directions[left] - directions[right]
        self.scale, self.bias = scale, bias

    def forward(self, images: Tensor, present: Tensor, sides: Tensor) -> Tensor:
        """Unit vectors (B, D); presence (B, F); side codes (B, F)."""
        healthy = ~present.any(dim=1, keepdim=True)
        truth = torch.cat([present, ~present, healthy, ~healthy], dim=1).float()
        pooled = functional.binary_cross_entropy_with_logits(images @ self.said.T * self.scale + self.bias, truth)
        drawn = sides[:, LATERAL]
        left, right = drawn == SIDE_CODE["left"], drawn == SIDE_CODE["right"]
        lone = left | right
        logits = (images @ self.leftwards.T * self.scale)[lone]
        return pooled + SIDE_WEIGHT * functional.binary_cross_entropy_with_logits(logits, left[lone].float())


def train(model: Any, data: Examples, directions: Tensor, log: Log, steps: int = STEPS) -> float:
    """Train the image tower of `model` on; the text tower stays as it is. Returns the CPU seconds spent."""
    choice, random = np.random.default_rng(SEED), torch.Generator().manual_seed(SEED)
    model.requires_grad_(False)
    model.vision_model.requires_grad_(True)
    model.train()
    region = RegionLoss()
    with torch.no_grad():
        region.scale.fill_(2.8)
    by_meaning = MeaningLoss(directions, model.logit_scale.exp().detach(), model.logit_bias.detach())
    optimizer = optimizer_of([model.vision_model, region], decay=0.02)
    images, present = torch.from_numpy(data.images), torch.from_numpy(data.present)
    sides, coverage = torch.from_numpy(data.sides), torch.from_numpy(data.coverage)
    started = time.process_time()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps, PEAK_RATE, warm_up=40)
        rows = torch.from_numpy(choice.integers(0, len(data), BATCH))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            seen = model.vision_model(pixel_values=augmented(images[rows], random))
            by_region = region(model, seen.last_hidden_state, directions[: len(FINDINGS)], coverage[rows])
        pooled = functional.normalize(seen.pooler_output.float(), dim=-1)
        loss = by_meaning(pooled, present[rows], sides[rows]) + REGION_WEIGHT * by_region
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.vision_model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 99:
            spent = time.process_time() - started
            log(f"sides step {step + 1} cpu {spent:.0f} s loss {loss.item():.3f} region {by_region.item():.3f}")
    return time.process_time() - started
