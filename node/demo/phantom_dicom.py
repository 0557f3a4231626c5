"""Drawn chests as DICOM: Digital X-Ray Image Storage - For Presentation, or Computed Radiography Image Storage.

The patients are invented: names read DRAWN^SEED0000042 (the node declines names such as TEST, QC or PHANTOM, and these
studies are meant to be read), and Image Comments says that the image is synthetic. UIDs depend on the seed and on a
salt, so that two demonstrations of the same seeds do not collide.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    generate_uid,
)

from node.demo.anatomy import Field
from node.demo.forms import Form, encode
from node.demo.knee import draw_knee
from node.demo.phantom import DrawnFinding, Phantom, Side, draw

#: Width of the square field that is drawn, before the collimator.
FIELD_MM = 350.0
SYNTHETIC = "SYNTHETIC: a drawn image of no patient"


@dataclass(frozen=True, kw_only=True)
class FindingTruth:
    """A finding as truth.json tells it; `box` is (x0, y0, x1, y1) in pixels of the stored image."""

    finding: str
    side: Side
    box: tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class StudyTruth:
    """What was drawn in one study."""

    file: str
    study_instance_uid: str
    findings: tuple[FindingTruth, ...]


def phantom_of(seed: int, form: Form, findings: Mapping[str, Side] | Collection[str] | None = None) -> Phantom:
    """The phantom of a seed as a form stores it: its size, less what the collimator cuts off."""
    phantom = draw(seed, form.size, findings)
    return phantom.cropped(round(form.size * form.rows_kept), round(form.size * form.columns_kept))


def drawn_dataset(
    seed: int,
    *,
    findings: Mapping[str, Side] | Collection[str] | None = None,
    form: Form | None = None,
    salt: str = "",
    accession: str | None = None,
    priority: str | None = None,
    taken: datetime | None = None,
) -> FileDataset:
    """One chest study of one image. `priority` is written as Requested Procedure Priority, as some modalities do."""
    form = form or Form.of(seed)
    dataset = chest_dataset(phantom_of(seed, form, findings), form, salt, taken or datetime.now())
    if accession is not None:
        dataset.AccessionNumber = accession
    if priority is not None:
        dataset.RequestedProcedurePriority = priority
    return dataset


def chest_dataset(phantom: Phantom, form: Form, salt: str, taken: datetime) -> FileDataset:
    """A drawn chest, stored in a form."""
    dataset = _study(phantom.seed, form, salt, taken)
    _chest(dataset)
    encode(phantom.image, form, dataset)
    return dataset


def decoy(seed: int, kind: Literal["knee"] = "knee", *, salt: str = "", taken: datetime | None = None) -> FileDataset:
    """A valid radiograph that a chest model must decline."""
    if kind != "knee":
        raise ValueError(f"decoy {kind!r}: only knee can be drawn")
    form = Form(size=512, columns_kept=0.75)
    dataset = _study(seed, form, f"{kind} {salt}", taken or datetime.now())
    _knee(dataset)
    encode(_middle(draw_knee(seed, form.size), form), form, dataset)
    return dataset


def write_studies(folder: Path, count: int, seed: int, today: date, salt: str | None = None) -> list[StudyTruth]:
    """Write `count` studies of the seeds from `seed` on, one image and one file each, and truth.json beside them.

    Without a salt, every call makes new UIDs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    salt = secrets.token_hex(8) if salt is None else salt
    now = datetime.now()
    taken = now if today == now.date() else datetime(today.year, today.month, today.day, 12)
    truths = []
    for each in range(seed, seed + count):
        form = Form.of(each)
        phantom = phantom_of(each, form)
        dataset = chest_dataset(phantom, form, salt, taken)
        file = f"drawn-{each:07d}.dcm"
        dataset.save_as(folder / file, enforce_file_format=True)
        found = tuple(_truth(drawn) for drawn in phantom.findings)
        truths.append(StudyTruth(file=file, study_instance_uid=dataset.StudyInstanceUID, findings=found))
    (folder / "truth.json").write_text(json.dumps([asdict(t) for t in truths], indent=1) + "\n", encoding="utf-8")
    return truths


def _truth(drawn: DrawnFinding) -> FindingTruth:
    return FindingTruth(finding=drawn.finding, side=drawn.side, box=drawn.box)


