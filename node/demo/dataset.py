"""Phantoms as arrays to train and measure on, kept in a cache folder outside the package.

Seeds are disjoint by purpose and all below 10,000,000; higher seeds belong to acceptance and are never drawn here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from node.demo.phantom import FINDINGS, Certainty, Phantom, Side, draw

#: Pixels a side that both models see, and the grid of patches they divide it into.
SIZE = 96
PATCH = 8
GRID = SIZE // PATCH

SIDE_CODE: dict[Side, int] = {"": 0, "right": 1, "left": 2, "both": 3}
CERTAINTY_CODE: dict[Certainty, int] = {"definite": 0, "probable": 1, "possible": 2}


class Split(Enum):
    """First seed of each purpose."""

    #: what the weights see
    TRAIN = 1_000_000
    #: what operating points are chosen on
    CALIBRATION = 2_000_000
    #: what the published numbers are measured on
    HELD_OUT = 3_000_000


@dataclass(frozen=True, kw_only=True)
class Examples:
    """N phantoms; F findings in the order of FINDINGS."""

    images: NDArray[np.uint8]  #: (N, SIZE, SIZE)
    present: NDArray[np.bool_]  #: (N, F)
    sides: NDArray[np.uint8]  #: (N, F), SIDE_CODE
    certainty: NDArray[np.uint8]  #: (N, F), CERTAINTY_CODE
    coverage: NDArray[np.uint8]  #: (N, F, GRID, GRID), share of the patch the finding covers, times 255

    def __len__(self) -> int:
        return len(self.images)


def labels_of(phantom: Phantom) -> tuple[NDArray[np.bool_], NDArray[np.uint8], NDArray[np.uint8]]:
    """Presence, side and certainty codes of a phantom, each (F,)."""
    sides, certainty = np.zeros(len(FINDINGS), np.uint8), np.zeros(len(FINDINGS), np.uint8)
    present = np.zeros(len(FINDINGS), np.bool_)
    for drawn in phantom.findings:
        index = FINDINGS.index(drawn.finding)
        present[index] = True
        sides[index], certainty[index] = SIDE_CODE[drawn.side], CERTAINTY_CODE[drawn.certainty]
    return present, sides, certainty


def _row(seed: int) -> tuple[NDArray[np.generic], ...]:
    phantom = draw(seed, SIZE)
    coverage = np.zeros((len(FINDINGS), GRID, GRID), np.uint8)
    for drawn in phantom.findings:
        patches = drawn.mask.reshape(GRID, PATCH, GRID, PATCH).mean(axis=(1, 3))
        coverage[FINDINGS.index(drawn.finding)] = (patches * 255).astype(np.uint8)
    return (phantom.image * 255).astype(np.uint8), *labels_of(phantom), coverage


def examples(split: Split, count: int, cache: Path, processes: int = 2) -> tuple[Examples, float]:
    """The first `count` phantoms of a split, and the CPU seconds it took to draw them (when they were drawn)."""
    file = cache / f"{split.name.lower()}-{count}-{SIZE}.npz"
    if not file.exists():
        started = time.perf_counter()
        seeds = range(split.value, split.value + count)
        with get_context("spawn").Pool(processes) as pool:
            columns = zip(*pool.imap(_row, seeds, chunksize=250), strict=True)
            images, present, sides, certainty, coverage = map(np.stack, columns)
        cache.mkdir(parents=True, exist_ok=True)
        # Upper bound: the processes may have waited for a core.
        cpu = (time.perf_counter() - started) * processes
        np.savez(
            file,
            cpu_seconds=cpu,
            images=images,
            present=present,
            sides=sides,
            certainty=certainty,
            coverage=coverage,
        )
    with np.load(file) as stored:
        cpu = float(stored["cpu_seconds"])
        return Examples(**{name: stored[name] for name in stored.files if name != "cpu_seconds"}), cpu
