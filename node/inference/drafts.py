"""Drafts: tokens that are likely to come next, so that a step can check several at once instead of writing one.

A draft never changes a reply: each token of it is taken only if it is the one that would have been written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

LONGEST_MATCH = 3


def drafted(
    written: Sequence[int], forced: str, most: int, tokens_of: Callable[[str], list[int]]
) -> list[int]:
    """At most ``most`` tokens: what the grammar leaves no choice about, else what followed the same words before."""
    if most <= 0:
        return []
    return (tokens_of(forced) if forced else looked_up(written, most))[:most]


def looked_up(written: Sequence[int], most: int) -> list[int]:
    """What followed the latest occurrence of the last tokens, the longest match first (prompt lookup)."""
    for length in range(min(LONGEST_MATCH, len(written) - 1), 1, -1):
        ending = list(written[-length:])
        for begin in range(len(written) - length - 1, -1, -1):
            if list(written[begin : begin + length]) == ending:
                return list(written[begin + length : begin + length + most])
    return []
