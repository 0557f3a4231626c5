"""Stored values to eight bits: Modality LUT, VOI LUT or window, presentation (PS3.4 section N.2).

The chain is worked out once per distinct value and then looked up, so that a 16 bit image costs a table
of at most 65536 numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node.domain import Transform
from node.errors import Undecodable
from node.images.colour import eight_bits
from node.images.lookup import Values, rescale_of, table_of, window_of
from node.images.palette import palette_of
from node.images.pixels import number, value

MONOCHROME = frozenset({"MONOCHROME1", "MONOCHROME2"})
WIDEST_TABLE = 1 << 17
Steps = list[Transform]


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
    grey, steps = _grey(stored, image, photometric, as_stored)
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2), steps


def _grey(stored: NDArray[Any], image: Dataset, photometric: str, as_stored: bool) -> tuple[NDArray[np.uint8], Steps]:
    values, index, present = _levels(stored)
    padding, steps = _padding(values, image)
    used = present & ~padding
    if not used.any():
        used, padding = present, np.zeros_like(present)
    measured, modality = _modality(values, image)
    shown, voi = _voi(measured, used, image, as_stored and stored.dtype.kind != "f")
    inverse, presentation = _presentation(image, photometric)
    bright = np.rint((1.0 - shown if inverse else shown) * 255.0).astype(np.uint8)
    bright[padding] = 0
    return bright[index], [*steps, *modality, *voi, *presentation]


def _levels(stored: NDArray[Any]) -> tuple[Values, NDArray[np.int64], NDArray[np.bool_]]:
    """Candidate values in rising order, the index of each pixel's value, and which of them occur."""
    if stored.dtype.kind != "f":
        low, high = int(stored.min()), int(stored.max())
        if high - low < WIDEST_TABLE:
            index = stored.astype(np.int64) - low
            present = np.zeros(high - low + 1, dtype=np.bool_)
            present[index] = True
            return np.arange(low, high + 1, dtype=np.float64), index, present
    elif not np.isfinite(stored).all():
        raise Undecodable("Float Pixel Data holds values that are no numbers")
    values, index = np.unique(stored, return_inverse=True)
    return values.astype(np.float64), index.reshape(stored.shape), np.ones(len(values), dtype=np.bool_)


def _padding(values: Values, image: Dataset) -> tuple[NDArray[np.bool_], Steps]:
    """Pixel Padding Value to Pixel Padding Range Limit (PS3.3 C.7.5.1.1.2), both included."""
    first = number(image, "PixelPaddingValue")
    if first is None:
        return np.zeros(len(values), dtype=np.bool_), []
    limit = number(image, "PixelPaddingRangeLimit")
    bounds = sorted(_as_stored(bound, image) for bound in (first, first if limit is None else limit))
    low, high = bounds[0], bounds[1]
    return (values >= low) & (values <= high), [Transform(name="pixel_padding", parameters={"low": low, "high": high})]


def _as_stored(bound: int, image: Dataset) -> int:
    """The padding value is 16 bits wide whatever Bits Stored says; a signed image may state it unsigned."""
    signed = number(image, "PixelRepresentation") == 1
    return bound - 65536 if signed and bound > 32767 and (number(image, "BitsStored") or 16) <= 16 else bound


def _modality(values: Values, image: Dataset) -> tuple[Values, Steps]:
    if table := table_of(image, "ModalityLUTSequence", signed=bool(values[0] < 0)):
        parameters = {"kind": "lut", "first": table.first, "entries": len(table.entries), "bits": table.bits}
        return table(values), [Transform(name="modality_lut", parameters=parameters)]
    slope, intercept = rescale_of(image)
    parameters = {"kind": "rescale", "slope": slope, "intercept": intercept}
    return values * slope + intercept, [Transform(name="modality_lut", parameters=parameters)]


def _voi(
    measured: Values, used: NDArray[np.bool_], image: Dataset, as_stored: bool
) -> tuple[Values, Steps]:
    """Values 0..1 by the first VOI LUT, else the first window, else the range of the values that occur."""
    low, high = float(measured[used].min()), float(measured[used].max())
    reason = "no window"
    if table := table_of(image, "VOILUTSequence", signed=low < 0):
        shown = table(measured) / float((1 << table.bits) - 1)
        if high == low or np.ptp(shown[used]) > 0:
            parameters = {"first": table.first, "entries": len(table.entries), "bits": table.bits}
            return shown, [Transform(name="voi_lut", parameters=parameters)]
        reason = "the VOI LUT leaves one grey"
    if window := window_of(image):
        stated = {"center": window.center, "width": window.width, "function": window.function}
        if not window.usable:
            reason = f"window width {window.width:g} is not usable"
        elif high == low or np.ptp(window(measured)[used]) > 0:
            return window(measured), [Transform(name="window", parameters=stated)]
        else:
            reason = f"window {window.center:g}/{window.width:g} leaves one grey"
    bits = number(image, "BitsStored") or 16
    if as_stored and bits <= 8 and low >= 0 and high < 1 << bits:
        low, high, reason = 0.0, float((1 << bits) - 1), f"{reason}: shown as stored"
    step = Transform(name="value_range", parameters={"minimum": low, "maximum": high, "reason": reason})
    return np.clip((measured - low) / ((high - low) or 1.0), 0.0, 1.0), [step]


def _presentation(image: Dataset, photometric: str) -> tuple[bool, Steps]:
    """MONOCHROME1 and Presentation LUT Shape INVERSE state the same thing (PS3.3 C.8.11.3.1.2): invert once."""
    shape = str(value(image, "PresentationLUTShape") or "").strip().upper()
    if photometric != "MONOCHROME1" and shape != "INVERSE":
        return False, []
    parameters = {"photometric_interpretation": photometric, "presentation_lut_shape": shape}
    return True, [Transform(name="invert", parameters=parameters)]
