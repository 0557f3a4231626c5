"""CT and MR drawn slice by slice, with positions and per-frame groups, written as Part 10 files."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

from tests.tools.radiographs import radiograph, write

AXIAL = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def ct_slice(stored: NDArray[Any], number: int, z: float | None = None, **attributes: Any) -> Dataset:
    """Slice ``number`` of an axial CT, at ``z`` millimetres (``2.5 * number`` unless told)."""
    optional: dict[str, Any] = {
        "SOPClassUID": CTImageStorage, "SOPInstanceUID": f"1.2.4.{number}", "SeriesInstanceUID": "1.2.4",
        "Modality": "CT", "BodyPartExamined": "CHEST",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "InstanceNumber": number, "AcquisitionNumber": 1,
        "ImageOrientationPatient": AXIAL, "ImagePositionPatient": [-100.0, -100.0, 2.5 * number if z is None else z],
        "PixelSpacing": [1.0, 1.0], "PatientPosition": "HFS", "RescaleSlope": 1, "RescaleIntercept": -1024,
        "RescaleType": "HU",
    }
    given = {keyword: value for keyword, value in {**optional, **attributes}.items() if value is not None}
    return radiograph(stored, ViewPosition=None, PatientOrientation=None, **given)


def item(**attributes: Any) -> Dataset:
    """A sequence item."""
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def enhanced(frames: NDArray[Any], groups: list[Dataset], **attributes: Any) -> Dataset:
    """An Enhanced CT of (frames, rows, columns) with one functional group per frame."""
    made = ct_slice(frames[0], 1, **{
        "SOPClassUID": EnhancedCTImageStorage, "ImageOrientationPatient": None, "ImagePositionPatient": None,
        "PixelSpacing": None, "RescaleSlope": None, "RescaleIntercept": None, "RescaleType": None, **attributes})
    made.NumberOfFrames = len(frames)
    made.PixelData = frames.tobytes()
    made.PerFrameFunctionalGroupsSequence = groups
    return made


def frame_group(z: float, *, slope: float = 1.0, intercept: float = -1024.0, **macros: Dataset) -> Dataset:
    """Plane position, plane orientation, pixel measures and rescale of one frame (PS3.3 C.7.6.16)."""
    stated = {
        "PlanePositionSequence": item(ImagePositionPatient=[-100.0, -100.0, z]),
        "PlaneOrientationSequence": item(ImageOrientationPatient=AXIAL),
        "PixelMeasuresSequence": item(PixelSpacing=[1.0, 1.0]),
        "PixelValueTransformationSequence": item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU"),
        **macros,
    }
    return item(**{keyword: [macro] for keyword, macro in stated.items()})


def sparse(head: Dataset, path: Path, frames: int, ramp_in_last: NDArray[Any]) -> Path:
    """A native multi-frame of zeros that takes no disk, but for its last frame; ``head`` has one frame."""
    head.NumberOfFrames = frames
    size = len(head.PixelData)
    write(head, path, UID(ExplicitVRLittleEndian))
    length = size * frames
    with path.open("r+b") as file:
        file.seek(-size - 12, 2)
        file.write(struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, length))
        start = file.tell()
        file.truncate(start)
        file.seek(start + length - size)
        file.write(np.ascontiguousarray(ramp_in_last).tobytes())
    return path
