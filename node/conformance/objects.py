"""The objects the node writes, attribute by attribute, in the words of PS3.2: presence and source of each value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from sr_writer import measurement_report, text_report
from sr_writer.codes import Code, Verified


class Source(Enum):
    """Where a value comes from."""

    #: Copied from the source image as it is, or empty (type 2) or left out (type 3) where that cannot be.
    COPY = "copied"
    AUTO = "generated"
    CONFIG = "configured"
    FIXED = "fixed"
    MODEL = "models"


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """``kind`` is the type of PS3.3; ``note`` a fixed value, or what is generated."""

    keyword: str
    kind: str
    source: Source
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Module:
    """A module of PS3.3 with the attributes of it that the node writes."""

    entity: str
    name: str
    section: str
    attributes: tuple[Attribute, ...]


def _copied(kind: str, *keywords: str) -> tuple[Attribute, ...]:
    return tuple(Attribute(keyword=keyword, kind=kind, source=Source.COPY) for keyword in keywords)


def _made(keyword: str, kind: str, note: str, source: Source = Source.AUTO) -> Attribute:
    return Attribute(keyword=keyword, kind=kind, source=source, note=note)


def _fixed(keyword: str, kind: str, value: str) -> Attribute:
    return _made(keyword, kind, value, Source.FIXED)


MODULES: tuple[Module, ...] = (
    Module(entity="Patient", name="Patient", section="C.7.1.1", attributes=(
        *_copied("2", "PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
        *_copied("3", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "PatientIdentityRemoved"),
        *_copied("1C", "DeidentificationMethod"))),
    Module(entity="Study", name="General Study", section="C.7.2.1", attributes=(
        *_copied("1", "StudyInstanceUID"),
        *_copied("2", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
        *_copied("3", "IssuerOfAccessionNumberSequence", "StudyDescription"))),
    Module(entity="Study", name="Patient Study", section="C.7.2.2", attributes=_copied("3", "PatientAge")),
    Module(entity="Series", name="SR Document Series", section="C.17.1", attributes=(
        _fixed("Modality", "1", "SR"), _made("SeriesInstanceUID", "1", "2.25 and a digest: one series per object"),
        _made("SeriesNumber", "1", "9901 measurement report, 9902 text report"),
        _made("SeriesDate", "3", "when it was written"), _made("SeriesTime", "3", "when it was written"),
        _made("SeriesDescription", "3", "begins with AI; carries the first notice where it fits"),
        _fixed("ReferencedPerformedProcedureStepSequence", "2", "empty"))),
    Module(entity="Equipment", name="General Equipment, Enhanced General Equipment", section="C.7.5.1, C.7.5.2",
           attributes=(
               _fixed("Manufacturer", "1", "dicom-ai-node"), _fixed("ManufacturerModelName", "1", "AI node"),
               _made("DeviceSerialNumber", "1", "UID of the installation"),
               _made("SoftwareVersions", "1", "version of the node"),
               _made("StationName", "3", "`node.ae_title`", Source.CONFIG))),
    Module(entity="Document", name="SR Document General", section="C.17.2", attributes=(
        _fixed("InstanceNumber", "1", "1"), _made("ContentDate", "1", "when the analysis began"),
        _made("ContentTime", "1", "when the analysis began"), _fixed("CompletionFlag", "1", "COMPLETE"),
        _fixed("VerificationFlag", "1", "UNVERIFIED"), _fixed("PreliminaryFlag", "3", "PRELIMINARY"),
        _fixed("PerformedProcedureCodeSequence", "2", "empty"),
        Attribute(keyword="ReferencedRequestSequence", kind="1C", source=Source.COPY,
                  note="one item per request of the image, where one is known"),
        _made("CurrentRequestedProcedureEvidenceSequence", "1C", "the images that were shown to a model"),
        _made("PredecessorDocumentsSequence", "1C", "the object of the version before, where there is one"))),
    Module(entity="Document", name="SR Document Content", section="C.17.3", attributes=(
        _fixed("ValueType", "1", "CONTAINER"), _made("ConceptNameCodeSequence", "1", "title of the template"),
        _fixed("ContinuityOfContent", "1", "SEPARATE"), _made("ContentTemplateSequence", "1C", "1500 or 2000, DCMR"),
        _made("ContentSequence", "1C", "see the templates", Source.MODEL))),
    Module(entity="Document", name="SOP Common", section="C.12.1", attributes=(
        _made("SOPClassUID", "1", "by kind"), _made("SOPInstanceUID", "1", "2.25 and a digest of node, study, version "
              "and kind, so that a repeated step makes the same object"),
        _fixed("SpecificCharacterSet", "1C", "ISO_IR 192"), _made("InstanceCreationDate", "3", "when it was written"),
        _made("InstanceCreationTime", "3", "when it was written"),
        _made("InstanceCreatorUID", "3", "UID of the installation"),
        *_copied("3", "TimezoneOffsetFromUTC", "LongitudinalTemporalInformationModified"),
        _made("CodingSchemeIdentificationSequence", "3", "where a private scheme is used"),
        _made("ContributingEquipmentSequence", "3", "one item per model: Purpose of Reference (109102, DCM), name, "
              "version, and a Device UID from the digest of weights, processor, prompt set and operating points",
              Source.MODEL))),
)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """An object the node writes, by the name it has in ``reports.kinds``."""

    name: str
    sop_class_uid: str
    template: str
    title: Code
    content: tuple[str, ...]


KINDS: tuple[Kind, ...] = (
    Kind(
        name="measurement_report", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
        template=f"TID {measurement_report.TEMPLATE} Measurement Report", title=Code.IMAGING_MEASUREMENT_REPORT,
        content=(
            "TID 1204 language, TID 1001, 1002 and 1004 device observer, procedure reported, TID 1600 image library.",
            "TID 1501, one measurement group per finding of the prompt set: tracking identifier and UID (the same in "
            "every version of the study), Finding where it is present, Finding Site with Laterality where it is known, "
            "TID 4019 algorithm, AI score (99AINODE) with TID 320 the image that decided, and the finding as a "
            "qualitative evaluation (present, absent, undetermined, not evaluated), with its operating point.",
            "Statements about the study: priority, summaries, impression and recommendation of the findings model "
            "where `reports.profile` lets them out, remarks, notices. A score is a rank, not a probability.")),
    Kind(
        name="text_report", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.11",
        template=f"TID {text_report.TEMPLATE} Basic Diagnostic Imaging Report", title=Code.DIAGNOSTIC_IMAGING_REPORT,
        content=("TID 1204, 1001, 1002 and 1004; sections Findings, Impressions and Recommendations with the same "
                 "statements as sentences, in the language of `reports.language`.",)),
)


def private_codes() -> list[Code]:
    """Concepts of the node's own coding scheme."""
    return [code for code in Code if code.value.verified is Verified.PRIVATE]


def schemes() -> list[str]:
    """Coding schemes the reports use."""
    return sorted({code.concept.scheme for code in Code})
