"""The many ways a radiograph's pixels are stored, each chosen so that its proper display is the drawn image again.

A form fixes stored bits, photometric interpretation and the VOI transformation (PS3.3 C.11.2). Encoding runs the
display pipeline backwards, so any reader that follows the standard gets the drawing back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.demo.anatomy import Field


class Voi(Enum):
    """How stored values become display values."""

    #: one window, C.11.2.1.2.1
    LINEAR = "LINEAR"
    #: one window, C.11.2.1.3.2
    LINEAR_EXACT = "LINEAR_EXACT"
    #: one window of an S curve, C.11.2.1.3.1
    SIGMOID = "SIGMOID"
    #: two windows, the first of which is the proper one
    WINDOWS = "WINDOWS"
    #: a VOI LUT Sequence
    LUT = "LUT"
    #: nothing: the stored range is the display range (not allowed in DX for presentation)
    NONE = "NONE"


@dataclass(frozen=True, kw_only=True)
class Form:
    """One way to store a drawn image. `slope` and `intercept` other than 1 and 0 exist in CR only."""

    modality: Literal["DX", "CR"] = "DX"
    photometric: Literal["MONOCHROME1", "MONOCHROME2"] = "MONOCHROME2"
    bits_stored: int = 12
    signed: bool = False  #: two's complement, half the range below zero
    voi: Voi = Voi.LINEAR
    transfer_syntax: UID = ExplicitVRLittleEndian
    slope: float = 1.0
    intercept: float = 0.0
    size: int = 512  #: pixels a side before the collimator
    rows_kept: float = 1.0  #: share of the rows that the collimator leaves
    columns_kept: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what the standard does not allow."""
        if self.modality == "DX" and (self.voi is Voi.NONE or (self.slope, self.intercept) != (1.0, 0.0)):
            raise ValueError("DX for presentation needs a VOI transformation and Rescale Slope 1, Intercept 0")
        if self.voi is Voi.LUT and (self.slope, self.intercept) != (1.0, 0.0):
            raise ValueError("a VOI LUT is drawn for stored values, so without Rescale Slope and Intercept")
        if not 10 <= self.bits_stored <= 16:
            raise ValueError(f"bits_stored {self.bits_stored}: choose 10 to 16")

    @property
    def shift(self) -> int:
        """What a stored value is less than its count from black: half the range where values are signed."""
        return 2 ** (self.bits_stored - 1) if self.signed else 0

    @classmethod
    def of(cls, seed: int) -> Form:
        """The form of a seed; all combinations turn up as seeds go by."""
        rng = np.random.default_rng((seed, 5))
        modality: Literal["DX", "CR"] = "DX" if rng.random() < 0.6 else "CR"
        choices = [v for v in Voi if modality == "CR" or v is not Voi.NONE]
        voi = choices[int(rng.integers(len(choices)))]
        kept = float(rng.choice([1.0, 0.9375, 0.875]))
        upright = bool(rng.random() < 0.75)
        rescaled = modality == "CR" and voi is not Voi.LUT and bool(rng.random() < 0.4)
        return cls(
            modality=modality,
            photometric="MONOCHROME1" if rng.random() < 0.4 else "MONOCHROME2",
            bits_stored=int(rng.choice([10, 12, 14, 15, 16])),
            voi=voi,
            transfer_syntax=ExplicitVRLittleEndian if rng.random() < 0.7 else ImplicitVRLittleEndian,
            slope=float(rng.choice([0.5, 2.0, 4.0])) if rescaled else 1.0,
            intercept=float(rng.choice([-1024.0, 100.0])) if rescaled else 0.0,
            size=int(rng.choice([512, 576, 640])),
            rows_kept=1.0 if upright else kept,
            columns_kept=kept if upright else 1.0,
        )


