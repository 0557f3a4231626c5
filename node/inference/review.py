"""Requires human review: scores that leave too much open. It is a remark; nobody's place gets lower by it."""

from __future__ import annotations

from collections.abc import Iterable
from math import log2

from node.domain import FindingScore, ReviewRule


def entropy(score: float) -> float:
    """Binary entropy of a score in 0..1, in bits: 1 where it leaves most open, 0 where it is sure."""
    return -sum(part * log2(part) for part in (score, 1 - score) if part > 0)


def reason(found: FindingScore, rule: ReviewRule | None) -> str:
    """Why a person has to look at this finding's score first; '' when nothing says so, or nothing may be said."""
    if rule is None or found.score is None or found.board_only:
        return ""
    if rule.margin_below is not None and (point := found.operating_point) is not None:
        nearest = min((point.present_above, point.absent_below), key=lambda cut: abs(cut - (found.score or 0.0)))
        if abs(found.score - nearest) < rule.margin_below:
            return f"score {found.score:.2f} is close to the cut-off {nearest:.2f}"
    if rule.entropy_above is not None and entropy(found.score) >= rule.entropy_above:
        return f"score {found.score:.2f} leaves the answer open"
    return ""


def remarks(scores: Iterable[FindingScore], rule: ReviewRule | None) -> tuple[str, ...]:
    """One sentence per finding that requires human review."""
    told = ((found.concept.meaning, reason(found, rule)) for found in scores)
    return tuple(f"Requires human review: {meaning}, {why}." for meaning, why in told if why)
