"""What a device multiplies at best: matrices of the shapes of the vision tower's linear layers, nothing around."""

from __future__ import annotations

import statistics
import time

import torch

from benchmarks.scoring.full_size import INNER, TOKENS, WIDTH

SHAPES = ((WIDTH, WIDTH, 4), (WIDTH, INNER, 1), (INNER, WIDTH, 1))
"""Input width, output width, and how many of each a layer has."""


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def flops(device: torch.device, dtype: torch.dtype, images: int, rounds: int) -> float:
    """Operations per second, the median of some rounds, for ``images`` images at once."""
    rows = images * TOKENS
    pairs = [(torch.randn(rows, wide, device=device).to(dtype), torch.randn(wide, out, device=device).to(dtype))
             for wide, out, count in SHAPES for _ in range(count)]
    work = sum(2.0 * left.shape[0] * left.shape[1] * right.shape[1] for left, right in pairs)
    rates = []
    for number in range(rounds + 1):
        synchronise(device)
        start = time.perf_counter()
        for left, right in pairs:
            left @ right
        synchronise(device)
        if number:  # the first warms up
            rates.append(work / (time.perf_counter() - start))
    return statistics.median(rates)
