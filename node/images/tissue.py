"""Where on a slide the tissue is: coloured where the glass is not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from node.images.colour import Pixels

LEAST_CHROMA = 12
"""Grey levels between the strongest and the weakest colour, below which stained tissue is never looked for."""
MOST_CHROMA = 48
"""A cut above this would take only the darkest nuclei."""


def chroma(pixels: Pixels) -> NDArray[np.uint8]:
    """Strongest less weakest colour of each pixel: 0 on glass, pen and padding, high on stain."""
    found: NDArray[np.uint8] = pixels.max(axis=2) - pixels.min(axis=2)
    return found


def cut_of(levels: NDArray[np.uint8]) -> int:
    """Otsu's threshold of eight bit values, kept within what stain can be; tissue lies above it."""
    counts = np.bincount(levels.reshape(-1), minlength=256).astype(np.float64)
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * np.arange(256))
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return int(np.clip(np.nanargmax(np.nan_to_num(between)), LEAST_CHROMA, MOST_CHROMA))


def mask_of(pixels: Pixels) -> NDArray[np.bool_]:
    """True on tissue, shape (rows, columns)."""
    found = chroma(pixels)
    mask: NDArray[np.bool_] = found > cut_of(found)
    return mask


def shares(
    mask: NDArray[np.bool_], tops: NDArray[np.int64], lefts: NDArray[np.int64], side: int, rows: int, columns: int
) -> NDArray[np.float64]:
    """Share of tissue, 0..1, in each square of ``side`` pixels of a level of ``rows`` by ``columns``."""
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), dtype=np.int64)
    sums[1:, 1:] = mask.cumsum(axis=0).cumsum(axis=1)
    first_row, last_row = _span(tops, side, rows, mask.shape[0])
    first_column, last_column = _span(lefts, side, columns, mask.shape[1])
    tissue = (sums[last_row, last_column] - sums[first_row, last_column]
              - sums[last_row, first_column] + sums[first_row, first_column])
    found: NDArray[np.float64] = tissue / ((last_row - first_row) * (last_column - first_column))
    return found


def _span(
    starts: NDArray[np.int64], side: int, length: int, cells: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last cell, the last outside, that a stretch of a level covers on the mask; at least one."""
    first = np.minimum(starts * cells // length, cells - 1)
    last = np.minimum(-(-np.minimum(starts + side, length) * cells // length), cells)
    return first, np.maximum(last, first + 1)
