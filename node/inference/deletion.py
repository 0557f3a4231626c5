"""Deletion check: does the score fall when the area a map points at is taken away, and more than anywhere else?

It needs no ground truth, and unmasks maps that look plausible and are not: in a model trained with a pooled loss only,
patch tokens carry global evidence, so that pictures made of them point anywhere. Taking away what a map calls relevant
is the deletion metric of Petsiuk et al. (RISE, BMVC 2018), against areas drawn at random as in Samek et al. (IEEE TNNLS
2017). Here it is a permutation test: a map that has nothing to do with the score is as likely as any of its controls to
have the largest drop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Share of the image that is taken away.
AREA = 0.10
#: Areas elsewhere that the drop has to exceed, every one: an arbitrary map does so once in twenty.
CONTROLS = 19
#: Logits by which it has to exceed the largest of them: the odds fall by a third more.
MARGIN = 0.4
#: And standard deviations of their drops by which it has to exceed their mean.
SPREADS = 3.0
#: Least share of a control that must lie in the picture, padding not counted.
INSIDE = 0.9
#: Largest share of a control that may lie in the area itself, and never its most relevant cell: a control that
#: takes away the finding too is none.
OVERLAP = 0.125

Area = NDArray[np.bool_]
"""Cells of a map's grid (g, g) that are taken away."""
Drops = Callable[[Sequence[Area]], NDArray[np.float64]]
"""What the score loses, in logits, when each of some areas is taken away."""


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """What came out, in logits: ``drop`` has to exceed ``needed``; ``random_drop`` is the mean of the controls.

    ``reliable`` is never true of what is no number.
    """

    drop: float
    needed: float
    random_drop: float
    reliable: bool
    reason: str


def check(relevance: NDArray[np.floating], inside: Area, drops: Drops, seed: int = 0) -> Deletion:
    """Take away the most relevant area of a map (g, g) and as many cells elsewhere, and compare.

    ``inside`` marks the cells that hold picture rather than padding. The controls have the map's own shape,
    moved: scattered cells and one patch of the same size do not harm a score equally.
    """
    top = most_relevant(relevance)
    lost = drops([top, *elsewhere(top, int(relevance.argmax()), inside, np.random.default_rng(seed))])
    drop, others = float(lost[0]), lost[1:]
    needed = max(float(others.max()) + MARGIN, float(others.mean() + SPREADS * others.std(ddof=1)))
    flat = not np.ptp(relevance) > 0
    reliable = not flat and drop > needed
    reason = "" if reliable else _reason(flat, drop, needed)
    return Deletion(drop=drop, needed=needed, random_drop=float(others.mean()), reliable=reliable, reason=reason)


def most_relevant(relevance: NDArray[np.floating]) -> Area:
    """The highest tenth of the cells."""
    count = max(1, round(AREA * relevance.size))
    area = np.zeros(relevance.size, dtype=bool)
    area[np.argsort(-relevance, axis=None, kind="stable")[:count]] = True
    return area.reshape(relevance.shape)


def elsewhere(top: Area, peak: int, inside: Area, random: np.random.Generator) -> list[Area]:
    """The area moved to random places within the picture, away from itself and from its flat index ``peak``.

    Scattered cells of the picture stand in where too few places take it.
    """
    rows, columns = top.shape
    count = int(top.sum())
    areas: list[Area] = []
    for place in random.permutation(rows * columns):
        moved = np.roll(top, divmod(int(place), columns), axis=(0, 1))
        apart = (moved & top).sum() <= OVERLAP * count and not moved.flat[peak]
        if apart and (moved & inside).sum() >= INSIDE * count:
            areas.append(moved)
        if len(areas) == CONTROLS:
            return areas
    return [*areas, *(_scattered(inside & ~top, count, random) for _ in range(CONTROLS - len(areas)))]


def _scattered(free: Area, count: int, random: np.random.Generator) -> Area:
    cells = np.flatnonzero(free)
    area = np.zeros(free.size, dtype=bool)
    area[random.choice(cells, size=min(count, len(cells)), replace=False)] = True
    return area.reshape(free.shape)


def _reason(flat: bool, drop: float, needed: float) -> str:
    if flat:
        return "no reliable localisation: the map is the same everywhere"
    return (
        f"no reliable localisation: without its most relevant {AREA:.0%} the score falls by {drop:.2f} logits, "
        f"expected more than {needed:.2f}, by what {CONTROLS} other areas of the same size cost"
    )
