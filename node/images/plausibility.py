"""Whether the pixels of a radiograph can be one at all: cheap looks before any model, on a sample of the pixels.

The thresholds are far from every real and every drawn radiograph that was tried (tests/unit/test_plausibility.py);
what is close to one of them is a radiograph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.errors import NotEvaluable

SAMPLE = 512
"""At most about so many rows and columns are looked at."""
SMALLEST = 64
"""Rows and columns from which there is enough to judge by."""
BLANK_SHARE = 0.005
"""Blank: 99 % of the stored values lie within this share of the range of Bits Stored."""
DARK, BRIGHT = 40, 215
"""Between them are the middle grey levels, in 0..255 as displayed; a radiograph is mostly there."""
PAGE_MIDDLE, PAGE_PAPER, PAGE_INK = 0.2, 0.5, 0.02
"""A page: at most this share is middle grey, at least so much is paper, and at least so much is ink."""
CUT_OFF_SHARE = 0.9
"""Exposure cut off: from this share on of the pixels are black or white to the very end."""
WIDEST_COUNT = 1 << 17
BORDER_CONTRAST = 16
"""A row or column with less contrast is border: collimator, margin."""


def require_radiograph(stored: NDArray[Any], displayed: NDArray[np.uint8], bits_stored: int) -> None:
    """Refuse a blank image, a page and an exposure that is cut off. Both arrays (rows, columns, ...) are one image.

    Raises:
        NotEvaluable: with what it looks like, and the numbers.
    """
    if stored.ndim == 2 and is_judged(stored.shape):
        judge(sampled(stored), sampled(displayed[..., 0] if displayed.ndim > 2 else displayed), bits_stored)


def is_judged(shape: Sequence[int]) -> bool:
    """Whether an image of so many rows and columns is large enough."""
    return min(shape) >= SMALLEST


def sampled(pixels: NDArray[Any]) -> NDArray[Any]:
    """What is looked at of (rows, columns)."""
    rows, columns = (max(1, size // SAMPLE) for size in pixels.shape)
    return pixels[::rows, ::columns]


def judge(stored: NDArray[Any], displayed: NDArray[np.uint8], bits_stored: int) -> None:
    """As :func:`require_radiograph`, of what :func:`sampled` gives. Raises NotEvaluable."""
    low, high = _percentiles(stored, (0.5, 99.5))
    if high - low <= max(1.0, BLANK_SHARE * 2**bits_stored):
        raise NotEvaluable(f"blank image: 99 % of its values lie between {low:g} and {high:g}")
    inside = _inside(displayed)
    dark, bright = float((inside < DARK).mean()), float((inside > BRIGHT).mean())
    middle = 1 - dark - bright
    if middle <= PAGE_MIDDLE and max(dark, bright) >= PAGE_PAPER and min(dark, bright) >= PAGE_INK:
        raise NotEvaluable(f"looks like a page or a screen of text: {middle:.0%} of it is grey")
    cut_off = float(((inside <= 2) | (inside >= 253)).mean())
    if cut_off >= CUT_OFF_SHARE:
        raise NotEvaluable(f"exposure is cut off: {cut_off:.0%} of it is entirely black or white")


def _percentiles(values: NDArray[Any], wanted: Sequence[float]) -> list[float]:
    """As ``np.percentile``; whole numbers close together are counted, which is several times as quick."""
    low, high = values.min(), values.max()
    if values.dtype.kind == "f" or int(high) - int(low) >= WIDEST_COUNT:
        return [float(found) for found in np.percentile(values, wanted)]
    below = np.bincount((values.astype(np.int64) - int(low)).ravel()).cumsum()
    places = [percent / 100 * (values.size - 1) for percent in wanted]
    return [_between(below, place) + int(low) for place in places]


def _between(below: NDArray[np.int64], place: float) -> float:
    """The value at a place, from 0, among values in rising order; ``below`` counts those up to each value."""
    first, second = below.searchsorted([int(place), int(place) + 1], side="right").tolist()
    return float(first + (min(second, len(below) - 1) - first) * (place - int(place)))


def _inside(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Without the border; all of it where everything is border."""
    found = []
    for axis in (1, 0):
        contrast = pixels.max(axis=axis).astype(int) - pixels.min(axis=axis)
        lively = np.flatnonzero(contrast >= BORDER_CONTRAST)
        found.append(slice(lively[0], lively[-1] + 1) if lively.size else slice(None))
    inside: NDArray[np.uint8] = pixels[found[0], found[1]]
    return inside
