"""Stored values to eight bits: Modality LUT, VOI LUT or window, presentation (PS3.4 section N.2).

The chain is worked out once per distinct value and then looked up, so that a 16 bit image costs a table
of at most 65536 numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node.domain import Transform
from node.errors import Undecodable
from node.images.colour import eight_bits
from node.images.lookup import Values, table_of, window_of
from node.images.measured import MONOCHROME, Measured, Steps, measured
from node.images.palette import palette_of
from node.images.pixels import number, text, value

Shade = Callable[[Measured, Dataset], tuple[tuple[Values, ...], Steps]]
"""Measured values to one channel or three, each 0 to 1, and the steps that made them."""


def rendered(
    stored: NDArray[Any], image: Dataset, *, as_stored: bool = False
) -> tuple[NDArray[np.uint8], Steps]:
    """Pixels (rows, columns, 3), uint8, bright where the tissue absorbs, and the steps that made them.

    ``as_stored`` leaves eight bits without a window as they are, as a screen would; else their range is stretched.

    Raises:
        Undecodable: the Photometric Interpretation is not one that can be shown.
    """
    photometric = str(value(image, "PhotometricInterpretation") or "").strip()
    if stored.ndim == 3:
        eight, step = eight_bits(stored, number(image, "BitsStored") or stored.dtype.itemsize * 8)
        return eight, [step]
    if photometric == "PALETTE COLOR":
        palette = palette_of(image)
        parameters = {"first": palette.first, "entries": len(palette.colours), "bits": palette.bits,
                      "segmented": palette.segmented}
        return palette(stored), [Transform(name="palette", parameters=parameters)]
    if photometric not in MONOCHROME:
        raise Undecodable(f"Photometric Interpretation {photometric!r} is not supported")
    bright, steps = grey(stored, image, as_stored=as_stored)
    return np.repeat(bright[:, :, np.newaxis], 3, axis=2), steps


def grey(
    stored: NDArray[Any], image: Dataset, *, as_stored: bool = False
) -> tuple[NDArray[np.uint8], Steps]:
    """As :func:`rendered`, of a monochrome image: one channel, (rows, columns)."""
    found = measured(stored, image)
    shown, voi = _voi(found, image, as_stored and stored.dtype.kind != "f")
    inverse, presentation = _presentation(image, text(image, "PhotometricInterpretation"))
    bright = np.rint((1.0 - shown if inverse else shown) * 255.0).astype(np.uint8)
    bright[found.padding] = 0
    return bright[found.index], [*found.steps, *voi, *presentation]


def _voi(found: Measured, image: Dataset, as_stored: bool) -> tuple[Values, Steps]:
    """Values 0..1 by the first VOI LUT, else the first window, else the range of the values that occur."""
    values, used = found.values, found.used
    low, high = found.range
    reason = "no window"
    if table := table_of(image, "VOILUTSequence", signed=low < 0):
        shown = table(values) / float((1 << table.bits) - 1)
        if high == low or np.ptp(shown[used]) > 0:
            parameters = {"first": table.first, "entries": len(table.entries), "bits": table.bits}
            return shown, [Transform(name="voi_lut", parameters=parameters)]
        reason = "the VOI LUT leaves one grey"
    if window := window_of(image):
        stated = {"center": window.center, "width": window.width, "function": window.function}
        if not window.usable:
            reason = f"window width {window.width:g} is not usable"
        elif high == low or np.ptp(window(values)[used]) > 0:
            return window(values), [Transform(name="window", parameters=stated)]
        else:
            reason = f"window {window.center:g}/{window.width:g} leaves one grey"
    bits = number(image, "BitsStored") or 16
    if as_stored and bits <= 8 and low >= 0 and high < 1 << bits:
        low, high, reason = 0.0, float((1 << bits) - 1), f"{reason}: shown as stored"
    step = Transform(name="value_range", parameters={"minimum": low, "maximum": high, "reason": reason})
    return np.clip((values - low) / ((high - low) or 1.0), 0.0, 1.0), [step]


def _presentation(image: Dataset, photometric: str) -> tuple[bool, Steps]:
    """MONOCHROME1 and Presentation LUT Shape INVERSE state the same thing (PS3.3 C.8.11.3.1.2): invert once."""
    shape = str(value(image, "PresentationLUTShape") or "").strip().upper()
    if photometric != "MONOCHROME1" and shape != "INVERSE":
        return False, []
    parameters = {"photometric_interpretation": photometric, "presentation_lut_shape": shape}
    return True, [Transform(name="invert", parameters=parameters)]


def graded(stored: NDArray[Any], image: Dataset, shade: Shade) -> tuple[NDArray[np.uint8], Steps]:
    """Pixels (rows, columns, 3), uint8, shaded by ``shade`` instead of the image's own VOI; padding is black."""
    found = measured(stored, image)
    channels, steps = shade(found, image)
    inverse, presentation = _presentation(image, str(value(image, "PhotometricInterpretation")).strip())
    shown = np.stack([1.0 - channel if inverse else channel for channel in channels], axis=1)
    bright = np.rint(np.clip(shown, 0.0, 1.0) * 255.0).astype(np.uint8)
    bright[found.padding] = 0
    return np.ascontiguousarray(np.broadcast_to(bright, (len(bright), 3))[found.index]), [
        *found.steps, *steps, *presentation]
