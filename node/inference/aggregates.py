"""One score of a study out of the scores of its images, as the prompt set names it."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nlargest


def aggregated(how: str, scores: Sequence[float]) -> float:
    """``max``, ``mean`` or ``top_K_mean`` (the mean of the K highest; of all, where there are fewer) of 0..1."""
    counted = {"max": 1, "mean": len(scores)}.get(how) or int(how.split("_")[1])
    kept = nlargest(counted, scores)
    return sum(kept) / len(kept)