def encode(image: Field, form: Form, dataset: Dataset) -> None:
    """Put `image` (rows, columns) in 0..1 into the data set: pixels and everything their display depends on."""
    shown = 1 - image if form.photometric == "MONOCHROME1" else image
    full = 2**form.bits_stored - 1
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = form.photometric
    dataset.Rows, dataset.Columns = image.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, form.bits_stored, form.bits_stored - 1
    dataset.PixelRepresentation = int(form.signed)
    if form.modality == "DX" or (form.slope, form.intercept) != (1.0, 0.0):
        dataset.RescaleIntercept, dataset.RescaleSlope = form.intercept, form.slope
        dataset.RescaleType = "US"
    if form.modality == "DX":
        dataset.PresentationLUTShape = "INVERSE" if form.photometric == "MONOCHROME1" else "IDENTITY"
    stored = _stored(shown.astype(np.float64), form, full, dataset)
    # PS3.5 8.1.1: what lies above the stored bits of a signed value is its sign, so 16 bits hold it as it is.
    dataset.PixelData = (np.clip(np.rint(stored), 0, full).astype(np.int64) - form.shift).astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"


def _stored(shown: NDArray[np.float64], form: Form, full: int, dataset: Dataset) -> NDArray[np.float64]:
    """Stored values whose VOI transformation gives `shown`; writes that transformation into the data set."""
    if form.voi is Voi.NONE:
        low, high = float(shown.min()), float(shown.max())
        stretched: NDArray[np.float64] = (shown - low) / max(high - low, 1e-6) * full
        return stretched
    if form.voi is Voi.LUT:
        return _with_lut(shown, form, full, dataset)
    if form.voi is Voi.SIGMOID:
        # 4 / width * (x - centre) is the logit of what is shown; +-5.5 of it must fit in the stored range.
        centre, width = full / 2, full / 5.5 * 2 * 0.98
        shown = np.clip(shown, 0.0041, 0.9959)
        _set_window(dataset, form, [centre], [width])
        dataset.VOILUTFunction = "SIGMOID"
        logit: NDArray[np.float64] = np.log(shown / (1 - shown))
        return centre + width / 4 * logit
    low, high = np.rint(0.08 * full), np.rint(0.83 * full)
    if form.voi is Voi.LINEAR_EXACT:
        _set_window(dataset, form, [(low + high) / 2], [high - low])
        dataset.VOILUTFunction = "LINEAR_EXACT"
    else:
        # LINEAR shows low as 0 and high as 1 when width is one more than their distance, in modality units.
        unit = 1 / form.slope
        centres, widths = [(low + high + unit) / 2], [high - low + unit]
        if form.voi is Voi.WINDOWS:
            centres, widths = [*centres, 0.6 * full], [*widths, 0.3 * full]
            dataset.WindowCenterWidthExplanation = ["NORMAL", "HARDER"]
        _set_window(dataset, form, centres, widths)
    spread: NDArray[np.float64] = low + shown * (high - low)
    return spread


def _set_window(dataset: Dataset, form: Form, centres: list[float], widths: list[float]) -> None:
    """Windows given in counts from black, written in modality units."""
    dataset.WindowCenter = [_short((c - form.shift) * form.slope + form.intercept) for c in centres]
    dataset.WindowWidth = [_short(w * form.slope) for w in widths]


def _short(value: float) -> float:
    """A number that fits the 16 characters of a Decimal String."""
    return round(float(value), 4)


def _with_lut(shown: NDArray[np.float64], form: Form, full: int, dataset: Dataset) -> NDArray[np.float64]:
    """Values stored along a curve, and the table with one entry per stored value that bends it back."""
    curve = np.rint(np.linspace(0, 1, full + 1) ** 1.5 * 65535).astype("<u2")
    item = Dataset()
    # A descriptor of 0 entries means 65536 (C.11.2.1.1).
    item.add_new("LUTDescriptor", "SS" if form.signed else "US", [(full + 1) % 2**16, -form.shift, 16])
    item.LUTExplanation = "BENT"
    item.add_new("LUTData", "OW", curve.tobytes())
    dataset.VOILUTSequence = [item]
    curved: NDArray[np.float64] = shown ** (1 / 1.5) * full
    return curved
