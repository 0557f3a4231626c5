"""Chest radiographs and documents as a modality sends them, and a mailbox that takes them in without a network."""

from __future__ import annotations

import copy
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import (
    UID,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
    RLELossless,
)

from node.config import StudySection
from node.database import instance, transaction
from node.intake import Intake, StoreRequest, lanes
from node.intake.lanes import always_fresh
from node.timers import Clock
from tests.tools.radiographs import radiograph

UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
AE_TITLE = "AINODE"
REJECTED_FOR_QUALITY = "113001"


def pixels(seed: int) -> NDArray[np.uint16]:
    """A picture of its own per seed."""
    return np.random.default_rng(seed).integers(0, 4096, (32, 24)).astype(np.uint16)


def chest(study: str, number: int = 1, *, picture: int | None = None, **attributes: Any) -> Dataset:
    """Image ``number`` of a study of today; ``picture`` chooses other pixels than the number does."""
    identity = {
        "StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.9", "SOPInstanceUID": f"{study}.{number}",
        "StudyDate": f"{date.today():%Y%m%d}", "AccessionNumber": "A1", "InstanceNumber": number,
    }
    return radiograph(pixels(number if picture is None else picture), **{**identity, **attributes})


def document(study: str, number: int, sop_class_uid: UID = EnhancedSRStorage, **attributes: Any) -> Dataset:
    """A document of another maker in the same study."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = sop_class_uid, f"{study}.{number}"
    made.StudyInstanceUID, made.SeriesInstanceUID, made.Modality = study, f"{study}.8", "SR"
    made.PatientID, made.StudyDate = "D1", f"{date.today():%Y%m%d}"
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def rejection_note(study: str, number: int, *rejected: Dataset, title: str = REJECTED_FOR_QUALITY) -> Dataset:
    """A Key Object Selection that takes ``rejected`` out of use (IHE Imaging Object Change Management)."""
    note = document(study, number, KeyObjectSelectionDocumentStorage, Modality="KO", ValueType="CONTAINER")
    concept, series, evidence = Dataset(), Dataset(), Dataset()
    concept.CodingSchemeDesignator, concept.CodeValue, concept.CodeMeaning = "DCM", title, "Rejected"
    note.ConceptNameCodeSequence = [concept]
    series.SeriesInstanceUID = f"{study}.9"
    series.ReferencedSOPSequence = [_reference(image) for image in rejected]
    evidence.StudyInstanceUID, evidence.ReferencedSeriesSequence = study, [series]
    note.CurrentRequestedProcedureEvidenceSequence = [evidence]
    return note


def _reference(image: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    return reference


def encoded(image: Dataset, transfer_syntax_uid: UID = ExplicitVRLittleEndian) -> bytes:
    """The data set alone, as it goes over the network."""
    copied = FileDataset("", copy.deepcopy(image), preamble=b"\0" * 128, file_meta=FileMetaDataset())
    copied.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    copied.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    copied.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    if transfer_syntax_uid not in UNCOMPRESSED:
        copied.compress(transfer_syntax_uid, generate_instance_uid=False)
    copied.file_meta.TransferSyntaxUID = transfer_syntax_uid
    buffer = BytesIO()
    copied.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    read_preamble(buffer, False)
    _read_file_meta_info(buffer)
    return buffer.read()


class Mailbox:
    """Takes instances in as the receiver does: file first, then row and audit event. They are received by ``clock``."""

    def __init__(
        self, engine: sa.Engine, data_dir: Path, clock: Clock | None = None, settings: StudySection | None = None
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._intake = Intake(
            engine, data_dir, "receiver", 0, lane=lanes(AE_TITLE, settings) if settings else always_fresh)

    def receive(
        self, image: Dataset, transfer_syntax_uid: UID = ExplicitVRLittleEndian, caller: str = "CR1",
        move_originator: str = "",
    ) -> int:
        """The row's id."""
        data = encoded(image, transfer_syntax_uid)
        return self.receive_bytes(image, data, transfer_syntax_uid, caller, move_originator)

    def receive_bytes(
        self, image: Dataset, data: bytes, transfer_syntax_uid: UID = ExplicitVRLittleEndian, caller: str = "CR1",
        move_originator: str = "",
    ) -> int:
        """``data`` instead of what ``image`` would be encoded to."""
        reception = self._intake.begin(StoreRequest(
            sop_class_uid=image.SOPClassUID, sop_instance_uid=image.SOPInstanceUID,
            transfer_syntax_uid=transfer_syntax_uid, calling_ae_title=caller, called_ae_title=AE_TITLE,
            source_host="127.0.0.1", association_id="a1", may_store=True,
            move_originator_ae_title=move_originator))
        reception.write([data])
        path = reception.finish().path
        with transaction(self._engine) as connection:
            if self._clock is not None:
                connection.execute(
                    sa.update(instance).where(instance.c.path == path).values(received_at=self._clock.now()))
            return connection.execute(sa.select(instance.c.id).where(instance.c.path == path)).scalar_one()


LOSSLESS = (ImplicitVRLittleEndian, RLELossless)
