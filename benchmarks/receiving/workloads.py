"""What is sent: drawn images of three sizes, as Part 10 files or as encoded data sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import Enum
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """16 bits are allocated per pixel, 12 stored."""

    title: str
    modality: str
    sop_class_uid: UID
    rows: int
    columns: int


class Kind(Enum):
    """The three sizes."""

    #: Overhead per instance counts.
    SMALL = Shape(title="30 KB CT", modality="CT", sop_class_uid=CTImageStorage, rows=120, columns=120)
    #: The image most often sent.
    CT = Shape(title="525 KB CT", modality="CT", sop_class_uid=CTImageStorage, rows=512, columns=512)
    #: Bytes count.
    DX = Shape(title="10 MB DX", modality="DX", sop_class_uid=DigitalXRayImageStorageForPresentation,
               rows=2500, columns=2048)

    @property
    def title(self) -> str:
        return self.value.title


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Files of one kind, all of one series, each with a picture of its own."""

    kind: Kind
    files: tuple[Path, ...]

    def first(self, count: int) -> Workload:
        """The same with at most ``count`` files."""
        return Workload(kind=self.kind, files=self.files[:count])

    def split(self, parts: int) -> list[list[Path]]:
        """The files dealt out evenly."""
        return [list(self.files[number::parts]) for number in range(parts)]


@dataclass(frozen=True, kw_only=True)
class Template:
    """One encoded data set with room for a SOP Instance UID."""

    kind: Kind
    root: str
    before: bytes
    after: bytes

    def sop_instance_uid(self, number: int) -> str:
        """All of them are of the same length."""
        return _instance_uid(self.root, number)

    def data_set(self, number: int) -> bytes:
        """The data set of instance ``number``, 0 to 999 999 999."""
        return self.before + self.sop_instance_uid(number).encode("ascii") + self.after


def draw(kind: Kind, count: int, folder: Path) -> Workload:
    """Write ``count`` files into ``folder``."""
    folder.mkdir(parents=True)
    return Workload(kind=kind, files=tuple(_write(image, folder) for image in _series(kind, count)))


def template(kind: Kind) -> Template:
    """An image of ``kind`` in a study of its own."""
    image = next(_series(kind, 1))
    root, _, _ = image.SOPInstanceUID.rpartition(".")
    buffer = BytesIO()
    dcmwrite(buffer, image, implicit_vr=False, little_endian=True)
    uid = str(image.SOPInstanceUID).encode("ascii")
    padded = uid + b"\0" * (len(uid) % 2)
    before, _, after = buffer.getvalue().partition(padded)
    return Template(kind=kind, root=root, before=before, after=padded[len(uid):] + after)


def _series(kind: Kind, count: int) -> Iterator[Dataset]:
    root = generate_uid(entropy_srcs=None)[:40].rstrip(".")
    random = np.random.default_rng(1)
    rows, columns = np.mgrid[0:kind.value.rows, 0:kind.value.columns]
    slope = ((rows + columns) % 2000).astype("<u2")
    for number in range(count):
        noise = random.integers(0, 64, slope.shape, dtype=np.uint16)
        yield _image(kind.value, root, number, (slope + noise).astype("<u2").tobytes())


def _image(shape: Shape, root: str, number: int, pixels: bytes) -> Dataset:
    image = Dataset()
    image.SpecificCharacterSet = "ISO_IR 100"
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.SOPClassUID, image.SOPInstanceUID = shape.sop_class_uid, _instance_uid(root, number)
    image.StudyDate = image.SeriesDate = image.ContentDate = f"{date.today():%Y%m%d}"
    image.StudyTime = image.ContentTime = "101112"
    image.AccessionNumber, image.Modality, image.Manufacturer = "BENCH1", shape.modality, "BENCH"
    image.StudyDescription, image.SeriesDescription = "SPEED OF RECEIVING", "DRAWN"
    image.PatientName, image.PatientID = "BENCH^DRAWN", "BENCH1"
    image.PatientBirthDate, image.PatientSex = "19700101", "O"
    image.StudyInstanceUID, image.SeriesInstanceUID = f"{root}.1", f"{root}.2"
    image.StudyID, image.SeriesNumber, image.InstanceNumber = "1", 1, number + 1
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns = shape.rows, shape.columns
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.add_new("PixelData", "OW", pixels)
    return image


def _instance_uid(root: str, number: int) -> str:
    return f"{root}.{1_000_000_000 + number}"


def _write(image: Dataset, folder: Path) -> Path:
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / f"{image.InstanceNumber:05d}.dcm"
    image.save_as(path, enforce_file_format=True)
    return path
