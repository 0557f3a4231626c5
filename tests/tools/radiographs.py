"""Small radiographs made for one claim each, written as Part 10 files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian

REAL = Path(__file__).parents[1] / "data" / "real"


def radiograph(stored: NDArray[Any], **attributes: Any) -> Dataset:
    """A chest CR with these stored values, (rows, columns); ``attributes`` are set or, when None, removed."""
    image = Dataset()
    image.SOPClassUID = ComputedRadiographyImageStorage
    image.SOPInstanceUID, image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.3.1", "1.2.3.2", "1.2.3.3"
    image.Modality, image.BodyPartExamined, image.ViewPosition = "CR", "CHEST", "PA"
    image.PatientOrientation = ["L", "F"]
    image.PatientName, image.PatientID, image.PatientAge = "Drawn^One", "D1", "040Y"
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns = stored.shape[:2]
    image.BitsAllocated = image.BitsStored = stored.dtype.itemsize * 8
    image.HighBit = image.BitsStored - 1
    image.PixelRepresentation = int(stored.dtype.kind == "i")
    image.add_new("PixelData", "OW" if image.BitsAllocated > 8 else "OB", _even(stored.tobytes()))
    for keyword, value in attributes.items():
        if value is None:
            delattr(image, keyword)
        else:
            setattr(image, keyword, value)
    return image


def write(image: Dataset, path: Path, transfer_syntax_uid: UID = ExplicitVRLittleEndian) -> Path:
    """Store ``image`` as a Part 10 file."""
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = image.get("SOPClassUID", "1.2")
    image.file_meta.MediaStorageSOPInstanceUID = image.get("SOPInstanceUID", "1.2")
    image.file_meta.TransferSyntaxUID = transfer_syntax_uid
    image.save_as(path, enforce_file_format=True)
    return path


def _even(value: bytes) -> bytes:
    return value + b"\x00" * (len(value) % 2)
