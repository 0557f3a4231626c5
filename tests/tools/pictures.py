"""Photographs, palettes and cines drawn for one claim each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UltrasoundMultiFrameImageStorage, VLPhotographicImageStorage

from tests.tools.radiographs import radiograph


def photograph(stored: NDArray[Any], **attributes: Any) -> Dataset:
    """A colour photograph of (rows, columns, 3), or a grey one of (rows, columns)."""
    colour = stored.ndim == 3
    stated: dict[str, Any] = {
        "SOPClassUID": VLPhotographicImageStorage, "Modality": "XC", "BodyPartExamined": "SKIN", "ViewPosition": None,
        "PatientOrientation": None, "ImageType": ["ORIGINAL", "PRIMARY"]}
    if colour:
        stated |= {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    return radiograph(stored, **{**stated, **attributes})


def clip(frames: NDArray[Any], **attributes: Any) -> Dataset:
    """An ultrasound cine of (frames, rows, columns) or (frames, rows, columns, 3)."""
    stated = {"SOPClassUID": UltrasoundMultiFrameImageStorage, "Modality": "US", "NumberOfFrames": len(frames),
              "PixelData": frames.tobytes() + b"\x00" * (frames.nbytes % 2), "FrameTime": 40}
    return photograph(frames[0], **{**stated, **attributes})


def palette(tables: list[list[int]], *, first: int = 0, bits: int = 8, segmented: bool = False,
            count: int | None = None, packed: bool = True) -> dict[str, Any]:
    """Attributes of a PALETTE COLOR image; 8 bit entries two in a word where ``packed``, else one in each."""
    found: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    word = "u1" if bits == 8 and packed else "<u2"
    for colour, entries in zip(("Red", "Green", "Blue"), tables, strict=True):
        data = np.array(entries, dtype=word).tobytes()
        found[f"{colour}PaletteColorLookupTableDescriptor"] = [count or len(entries), first, bits]
        kind = "Segmented" if segmented else ""
        found[f"{kind}{colour}PaletteColorLookupTableData"] = data + b"\x00" * (len(data) % 2)
    return found
