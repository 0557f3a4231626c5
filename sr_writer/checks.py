"""The last look at a report before it may leave: each check names what is wrong and where.

These are our own rules and those that public validators cannot know; the validators themselves run in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage, Comprehensive3DSRStorage

from node.errors import ReportInvalid
from sr_writer import measurement_report, read_back, source_header, text_report, tree
from sr_writer.codes import Code, is_known
from sr_writer.verbatim import values

_VALID_UID = re.compile(r"(?=.{1,64}$)(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
_TITLES = {
    Comprehensive3DSRStorage: (Code.IMAGING_MEASUREMENT_REPORT, measurement_report.TEMPLATE),
    BasicTextSRStorage: (Code.DIAGNOSTIC_IMAGING_REPORT, text_report.TEMPLATE),
}
_FLAGS = {
    "Modality": "SR",
    "SpecificCharacterSet": "ISO_IR 192",
    "CompletionFlag": "COMPLETE",
    "VerificationFlag": "UNVERIFIED",
    "PreliminaryFlag": "PRELIMINARY",
}
_TYPE_1 = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber"),
    *("ContentDate", "ContentTime", "ValueType", "ContinuityOfContent", "ContentSequence"),
    *("CurrentRequestedProcedureEvidenceSequence", "ContributingEquipmentSequence"),
    *("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions", "SeriesDescription"),
)
_TYPE_2 = (
    *source_header.IDENTITY,
    *source_header.REQUIRED,
    *("ReferencedPerformedProcedureStepSequence", "PerformedProcedureCodeSequence"),
)
_TEXT_VRS = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")


def require(dataset: Dataset, source: Dataset) -> None:
    """Raise ReportInvalid with every problem when there is one."""
    problems = check(dataset, source)
    if problems:
        raise ReportInvalid(f"report {dataset.get('SOPInstanceUID', '?')} is not sent: " + "; ".join(problems))


def check(dataset: Dataset, source: Dataset) -> tuple[str, ...]:
    """Problems of ``dataset`` as a report about ``source`` (the head it was built from); () when there are none."""
    found = [
        *_attributes(dataset),
        *_title(dataset),
        *_identity(dataset, source),
        *_own_uids(dataset, source),
        *_encoding(dataset),
        *_codes(dataset),
        *_evidence(dataset),
        *_algorithms(dataset),
    ]
    if dataset.get("SOPClassUID") == Comprehensive3DSRStorage:
        found += _groups(dataset)
    return tuple(found)


def _attributes(dataset: Dataset) -> Iterator[str]:
    """Type 1 and 2 attributes of the document's modules, and the flags every AI result carries."""
    for keyword in _TYPE_1:
        if dataset.get(keyword) in (None, "", []):
            yield f"{keyword} is missing or empty"
    for keyword in _TYPE_2:
        if keyword not in dataset:
            yield f"{keyword} is missing"
    for keyword, wanted in _FLAGS.items():
        if dataset.get(keyword) != wanted:
            yield f"{keyword} is {dataset.get(keyword)!r}, not {wanted!r}"
    if not str(dataset.get("SeriesDescription", "")).startswith("AI"):
        yield "SeriesDescription does not start with 'AI'"


def _title(dataset: Dataset) -> Iterator[str]:
    expected = _TITLES.get(dataset.get("SOPClassUID"))
    if expected is None:
        yield f"SOP Class {dataset.get('SOPClassUID')} is not one we write"
        return
    title, template = expected
    if not tree.is_named(dataset, title):
        yield f"document title is {tree.name(dataset)}, not {title.concept.meaning!r}"
    named = dataset.get("ContentTemplateSequence") or ()
    if [item.get("TemplateIdentifier") for item in named] != [template]:
        yield f"template is not {template}"


def _identity(dataset: Dataset, source: Dataset) -> Iterator[str]:
    """Every copied attribute equals the source's, or is empty because the source's cannot be copied."""
    expected = source_header.evidence(source)
    copied = ("StudyInstanceUID", *source_header.IDENTITY, *source_header.OPTIONAL_IDENTITY)
    for keyword in (*copied, *source_header.REQUIRED, *source_header.OPTIONAL):
        if values(dataset, keyword) != values(expected, keyword):
            yield f"{keyword} is not the source's"
        elif values(dataset, keyword) not in ((), values(source, keyword)):
            yield f"{keyword} was altered"


