"""Whether boxes lie where a score comes from: the findings model beside the heat map of the triage model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from node.domain import Box, Localisation, Relevance

HOTTEST = 0.1
"""Share of the map's cells that counts as its most relevant part: that of the deletion check."""
OVERLAP = 0.5
"""Share of those cells that the boxes have to hold where the single hottest one lies outside."""
LARGEST = 0.5
"""Share of the square that boxes may cover; larger ones hold the hottest cell wherever it is."""


def compared(boxes: Sequence[Box], relevance: Relevance) -> tuple[Localisation, str]:
    """What boxes, in fractions (0..1) of the square, are worth beside a map of it, and why no more."""
    if not relevance.reliable:
        return Localisation.UNCONFIRMED, "the heat map shows no reliable place"
    if sum(box.area for box in boxes) > LARGEST:
        return Localisation.UNCONFIRMED, "the boxes cover more than half of the image"
    cells = relevance.cells
    order = np.argsort(-cells, axis=None, kind="stable")
    hottest = order[:max(1, round(HOTTEST * cells.size))]
    inside = [_is_inside(int(cell), len(cells), boxes) for cell in hottest]
    if inside[0] or sum(inside) >= OVERLAP * len(inside):
        return Localisation.AGREES, ""
    return Localisation.UNCONFIRMED, "the score comes from elsewhere"


def _is_inside(cell: int, side: int, boxes: Sequence[Box]) -> bool:
    row, column = divmod(cell, side)
    return any(box.holds((row + 0.5) / side, (column + 0.5) / side) for box in boxes)
