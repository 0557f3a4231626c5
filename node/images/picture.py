"""A photograph, an ultrasound or endoscopy still, a secondary capture: one frame shown as a screen shows it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node.domain import ModelImage, Transform
from node.images.aspect import squared
from node.images.colour import ToSRGB, profile_of
from node.images.files import StoredImage
from node.images.functional_groups import frame_head
from node.images.geometry import square
from node.images.pixels import frame as stored_frame
from node.images.pixels import load, number, text, value
from node.images.tone import rendered

REGION = {
    "min_x": "RegionLocationMinX0", "min_y": "RegionLocationMinY0", "max_x": "RegionLocationMaxX1",
    "max_y": "RegionLocationMaxY1", "spatial_format": "RegionSpatialFormat", "data_type": "RegionDataType",
    "units_x": "PhysicalUnitsXDirection", "units_y": "PhysicalUnitsYDirection",
}
MOST_REGIONS = 16


class Screen:
    """How the frames of one instance are shown; its ICC profile is opened once."""

    def __init__(self, head: Dataset, *, to_srgb: bool = True) -> None:
        profile = profile_of(head) if to_srgb else b""
        self._to_srgb = ToSRGB(profile) if profile else None

    def __call__(self, stored: NDArray[Any], head: Dataset) -> tuple[NDArray[np.uint8], list[Transform]]:
        """Stored values of one frame, and what is said of it, to pixels (rows, columns, 3) and the steps.

        Raises:
            Undecodable: the frame cannot be shown.
        """
        pixels, steps = rendered(stored, head, as_stored=True)
        if self._to_srgb is None or steps[0].name not in ("colour", "palette"):
            return pixels, steps
        corrected, step = self._to_srgb(pixels)
        return corrected, [*steps, step]


def picture(path: Path, frame: int = 1, *, to_srgb: bool = True) -> ModelImage:
    """One frame, the first is 1, of a stored picture: uint8, square, never turned, its sides not known.

    Transforms, in order: ``decode``; ``colour`` or ``palette`` and ``icc_profile`` where a profile is stated, or
    those of :func:`projection`; ``square_pixels`` and ``ultrasound_regions`` where they apply; ``pad``.

    Raises:
        Undecodable: with the reason shown to the reader.
        StorageError: the file cannot be read.
    """
    with load(path) as file:
        return pictured(file, Screen(file.head, to_srgb=to_srgb), stored_frame(file, frame - 1), frame)


def pictured(file: StoredImage, screen: Screen, stored: NDArray[Any], frame: int) -> ModelImage:
    """The model image of a decoded frame; the last transform is the padding."""
    head = file.head
    pixels, tone = screen(stored, frame_head(head, frame - 1))
    drawn, aspect = squared(pixels, head)
    padded, pad = square(drawn)
    return ModelImage(
        pixels=padded,
        sop_class_uid=text(head, "SOPClassUID"),
        sop_instance_uid=text(head, "SOPInstanceUID"),
        series_instance_uid=text(head, "SeriesInstanceUID"),
        frame=frame,
        transforms=(decoded_from(head, stored.shape, frame), *tone, *aspect, *_regions(head), pad),
    )


def decoded_from(head: Dataset, shape: Sequence[int], frame: int) -> Transform:
    """The first step of every model image: how its frame was stored."""
    return Transform(name="decode", parameters={
        "transfer_syntax_uid": str(head.file_meta.TransferSyntaxUID),
        "photometric_interpretation": text(head, "PhotometricInterpretation"),
        "bits_stored": number(head, "BitsStored"),
        "rows": shape[0],
        "columns": shape[1],
        "frame": frame,
    })


def _regions(head: Dataset) -> list[Transform]:
    """Sequence of Ultrasound Regions (PS3.3 C.8.5.5), recorded; pixels outside them stay."""
    items = value(head, "SequenceOfUltrasoundRegions") or ()
    regions = [{name: number(item, keyword) for name, keyword in REGION.items()} for item in items[:MOST_REGIONS]]
    return [Transform(name="ultrasound_regions", parameters={"regions": regions})] if regions else []
