"""At most so many slices of an acquisition, spread evenly over it."""

from __future__ import annotations

from enum import Enum

from node.images.acquisitions import Acquisition
from node.images.slices import Slice


class SampleRule(Enum):
    """Where the sampled slices lie."""

    ENDS = "ends"  #: the first, the last, and even steps between
    MEDGEMMA = "medgemma"  #: as MedGemma 1.5 was trained and tested: the last, never the first


def sample(acquisition: Acquisition, limit: int, rule: SampleRule = SampleRule.ENDS) -> tuple[Slice, ...]:
    """At most ``limit`` slices in order, all of them where there are not more.

    Raises:
        ValueError: ``limit`` is below 1.
    """
    if limit < 1:
        raise ValueError(f"a sample of {limit} slices: at least 1 is needed")
    slices = acquisition.slices
    if len(slices) <= limit:
        return slices
    return tuple(slices[place] for place in places(len(slices), limit, rule))


def places(count: int, limit: int, rule: SampleRule) -> list[int]:
    """``limit`` rising indices below ``count``; one alone is the middle."""
    if rule is SampleRule.MEDGEMMA:
        return [round(step / limit * (count - 1)) for step in range(1, limit + 1)]
    if limit == 1:
        return [count // 2]
    return [round(step * (count - 1) / (limit - 1)) for step in range(limit)]
