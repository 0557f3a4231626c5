"""Stored values to measured ones by the Modality LUT (PS3.3 C.11.1), padding set aside; always in floating point.

The chain is worked out once per distinct value and then looked up, so that a 16 bit image costs a table
of at most 65536 numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node.domain import Transform
from node.errors import Undecodable
from node.images.lookup import Values, rescale_of, table_of
from node.images.pixels import number, text, value

MONOCHROME = frozenset({"MONOCHROME1", "MONOCHROME2"})
WIDEST_TABLE = 1 << 17
Steps = list[Transform]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A monochrome frame after the Modality LUT: ``values`` in rising order of what is stored, ``index`` per pixel.

    ``used`` marks the values that occur and are no padding; where all are padding, all that occur.
    """

    values: Values
    index: NDArray[np.int64]
    used: NDArray[np.bool_]
    padding: NDArray[np.bool_]
    steps: tuple[Transform, ...]

    @property
    def range(self) -> tuple[float, float]:
        """Least and greatest measured value that occurs, padding left out."""
        occurring = self.values[self.used]
        return float(occurring.min()), float(occurring.max())


def measured(stored: NDArray[Any], image: Dataset) -> Measured:
    """Stored values of one sample per pixel, as measured by the Modality LUT, in floating point.

    Raises:
        Undecodable: the Photometric Interpretation is not monochrome, or a value is no finite number.
    """
    _check_monochrome(stored, image)
    values, index, present = _levels(stored)
    padding, steps = _padding(values, image)
    used = present & ~padding
    if not used.any():
        used, padding = present, np.zeros_like(present)
    with np.errstate(over="ignore", invalid="ignore"):
        meaning, modality = _modality(values, image)
    if not np.isfinite(meaning[used]).all():
        raise Undecodable("the Modality LUT gives values that are no finite numbers")
    return Measured(values=meaning, index=index, used=used, padding=padding, steps=(*steps, *modality))


def measured_range(stored: NDArray[Any], image: Dataset) -> tuple[float, float]:
    """As :attr:`Measured.range` of the frame, without a table of its values: the cheap way through many frames."""
    _check_monochrome(stored, image)
    if stored.dtype.kind == "f" or value(image, "ModalityLUTSequence"):
        return measured(stored, image).range
    bounds = _padding_bounds(image)
    used = stored if bounds is None else stored[(stored < bounds[0]) | (stored > bounds[1])]
    used = used if used.size else stored
    slope, intercept = rescale_of(image)
    ends = [float(end) * slope + intercept for end in (used.min(), used.max())]
    if not np.isfinite(ends).all():
        raise Undecodable("the Modality LUT gives values that are no finite numbers")
    return min(ends), max(ends)


def _check_monochrome(stored: NDArray[Any], image: Dataset) -> None:
    photometric = text(image, "PhotometricInterpretation")
    if stored.ndim != 2 or photometric not in MONOCHROME:
        raise Undecodable(f"Photometric Interpretation {photometric!r} is not monochrome")


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
    bounds = _padding_bounds(image)
    if bounds is None:
        return np.zeros(len(values), dtype=np.bool_), []
    low, high = bounds
    return (values >= low) & (values <= high), [Transform(name="pixel_padding", parameters={"low": low, "high": high})]


def _padding_bounds(image: Dataset) -> tuple[int, int] | None:
    first = number(image, "PixelPaddingValue")
    if first is None:
        return None
    limit = number(image, "PixelPaddingRangeLimit")
    low, high = sorted(_as_stored(bound, image) for bound in (first, first if limit is None else limit))
    return low, high


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
    if unit := text(image, "RescaleType"):
        parameters["rescale_type"] = unit
    return values * slope + intercept, [Transform(name="modality_lut", parameters=parameters)]