def _middle(image: Field, form: Form) -> Field:
    return (
        Phantom(seed=0, image=image, findings=())
        .cropped(round(form.size * form.rows_kept), round(form.size * form.columns_kept))
        .image
    )


def _study(seed: int, form: Form, salt: str, taken: datetime) -> FileDataset:
    """Everything but the anatomy and the pixels."""
    meta = FileMetaDataset()
    storage = DigitalXRayImageStorageForPresentation if form.modality == "DX" else ComputedRadiographyImageStorage
    meta.MediaStorageSOPClassUID = storage
    meta.MediaStorageSOPInstanceUID = _uid("instance", seed, salt)
    meta.TransferSyntaxUID = form.transfer_syntax
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID, dataset.SOPInstanceUID = storage, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = _uid("study", seed, salt), _uid("series", seed, salt)
    day, clock = taken.strftime("%Y%m%d"), taken.strftime("%H%M%S")
    for what in ("Study", "Series", "Acquisition", "Content"):
        setattr(dataset, f"{what}Date", day)
        setattr(dataset, f"{what}Time", clock)
    _patient(dataset, seed, taken.date())
    dataset.AccessionNumber = f"D{sha256(salt.encode()).hexdigest()[:5].upper()}{seed:08d}"
    dataset.ReferringPhysicianName = ""
    dataset.StudyID = f"{seed % 10**10}"
    dataset.StudyDescription = "Drawn radiograph"
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.Modality = form.modality
    dataset.Manufacturer = "dicom-ai-node"
    dataset.ManufacturerModelName = "Drawn radiographs"
    dataset.DeviceSerialNumber = "0"
    dataset.SoftwareVersions = "1"
    dataset.ImageComments = SYNTHETIC
    _image(dataset, form)
    return dataset


def _patient(dataset: Dataset, seed: int, today: date) -> None:
    """An adult whose birth date and age agree."""
    rng = np.random.default_rng((seed, 6))
    dataset.PatientName = f"DRAWN^SEED{seed:07d}"
    dataset.PatientID = f"DRAWN-{seed:07d}"
    dataset.PatientSex = "F" if rng.random() < 0.5 else "M"
    born = date(today.year - int(rng.integers(20, 91)), int(rng.integers(1, 13)), int(rng.integers(1, 29)))
    age = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
    dataset.PatientBirthDate = born.strftime("%Y%m%d")
    dataset.PatientAge = f"{age:03d}Y"


def _image(dataset: Dataset, form: Form) -> None:
    """What the image modules of DX (PS3.3 A.26) and CR (A.2) require."""
    spacing = FIELD_MM / form.size
    dataset.ImagerPixelSpacing = [round(spacing, 5)] * 2
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.KVP = "120"
    if form.modality == "CR":
        dataset.PlateType = ""
        return
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.PixelIntensityRelationship = "LOG"
    # Sign -1: a higher stored value means less X-ray intensity, as where bone is stored bright.
    dataset.PixelIntensityRelationshipSign = 1 if form.photometric == "MONOCHROME1" else -1
    dataset.DetectorType = "SCINTILLATOR"
    dataset.PositionerType = ""
    dataset.AcquisitionContextSequence = []


def _chest(dataset: Dataset) -> None:
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "PA"
    dataset.PatientOrientation = ["L", "F"]
    dataset.SeriesDescription = "Chest PA, drawn"
    if dataset.Modality == "DX":
        dataset.ImageLaterality = "U"
        dataset.AnatomicRegionSequence = [_code("816094009", "Chest")]
        dataset.ViewCodeSequence = [_view("399348003", "postero-anterior")]


def _knee(dataset: Dataset) -> None:
    dataset.BodyPartExamined = "KNEE"
    dataset.ViewPosition = "AP"
    dataset.PatientOrientation = ["L", "F"]
    dataset.SeriesDescription = "Knee AP, drawn"
    dataset.ImageLaterality = "R"
    dataset.AnatomicRegionSequence = [_code("72696002", "Knee")]
    dataset.ViewCodeSequence = [_view("399067008", "antero-posterior")]


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def _view(value: str, meaning: str) -> Dataset:
    item = _code(value, meaning)
    item.ViewModifierCodeSequence = []
    return item


def _uid(what: str, seed: int, salt: str) -> UID:
    return generate_uid(entropy_srcs=["dicom-ai-node", "drawn", what, str(seed), salt])