def _own_uids(dataset: Dataset, source: Dataset) -> Iterator[str]:
    own = {keyword: str(dataset.get(keyword, "")) for keyword in ("SOPInstanceUID", "SeriesInstanceUID")}
    for item in dataset.get("ContributingEquipmentSequence") or ():
        own[f"DeviceUID of {item.get('ManufacturerModelName', '?')}"] = str(item.get("DeviceUID", ""))
    for item in tree.walk(dataset):
        if item.get("ValueType") == "UIDREF":
            own[f"{tree.name(item)}"] = tree.text(item)
    for which, uid in own.items():
        if not _VALID_UID.fullmatch(uid):
            yield f"{which} {uid!r} is not a valid UID"
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        if own[keyword] in values(source, keyword):
            yield f"{keyword} is the source's own"


def _encoding(dataset: Dataset) -> Iterator[str]:
    """Every text can be written in UTF-8, nothing was lost in decoding, and the whole can be written."""
    for element in dataset.iterall():
        said = str(element.value) if element.VR in _TEXT_VRS else ""
        if "\ufffd" in said or any("\ud800" <= char <= "\udfff" for char in said):
            yield f"{element.keyword} holds a character that is not text"
        if element.tag.is_private:
            yield f"private element {element.tag}"
    try:
        dataset.save_as(BytesIO(), enforce_file_format=True)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        yield f"it cannot be written: {error}"


def _codes(dataset: Dataset) -> Iterator[str]:
    """Every code of the tree is in the table; private schemes are declared."""
    declared = {item.CodingSchemeDesignator for item in dataset.get("CodingSchemeIdentificationSequence") or ()}
    for item in (dataset, *tree.walk(dataset)):
        units = tree.concept(next(iter(item.get("MeasuredValueSequence") or ()), None), "MeasurementUnitsCodeSequence")
        for used in (tree.name(item), tree.code_value(item), units):
            if used is not None and not is_known(used):
                yield f"code {tuple(used)} is not in the code table: verify it and add it to sr_writer/codes.py"
            if used is not None and used.scheme.startswith("99") and used.scheme not in declared:
                yield f"coding scheme {used.scheme} is not declared"


def _evidence(dataset: Dataset) -> Iterator[str]:
    """Every image of the tree is listed as evidence of the same study."""
    listed = tree.evidence(dataset)
    for item in tree.walk(dataset):
        if item.get("ValueType") == "IMAGE" and tree.image(item) not in listed:
            yield f"image {tree.image(item)} is not in the evidence sequence"
    for study in dataset.get("CurrentRequestedProcedureEvidenceSequence") or ():
        if study.get("StudyInstanceUID") != dataset.get("StudyInstanceUID"):
            yield f"evidence is of study {study.get('StudyInstanceUID')}"


def _algorithms(dataset: Dataset) -> Iterator[str]:
    """Name and version of an algorithm come together (TID 4019)."""
    for item in tree.walk(dataset):
        if len(tree.children(item, Code.ALGORITHM_NAME)) != len(tree.children(item, Code.ALGORITHM_VERSION)):
            yield "an algorithm is named without its version"


def _groups(dataset: Dataset) -> Iterator[str]:
    """Every measurement group is complete, and no finding is told twice."""
    groups = read_back.groups(dataset)
    if not groups:
        yield "there is no measurement group"
    tracked = [tree.text(tree.child(group, Code.TRACKING_UID)) for group in groups]
    if len(set(tracked)) != len(tracked):
        yield "two measurement groups have the same tracking UID"
    for place, group in enumerate(groups, start=1):
        yield from (f"measurement group {place}: {problem}" for problem in _group(group))


def _group(group: Dataset) -> Iterator[str]:
    for needed in (Code.TRACKING_IDENTIFIER, Code.TRACKING_UID, Code.FINDING_SITE, Code.ALGORITHM_NAME):
        if tree.child(group, needed) is None:
            yield f"{needed.concept.meaning} is missing"
    answer = tree.code_value(read_back.evaluation(group))
    if answer is None:
        yield "it does not say present, absent, undetermined or not evaluated"
        return
    if (answer == Code.PRESENT.concept) != (tree.child(group, Code.FINDING) is not None):
        yield "the Finding item has to stand where, and only where, the finding is present"
    score = tree.number(tree.child(group, Code.AI_SCORE))
    if score is not None and not 0 <= score <= 1:
        yield f"AI score {score} is not in 0..1"
    if score is None and answer == Code.PRESENT.concept:
        yield "it is present without an AI score"
