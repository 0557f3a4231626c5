"""Whether the pixels of a radiograph can be one at all: cheap looks before any model, on a sample of the pixels.

The thresholds are far from every real and every drawn radiograph that was tried (tests/unit/test_plausibility.py);
what is close to one of them is a radiograph.
"""

from __future__ import annotations

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
BORDER_CONTRAST = 16
"""A row or column with less contrast is border: collimator, margin."""


def require_radiograph(stored: NDArray[Any], displayed: NDArray[np.uint8], bits_stored: int) -> None:
    """Refuse a blank image, a page and an exposure that is cut off. Both arrays (rows, columns, ...) are one image.

    Raises:
        NotEvaluable: with what it looks like, and the numbers.
    """
    if stored.ndim > 2 or min(stored.shape) < SMALLEST:
        return
    low, high = np.percentile(_sample(stored), (0.5, 99.5))
    if high - low <= max(1.0, BLANK_SHARE * 2**bits_stored):
        raise NotEvaluable(f"blank image: 99 % of its values lie between {low:g} and {high:g}")
    inside = _inside(_sample(displayed[..., 0] if displayed.ndim > 2 else displayed))
    dark, bright = float((inside < DARK).mean()), float((inside > BRIGHT).mean())
    middle = 1 - dark - bright
    if middle <= PAGE_MIDDLE and max(dark, bright) >= PAGE_PAPER and min(dark, bright) >= PAGE_INK:
        raise NotEvaluable(f"looks like a page or a screen of text: {middle:.0%} of it is grey")
    cut_off = float(((inside <= 2) | (inside >= 253)).mean())
    if cut_off >= CUT_OFF_SHARE:
        raise NotEvaluable(f"exposure is cut off: {cut_off:.0%} of it is entirely black or white")


def _sample(pixels: NDArray[Any]) -> NDArray[Any]:
    rows, columns = (max(1, size // SAMPLE) for size in pixels.shape[:2])
    return pixels[::rows, ::columns]


def _inside(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Without the border; all of it where everything is border."""
    found = []
    for axis in (1, 0):
        contrast = pixels.max(axis=axis).astype(int) - pixels.min(axis=axis)
        lively = np.flatnonzero(contrast >= BORDER_CONTRAST)
        found.append(slice(lively[0], lively[-1] + 1) if lively.size else slice(None))
    inside: NDArray[np.uint8] = pixels[found[0], found[1]]
    return inside
