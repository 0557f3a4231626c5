"""Deletion check: does the score fall when the area a map points at is taken away, and more than elsewhere?

It needs no ground truth, and unmasks maps that look plausible and are not: in a model trained with a pooled loss only,
patch tokens carry global evidence, so that pictures made of them point anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Share of the image that is taken away.
AREA = 0.10
#: Areas elsewhere with which the drop is compared.
RANDOM_AREAS = 8
#: Logits by which the drop must exceed the mean of the random areas: the odds fall by a third more.
MARGIN = 0.4
#: And standard deviations of the random areas' drops by which it must exceed their mean.
SPREADS = 2.0
#: Least share of a random area that must lie in the picture, padding not counted.
INSIDE = 0.9

Area = NDArray[np.bool_]
"""Cells of a map's grid (g, g) that are taken away."""
Drops = Callable[[Sequence[Area]], NDArray[np.float64]]
"""What the score loses, in logits, when each of some areas is taken away."""


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """What came out. ``reliable`` is never true of what is no number."""

    drop: float
    random_drop: float
    reliable: bool
    reason: str


def check(relevance: NDArray[np.floating], inside: Area, drops: Drops, seed: int = 0) -> Deletion:
    """Take away the most relevant area of a map (g, g) and as many cells elsewhere, and compare.

    ``inside`` marks the cells that hold picture rather than padding. The random areas have the map's own shape,
    moved: scattered cells and one patch of the same size do not harm a score equally.
    """
    top = most_relevant(relevance)
    lost = drops([top, *elsewhere(top, inside, np.random.default_rng(seed))])
    drop, others = float(lost[0]), lost[1:]
    expected, spread = float(others.mean()), float(others.std(ddof=1))
    needed = expected + max(MARGIN, SPREADS * spread)
    flat = not np.ptp(relevance) > 0
    reliable = not flat and drop > needed
    reason = "" if reliable else _reason(flat, drop, needed)
    return Deletion(drop=drop, random_drop=expected, reliable=reliable, reason=reason)


def most_relevant(relevance: NDArray[np.floating]) -> Area:
    """The highest tenth of the cells."""
    count = max(1, round(AREA * relevance.size))
    area = np.zeros(relevance.size, dtype=bool)
    area[np.argsort(-relevance, axis=None, kind="stable")[:count]] = True
    return area.reshape(relevance.shape)


def elsewhere(top: Area, inside: Area, random: np.random.Generator) -> list[Area]:
    """The area moved to random places within the picture; scattered cells of the picture where no place takes it."""
    rows, columns = top.shape
    count = int(top.sum())
    areas = []
    for place in random.permutation(rows * columns)[: rows * columns - 1]:
        moved = np.roll(top, divmod(int(place), columns), axis=(0, 1))
        if (moved & inside).sum() >= INSIDE * count and (moved & top).sum() <= count / 2:
            areas.append(moved)
        if len(areas) == RANDOM_AREAS:
            return areas
    return [*areas, *(_scattered(inside, count, random) for _ in range(RANDOM_AREAS - len(areas)))]


def _scattered(inside: Area, count: int, random: np.random.Generator) -> Area:
    cells = np.flatnonzero(inside)
    area = np.zeros(inside.size, dtype=bool)
    area[random.choice(cells, size=min(count, len(cells)), replace=False)] = True
    return area.reshape(inside.shape)


def _reason(flat: bool, drop: float, needed: float) -> str:
    if flat:
        return "no reliable localisation: the map is the same everywhere"
    return (
        f"no reliable localisation: without its most relevant {AREA:.0%} the score falls by {drop:.2f} logits, "
        f"expected more than {needed:.2f} as other areas of the same size cost nearly as much"
    )
