"""Small DICOM files for tests of sending: documents and images with nothing but identity."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, Comprehensive3DSRStorage, ExplicitVRLittleEndian, generate_uid


def document(
    folder: Path, *, sop_class_uid: UID = Comprehensive3DSRStorage, modality: str = "SR", study: str = "1.2.3",
    series: str = "1.2.3.1", transfer_syntax_uid: UID = ExplicitVRLittleEndian,
) -> Path:
    """A Part 10 file named by its new SOP Instance UID; its pixels, where compressed, are no picture."""
    dataset = Dataset()
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.Modality, dataset.PatientID, dataset.AccessionNumber = modality, "P1", "A1"
    dataset.InstanceNumber = 1
    if transfer_syntax_uid.is_compressed:
        dataset.PixelData = encapsulate([b"\x00\x01\x02\x03"])
        dataset["PixelData"].VR = "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax_uid
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path
