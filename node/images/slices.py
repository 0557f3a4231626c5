"""The slices of stored CT and MR instances: one per single-frame image, one per frame of an enhanced one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset

from node.errors import NotEvaluable
from node.images.functional_groups import frame_head
from node.images.pixels import load, number, text, value
from node.images.planes import Plane, plane_of

VOLUME_CLASSES = frozenset({
    "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2",
    "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4",
})
"""CT and MR Image Storage, Enhanced, and Legacy Converted Enhanced."""
MOST_FRAMES = 1 << 16
PHASES = {
    "Temporal Position": ("TemporalPositionIdentifier", "TemporalPositionIndex", "TemporalPositionTimeOffset"),
    "Echo Time": ("EchoTime", "EffectiveEchoTime", "EchoNumbers"),
    "b-value": ("DiffusionBValue",),
    "Trigger Time": ("TriggerTime", "NominalCardiacTriggerDelayTime"),
    "Acquisition Date and Time": ("AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime",
                                  "FrameAcquisitionDateTime"),
}
"""What may tell two images of one place apart, in the order in which it is tried."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One frame of a stored instance. ``frame`` counts from 1; ``position_mm`` is the depth along the normal."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    frame: int = 1
    instance_number: int | None = None
    position_mm: float | None = None
    #: What decoding it takes: rows times columns times samples.
    values: int = 0


@dataclass(frozen=True, kw_only=True)
class SliceHead:
    """A slice with what groups it."""

    slice: Slice
    plane: Plane | None
    study_instance_uid: str
    modality: str
    image_type: tuple[str, ...]
    acquisition_number: str
    rows: int
    columns: int
    patient_position: str
    phases: dict[str, str] = field(hash=False)


def slice_heads(path: Path) -> Iterator[SliceHead]:
    """The slices of one file, pixels left unread.

    Raises:
        NotEvaluable: it is no CT or MR image, or has no pixels.
        Undecodable: it cannot be parsed.
        StorageError: it cannot be read.
    """
    with load(path) as file:
        if text(file.head, "SOPClassUID") not in VOLUME_CLASSES:
            raise NotEvaluable(f"SOP Class {text(file.head, 'SOPClassUID') or '(none)'} is no CT or MR image")
        if file.pixels is None or not file.pixels.length:
            raise NotEvaluable("no Pixel Data")
        if (number(file.head, "SamplesPerPixel") or 1) != 1:
            raise NotEvaluable("colour: a picture of a screen, not a slice")
        frames = max(1, number(file.head, "NumberOfFrames") or 1)
        if frames > MOST_FRAMES:
            raise NotEvaluable(f"Number of Frames is {frames}, more than the {MOST_FRAMES} that are looked at")
        for index in range(frames):
            yield _slice_head(path, frame_head(file.head, index), index)


def _slice_head(path: Path, head: Dataset, index: int) -> SliceHead:
    rows, columns = (number(head, keyword) or 0 for keyword in ("Rows", "Columns"))
    plane = plane_of(head)
    return SliceHead(
        slice=Slice(
            path=path, sop_class_uid=text(head, "SOPClassUID"), sop_instance_uid=text(head, "SOPInstanceUID"),
            series_instance_uid=text(head, "SeriesInstanceUID"), frame=index + 1,
            instance_number=number(head, "InstanceNumber"), values=rows * columns,
            position_mm=None if plane is None else plane.depth),
        plane=plane, study_instance_uid=text(head, "StudyInstanceUID"), modality=text(head, "Modality"),
        image_type=texts(head, "FrameType") or texts(head, "ImageType"),
        acquisition_number=text(head, "AcquisitionNumber"), rows=rows, columns=columns,
        patient_position=text(head, "PatientPosition"),
        phases={name: "\\".join(text(head, keyword) for keyword in keywords) for name, keywords in PHASES.items()})


def texts(head: Dataset, keyword: str) -> tuple[str, ...]:
    """The values of an attribute as texts, without padding."""
    found = value(head, keyword)
    several = found if isinstance(found, list | tuple) or hasattr(found, "append") else [found]
    return tuple(str(part).strip() for part in several or () if part is not None)
