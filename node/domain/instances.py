"""What arrives: instances, their heads, studies, and the images that models see."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from node.domain.states import InstanceState, Lane, Priority
from node.domain.words import JSON


@dataclass(frozen=True, kw_only=True)
class ReceivedInstance:
    """One row of the instance store. ``path`` is relative to ``node.data_dir``."""

    id: int
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    modality: str
    path: str
    size: int
    calling_ae_title: str
    called_ae_title: str
    source_host: str
    received_at: datetime
    state: InstanceState = InstanceState.RECEIVED
    #: As far as it could be told on reception.
    lane: Lane = Lane.FRESH


@dataclass(frozen=True, kw_only=True)
class Study:
    """One row of the study table. Texts are verbatim; an absent attribute is an empty text."""

    study_instance_uid: str
    patient_id: str = ""
    accession_number: str = ""
    modality: str = ""
    study_date: str = ""
    lane: Lane = Lane.FRESH
    order_priority: Priority = Priority.ROUTINE
    version: int = 0


@dataclass(frozen=True, kw_only=True)
class ImageHead:
    """What the head of a received instance says, pixels excluded. Texts are decoded but otherwise verbatim.

    A multi-valued text is joined with a backslash, an absent one is empty. ``patient_name``
    tells test patients and what has to be removed from ``indication``; it is never stored, logged or sent.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    modality: str = ""
    body_part_examined: str = ""
    anatomic_region_code: str = ""
    view_position: str = ""
    laterality: str = ""
    patient_orientation: tuple[str, ...] = ()
    image_type: tuple[str, ...] = ()
    presentation_intent_type: str = ""
    photometric_interpretation: str = ""
    rows: int = 0
    columns: int = 0
    number_of_frames: int = 1
    has_pixel_data: bool = False
    study_description: str = ""
    series_description: str = ""
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = field(default="", repr=False)
    patient_birth_date: str = ""
    patient_sex: str = ""
    patient_age: str = ""
    patient_species_description: str = ""
    quality_control_subject: str = ""
    accession_number: str = ""
    study_date: str = ""
    study_time: str = ""
    requested_procedure_priority: str = ""
    #: Why the study was asked for, in free text that may name anybody.
    indication: str = field(default="", repr=False)
    instance_number: str = ""
    manufacturer: str = ""
    burned_in_annotation: str = ""
    #: DeviceUID of every item of Contributing Equipment Sequence, and of the root.
    device_uids: tuple[str, ...] = ()
    #: Concept Name Code of an SR or KO document's root: (scheme, code), else ("", "").
    document_title: tuple[str, str] = ("", "")
    #: SOP Instance UIDs in Current Requested Procedure Evidence Sequence (KO, SR).
    referenced_sop_instance_uids: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Transform:
    """One step from stored values to model pixels, with the numbers that were used."""

    name: str
    parameters: JSON = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelImage:
    """One frame as a model sees it, before the model's own resize.

    ``pixels`` is uint8, shape (side, side, 3), zero-padded to square, head-up,
    patient's left on image right where ``side_known``. ``may_identify`` says that the pixels themselves may name
    the patient, which is assumed until somebody looked.
    """

    pixels: NDArray[np.uint8]
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    frame: int = 1
    #: Of a slide: the number of its square on the level, row by row from 1; 0 where the image is a frame.
    tile: int = 0
    side_known: bool = False
    transforms: tuple[Transform, ...] = ()
    may_identify: bool = True


@dataclass(frozen=True, kw_only=True)
class Prior:
    """An earlier study of the same patient and part, or, without images, the ``reason`` why there is none.

    ``when`` is its Study Date and Time in local time, midnight where it has no time. Images of the view that decided
    the current study come first.
    """

    study_instance_uid: str = ""
    when: datetime | None = None
    images: tuple[ModelImage, ...] = ()
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class EvidenceImage:
    """A source image named in a report: what was fed to a model."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    frame: int = 1
