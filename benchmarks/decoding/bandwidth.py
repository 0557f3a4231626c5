"""How many bytes a device moves from its memory at best: large matrices times a vector, and plain copies."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from benchmarks.scoring.ceiling import synchronise

GIGABYTE = 1 << 30


def read_rate(device: torch.device, dtype: torch.dtype, rounds: int) -> float:
    """Bytes per second, the best of some rounds of the best of both ways."""
    size = (4 if device.type == "cuda" else 1) * GIGABYTE
    matrix = torch.ones((size // dtype.itemsize // 4096, 4096), device=device, dtype=dtype)
    vector = torch.ones((4096, 1), device=device, dtype=dtype)
    target = torch.empty_like(matrix)
    ways: list[tuple[float, Callable[[], object]]] = [
        (matrix.nbytes, lambda: matrix @ vector), (2.0 * matrix.nbytes, lambda: target.copy_(matrix))]
    return max(moved / _best(work, device, rounds) for moved, work in ways)


def _best(work: Callable[[], object], device: torch.device, rounds: int) -> float:
    times = []
    for _ in range(rounds + 1):  # the first warms up
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])
