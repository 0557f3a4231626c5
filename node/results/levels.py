"""The Patient Root and Study Root information models (PS3.4 C.6.1, C.6.2), as far as our objects fill them."""

from __future__ import annotations

from enum import Enum

from pydicom.datadict import dictionary_VR, tag_for_keyword


class Root(Enum):
    """Where an information model begins."""

    PATIENT = "patient"
    STUDY = "study"


class Level(Enum):
    """Query/Retrieve Level (0008,0052)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"

    @property
    def depth(self) -> int:
        """0 for PATIENT to 3 for IMAGE."""
        return LEVELS.index(self)


LEVELS = tuple(Level)

UNIQUE = {
    Level.PATIENT: "PatientID", Level.STUDY: "StudyInstanceUID", Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}
"""The unique key of each level."""

ATTRIBUTES = {
    Level.PATIENT: ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    Level.STUDY: (
        "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "StudyDescription",
        "ReferringPhysicianName", "PatientAge"),
    Level.SERIES: (
        "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "SeriesDate", "SeriesTime",
        "Manufacturer", "ManufacturerModelName", "StationName"),
    Level.IMAGE: (
        "SOPInstanceUID", "SOPClassUID", "InstanceNumber", "ContentDate", "ContentTime", "InstanceCreationDate",
        "InstanceCreationTime", "CompletionFlag", "VerificationFlag", "PreliminaryFlag"),
}
"""What is kept of an object, by the level it belongs to."""

LEVEL_OF = {keyword: level for level, keywords in ATTRIBUTES.items() for keyword in keywords}

COUNTED = {
    Level.PATIENT: (
        "NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances"),
    Level.STUDY: (
        "ModalitiesInStudy", "SOPClassesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"),
    Level.SERIES: ("NumberOfSeriesRelatedInstances",),
    Level.IMAGE: (),
}
"""What is said of a whole entity, at its own level only."""


def levels_of(root: Root) -> tuple[Level, ...]:
    """From the top down; in Study Root the patient's attributes belong to the study."""
    return LEVELS if root is Root.PATIENT else LEVELS[1:]


def tag_of(keyword: str) -> int:
    """Group and element as one number."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, f"{keyword} is not in the data dictionary"
    return tag


def vr_of(keyword: str) -> str:
    """Value Representation by the data dictionary."""
    return dictionary_VR(tag_of(keyword))
