"""How CT and MR values become greys or colours: by the header's window, by windows that are given, or by a range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from node.domain import Transform
from node.errors import NotEvaluable
from node.images.lookup import Values, Window, table_of, window_of
from node.images.measured import Measured, Steps
from node.images.pixels import text


@dataclass(frozen=True, kw_only=True)
class HeaderWindow:
    """The first VOI LUT of the image or of its frame, else its first window, else ``otherwise``.

    Unlike a projection, a slice that its window leaves in one grey stays so: air at the end of a volume is black.
    """

    otherwise: Window

    def __call__(self, measured: Measured, image: Dataset) -> tuple[tuple[Values, ...], Steps]:
        low, high = measured.range
        if table := table_of(image, "VOILUTSequence", signed=low < 0):
            parameters = {"first": table.first, "entries": len(table.entries), "bits": table.bits}
            shown = table(measured.values) / float((1 << table.bits) - 1)
            return (shown,), [Transform(name="voi_lut", parameters=parameters)]
        window = window_of(image)
        if window is not None and window.usable:
            return (window(measured.values),), [_step(window, "header")]
        if rescale_type(image) != "HU":
            reason = f"no usable window, and values in {rescale_type(image)} instead of HU"
            step = Transform(name="value_range", parameters={"minimum": low, "maximum": high, "reason": reason})
            return (_stretched(measured.values, low, high),), [step]
        return (self.otherwise(measured.values),), [_step(self.otherwise, "default")]


@dataclass(frozen=True, kw_only=True)
class ChannelWindows:
    """One window in Hounsfield units for each of red, green and blue, whatever the header says."""

    red: Window
    green: Window
    blue: Window

    def __call__(self, measured: Measured, image: Dataset) -> tuple[tuple[Values, ...], Steps]:
        if rescale_type(image) != "HU":
            raise NotEvaluable(f"Rescale Type is {rescale_type(image)}: the windows are for Hounsfield units")
        windows = (self.red, self.green, self.blue)
        return tuple(window(measured.values) for window in windows), [
            _step(window, name) for window, name in zip(windows, ("red", "green", "blue"), strict=True)]


@dataclass(frozen=True, kw_only=True)
class Range:
    """From black to white between two measured values, the same for every slice of an acquisition."""

    minimum: float
    maximum: float

    def __call__(self, measured: Measured, _image: Dataset) -> tuple[tuple[Values, ...], Steps]:
        parameters = {"minimum": self.minimum, "maximum": self.maximum, "reason": "range of the acquisition"}
        return (_stretched(measured.values, self.minimum, self.maximum),), [
            Transform(name="value_range", parameters=parameters)]


@dataclass(frozen=True)
class AcquisitionRange:
    """Black to white between the extremes of all slices of the acquisition: a pass over them all comes first."""


Tone = HeaderWindow | ChannelWindows | Range | AcquisitionRange

MEDSIGLIP_CT = HeaderWindow(otherwise=Window(center=100, width=2500, function="LINEAR_EXACT"))
"""As MedSigLIP was trained: the header's window, else -1150 to 1350 HU."""
MEDGEMMA_CT = ChannelWindows(
    red=Window(center=0, width=2048, function="LINEAR_EXACT"),
    green=Window(center=40, width=350, function="LINEAR_EXACT"),
    blue=Window(center=40, width=80, function="LINEAR_EXACT"))
"""As MedGemma 1.5 was trained: red -1024 to 1024, green -135 to 215, blue 0 to 80 HU."""
MR = AcquisitionRange()


def tone_for(modality: str) -> Tone:
    """What triage uses: windows for CT, the range of the acquisition for everything without a unit."""
    return MEDSIGLIP_CT if modality == "CT" else MR


def rescale_type(image: Dataset) -> str:
    """The unit of measured values; CT values without one are Hounsfield units (PS3.3 C.8.2.1, C.11.1.1.2)."""
    return text(image, "RescaleType").upper() or "HU"


def _step(window: Window, source: str) -> Transform:
    return Transform(name="window", parameters={
        "center": window.center, "width": window.width, "function": window.function, "source": source})


def _stretched(values: Values, low: float, high: float) -> Values:
    return np.clip((values - low) / ((high - low) or 1.0), 0.0, 1.0)
