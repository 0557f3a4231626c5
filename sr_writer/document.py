"""The envelope every report shares: patient, study, series, equipment and document modules around a content tree."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID, ExplicitVRLittleEndian

from node.domain import AnalysisResult, ReportIdentity, ReportObject
from node.errors import ReportInvalid
from sr_writer import items, source_header, tree
from sr_writer.codes import LANGUAGE, PRIVATE_SCHEME, Code
from sr_writer.items import Relationship
from sr_writer.observer import MANUFACTURER, MODEL_NAME, contributing_equipment, models
from sr_writer.references import Reference, sequence
from sr_writer.verbatim import text_element


def language(identity: ReportIdentity) -> Dataset:
    """Language of Content Item and Descendants (TID 1204); English where the language is not one of ours."""
    return items.code(Code.LANGUAGE, LANGUAGE.get(identity.language, Code.ENGLISH), Relationship.HAS_CONCEPT_MOD)


def series_description(label: str, notices: Sequence[str]) -> str:
    """The one text every viewer lists: it starts with "AI", and carries the first notice where 64 characters allow."""
    stamped = f"{label} - {notices[0]}" if notices else label
    return stamped if len(stamped) <= 64 else label


def assemble(
    sop_class_uid: str,
    root: Dataset,
    label: str,
    *,
    result: AnalysisResult,
    source: Dataset,
    references: Sequence[Reference],
    identity: ReportIdentity,
) -> Dataset:
    """A complete document around ``root``, the root container; never verified, never final.

    Times of the node are written in the source's zone where the source declares one, because Timezone Offset From
    UTC speaks for every date of the object; otherwise in the zone they come in.

    Raises:
        UnusableIdentity: the source's UIDs name nothing.
        ReportInvalid: the source is of another study than the result.
    """
    document = Dataset()
    document.update(source_header.evidence(source))
    if document.StudyInstanceUID != result.study_instance_uid:
        raise ReportInvalid(
            f"source image is of study {document.StudyInstanceUID}, result of {result.study_instance_uid}"
        )
    zone = source_header.offset(document)
    started, created = (
        moment.astimezone(zone) if zone else moment for moment in (result.started_at, identity.created_at)
    )
    _instance(document, sop_class_uid, identity, created)
    _series(document, series_description(label, result.notices), identity, created)
    _equipment(document, identity)
    document.ContributingEquipmentSequence = [contributing_equipment(model, started) for model in models(result)]
    _document(document, started)
    _references(document, source, references, identity)
    document.update(root)
    separate(document)
    _declare_schemes(document)
    return finish(document)


def _instance(document: Dataset, sop_class_uid: str, identity: ReportIdentity, created: datetime) -> None:
    """SOP Common."""
    document.SOPClassUID = UID(sop_class_uid)
    document.SOPInstanceUID = UID(identity.sop_instance_uid)
    document.InstanceCreationDate, document.InstanceCreationTime = _da_tm(created)
    document.InstanceCreatorUID = identity.node_uid


def _da_tm(moment: datetime) -> tuple[str, str]:
    return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")


def _series(document: Dataset, description: str, identity: ReportIdentity, created: datetime) -> None:
    """SR Document Series: always a series of its own, never the source's."""
    document.Modality = "SR"
    document.SeriesInstanceUID = UID(identity.series_instance_uid)
    document.SeriesNumber = identity.series_number
    document.SeriesDate, document.SeriesTime = _da_tm(created)
    document.SeriesDescription = description
    document.ReferencedPerformedProcedureStepSequence = []
    document.InstanceNumber = 1


def _equipment(document: Dataset, identity: ReportIdentity) -> None:
    """General and Enhanced General Equipment: the node."""
    document.Manufacturer = MANUFACTURER
    document.ManufacturerModelName = MODEL_NAME
    document.DeviceSerialNumber = identity.node_uid
    document.SoftwareVersions = identity.software_version
    document.StationName = identity.ae_title


def _document(document: Dataset, started: datetime) -> None:
    """SR Document General; Content Date and Time say when the analysis started (IHE AIR)."""
    document.ContentDate, document.ContentTime = _da_tm(started)
    document.CompletionFlag = "COMPLETE"
    document.VerificationFlag = "UNVERIFIED"
    document.PreliminaryFlag = "PRELIMINARY"
    document.PerformedProcedureCodeSequence = []


def _references(document: Dataset, source: Dataset, references: Sequence[Reference], identity: ReportIdentity) -> None:
    """Requests, evidence and the document that this one replaces."""
    requests = source_header.requests(source)
    if requests:
        document.ReferencedRequestSequence = requests
    document.CurrentRequestedProcedureEvidenceSequence = sequence(str(document.StudyInstanceUID), references)
    if identity.predecessor is not None:
        document.PredecessorDocumentsSequence = _predecessor(identity.predecessor)


def _predecessor(replaced: ReportObject) -> list[Dataset]:
    reference = Reference(
        sop_class_uid=replaced.sop_class_uid,
        sop_instance_uid=replaced.sop_instance_uid,
        series_instance_uid=replaced.series_instance_uid,
    )
    return sequence(replaced.study_instance_uid, [reference])


def separate(item: Dataset) -> None:
    """Make every container SEPARATE: in a continuous one viewers run the values together without their names."""
    for node in (item, *tree.walk(item)):
        if node.get("ValueType") == "CONTAINER":
            node.ContinuityOfContent = "SEPARATE"


def schemes(document: Dataset) -> set[str]:
    """Coding schemes used in the content tree."""
    return {str(element.value) for element in document.iterall() if element.keyword == "CodingSchemeDesignator"}


def _declare_schemes(document: Dataset) -> None:
    """Coding Scheme Identification Sequence (PS3.3 C.12.1.1.2): private schemes have to be declared."""
    declared = []
    for scheme in sorted(name for name in schemes(document) if name.startswith("99")):
        item = Dataset()
        item.add(text_element("CodingSchemeDesignator", [scheme]))
        if scheme == PRIVATE_SCHEME:
            item.CodingSchemeName = "Concepts of dicom-ai-node"
            item.CodingSchemeResponsibleOrganization = MANUFACTURER
        declared.append(item)
    if declared:
        document.CodingSchemeIdentificationSequence = declared


def finish(document: Dataset) -> Dataset:
    """Add the file meta information (PS3.10 7.1), so that the data set can be saved as it is."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = document.SOPClassUID
    meta.MediaStorageSOPInstanceUID = document.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    document.file_meta = meta
    return document
