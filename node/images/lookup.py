"""Look-up tables and windows as PS3.3 defines them, on arrays of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node.images.pixels import FOREIGN, value

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LookupTable:
    """A Modality or VOI LUT (PS3.3 C.11.1.1, C.11.2.1.1): output for ``first``, ``first + 1`` and so on."""

    first: int
    bits: int
    entries: Values

    def __call__(self, values: Values) -> Values:
        """Outside the table the nearest end counts."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        found: Values = self.entries[index.astype(np.int64)]
        return found


@dataclass(frozen=True, kw_only=True)
class Window:
    """A window (PS3.3 C.11.2.1.2, C.11.2.1.3); the output is 0..1."""

    center: float
    width: float
    function: str

    @property
    def usable(self) -> bool:
        """LINEAR needs a width of at least 1, the others more than 0."""
        smallest = 1.0 if self.function == "LINEAR" else np.nextafter(0.0, 1.0)
        return bool(np.isfinite([self.center, self.width]).all() and self.width >= smallest)

    def __call__(self, values: Values) -> Values:
        if self.function == "SIGMOID":
            exponent = np.clip(-4.0 * (values - self.center) / self.width, -700.0, 700.0)
            rising: Values = 1.0 / (1.0 + np.exp(exponent))
            return rising
        if self.function == "LINEAR_EXACT":
            low, span = self.center - self.width / 2, self.width
        else:
            low, span = self.center - 0.5 - (self.width - 1) / 2, self.width - 1
        if span == 0:
            return (values > low).astype(np.float64)
        return np.clip((values - low) / span, 0.0, 1.0)


def window_of(image: Dataset) -> Window | None:
    """The first window of the image, usable or not."""
    centers, widths = floats(image, "WindowCenter"), floats(image, "WindowWidth")
    if not centers or not widths:
        return None
    stated = str(value(image, "VOILUTFunction") or "LINEAR").strip().upper()
    function = stated if stated in ("LINEAR", "LINEAR_EXACT", "SIGMOID") else "LINEAR"
    return Window(center=centers[0], width=widths[0], function=function)


def rescale_of(image: Dataset) -> tuple[float, float]:
    """Slope and intercept; (1, 0) where there is none, or one that would flatten the image."""
    slopes, intercepts = floats(image, "RescaleSlope"), floats(image, "RescaleIntercept")
    slope = slopes[0] if slopes and np.isfinite(slopes[0]) and slopes[0] != 0 else 1.0
    intercept = intercepts[0] if intercepts and np.isfinite(intercepts[0]) else 0.0
    return slope, intercept


def table_of(image: Dataset, keyword: str, *, signed: bool) -> LookupTable | None:
    """The first table of a LUT sequence; None where there is none that can be read.

    ``signed`` says if the values looked up may be negative, as the descriptor alone does not tell.
    """
    sequence = value(image, keyword)
    try:
        return None if not sequence else _table(sequence[0], signed)
    except FOREIGN:
        return None


def _table(item: Dataset, signed: bool) -> LookupTable | None:
    count, first, bits = (int(part) & 0xFFFF for part in item.LUTDescriptor)
    count = count or 65536
    entries = _entries(item, count)[:count]
    if not len(entries):
        return None
    needed = int(entries.max()).bit_length()
    bits = bits if needed <= bits <= 16 else max(needed, 8)
    first = first - 65536 if signed and first > 32767 else first
    return LookupTable(first=first, bits=bits, entries=entries.astype(np.float64))


def _entries(item: Dataset, count: int) -> NDArray[Any]:
    """LUT Data as written: 16 bit words, numbers, or two entries of 8 bits in a word."""
    data = item.LUTData
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data, dtype=np.int64)) & 0xFFFF
    if len(data) < 2 * count:
        return np.frombuffer(data, dtype=np.uint8)
    little = item.original_encoding[1] is not False
    return np.frombuffer(data[: 2 * count], dtype="<u2" if little else ">u2")


def floats(image: Dataset, keyword: str) -> list[float]:
    """The numbers of an element; empty where it is absent, empty or holds anything else."""
    found = value(image, keyword)
    several = found if isinstance(found, Sequence) and not isinstance(found, str | bytes) else [found]
    try:
        return [float(part) for part in several if part not in (None, "")]
    except (TypeError, ValueError):
        return []
