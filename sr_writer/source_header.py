"""What a report takes over from its source image: patient, study and order.

Verbatim, or empty (type 2) or left out (type 3) where that cannot be. An identifier that was repaired, truncated
or normalised no longer matches the archive; one that breaks its VR but is kept only costs a validator's complaint.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone, tzinfo

from pydicom.dataset import Dataset

from node.errors import UnusableIdentity
from sr_writer.verbatim import Valid, copyable, element, encodings, items, text_element, values

_USABLE_UID = re.compile(r"[0-9A-Za-z.]{1,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?")
_OFFSET = re.compile(r"([+-])(\d\d)([0-5]\d)")


def _is_date(text: str) -> bool:
    try:
        return re.fullmatch(r"\d{8}", text) is not None and bool(datetime.strptime(text, "%Y%m%d"))
    except ValueError:
        return False


def _is_time(text: str) -> bool:
    return _TIME.fullmatch(text) is not None


def _is_line(text: str) -> bool:
    """A Long String: 64 characters, no control characters, no backslash (PS3.5 6.2)."""
    return len(text) <= 64 and not _CONTROL.search(text)


def _is_person_name(text: str) -> bool:
    groups = text.split("=")
    return len(groups) <= 3 and all(_is_line(group) for group in groups)


def _is_age(text: str) -> bool:
    return re.fullmatch(r"\d{3}[DWMY]", text) is not None


def _is_offset(text: str) -> bool:
    """An offset from UTC between -1200 and +1400; -0000 is not one (PS3.3 C.12.1.1)."""
    matched = _OFFSET.fullmatch(text)
    if matched is None or text == "-0000":
        return False
    return int(matched[2]) * 60 + int(matched[3]) <= (14 if matched[1] == "+" else 12) * 60


def _one_of(*terms: str) -> Valid:
    return lambda text: text in terms


#: Present in every object; copied even where they break their VR (too long, several values).
IDENTITY = ("PatientName", "PatientID", "StudyID", "AccessionNumber")
#: Identity too, but left out when the source has none.
OPTIONAL_IDENTITY = ("IssuerOfPatientID",)
#: Type 2: empty where the source has no valid value.
REQUIRED: dict[str, Valid] = {
    "PatientBirthDate": _is_date,
    "PatientSex": _one_of("M", "F", "O"),
    "StudyDate": _is_date,
    "StudyTime": _is_time,
    "ReferringPhysicianName": _is_person_name,
}
#: Left out where the source has no valid value.
OPTIONAL: dict[str, Valid] = {
    "StudyDescription": _is_line,
    "PatientAge": _is_age,
    "PatientIdentityRemoved": _one_of("YES", "NO"),
    "DeidentificationMethod": _is_line,
    "LongitudinalTemporalInformationModified": _one_of("UNMODIFIED", "MODIFIED", "REMOVED"),
    "TimezoneOffsetFromUTC": _is_offset,
}
_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_SEVERAL_VALUES = "DeidentificationMethod"
_ENTITY = ("LocalNamespaceEntityID", "UniversalEntityID", "UniversalEntityIDType")
ISSUERS: dict[str, tuple[str, ...]] = {
    "IssuerOfPatientIDQualifiersSequence": ("UniversalEntityID", "UniversalEntityIDType", "IdentifierTypeCode"),
    "IssuerOfAccessionNumberSequence": _ENTITY,
    "OrderPlacerIdentifierSequence": _ENTITY,
    "OrderFillerIdentifierSequence": _ENTITY,
}
_REQUEST_ISSUERS = ("IssuerOfAccessionNumberSequence", "OrderPlacerIdentifierSequence", "OrderFillerIdentifierSequence")
_PROCEDURE_CODE = "RequestedProcedureCodeSequence"
_CODE = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")


def refuse_unusable(source: Dataset) -> None:
    """Raise UnusableIdentity when Study, Series or SOP Instance UID cannot name anything; nothing else is refused."""
    for keyword in _UIDS[1:]:
        uid = "\\".join(values(source, keyword))
        if not _USABLE_UID.fullmatch(uid):
            raise UnusableIdentity(
                f"source image: {keyword} is {uid[:80]!r}, not 1 to 64 of [0-9A-Za-z.]: it cannot be reported on"
            )


def evidence(source: Dataset) -> Dataset:
    """The UIDs, patient and study attributes of ``source`` in Unicode; no private elements, no pixels.

    Raises:
        UnusableIdentity: one of the three UIDs names nothing.
    """
    refuse_unusable(source)
    codecs = encodings(source)
    copied = Dataset()
    copied.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _UIDS:
        copied.add(text_element(keyword, values(source, keyword)))
    for keyword in IDENTITY:
        copied.add(text_element(keyword, copyable(source, keyword, codecs=codecs)))
    for keyword, valid in REQUIRED.items():
        copied.add(text_element(keyword, copyable(source, keyword, valid, codecs=codecs)))
    for keyword in OPTIONAL_IDENTITY:
        _add(copied, keyword, copyable(source, keyword, codecs=codecs))
    for keyword, valid in OPTIONAL.items():
        several = keyword == _SEVERAL_VALUES
        _add(copied, keyword, copyable(source, keyword, valid, codecs=codecs, several=several))
    for keyword in ("IssuerOfPatientIDQualifiersSequence", "IssuerOfAccessionNumberSequence"):
        _add_items(copied, keyword, texts_of_items(source, keyword, ISSUERS[keyword], codecs))
    return copied


def _add(target: Dataset, keyword: str, texts: Sequence[str]) -> None:
    if texts:
        target.add(text_element(keyword, texts))


def _add_items(target: Dataset, keyword: str, copies: Sequence[Dataset]) -> None:
    if copies:
        target.add(element(keyword, list(copies)))


def texts_of_items(source: Dataset, keyword: str, inner: Sequence[str], codecs: Sequence[str]) -> list[Dataset]:
    """Copies of the items' ``inner`` texts, or [] when any of them cannot be kept: half an issuer is another issuer."""
    copies = []
    for item in items(source, keyword):
        copy = Dataset()
        for name in inner:
            _add(copy, name, copyable(item, name, codecs=codecs))
        if not copy or any(values(item, name) and name not in copy for name in inner):
            return []
        copies.append(copy)
    return copies


def required_text(source: Dataset, keyword: str) -> str:
    """One attribute of REQUIRED as it may be copied, else empty."""
    return "".join(copyable(source, keyword, REQUIRED[keyword], codecs=encodings(source)))


def offset(source: Dataset) -> tzinfo | None:
    """The zone that all dates and times of the source are in; None when it does not say."""
    found = copyable(source, "TimezoneOffsetFromUTC", _is_offset, codecs=())
    if not found:
        return None
    sign = -1 if found[0][0] == "-" else 1
    return timezone(sign * timedelta(hours=int(found[0][1:3]), minutes=int(found[0][3:5])))


def requests(source: Dataset) -> list[Dataset]:
    """Items of Referenced Request Sequence (PS3.3 C.17.2): one per request the source was acquired for.

    Empty when neither an Accession Number nor a Requested Procedure ID is known. All attributes of an item are
    required, most may be empty.
    """
    codecs = encodings(source)
    scopes = items(source, "RequestAttributesSequence") or (source,)
    made = [_request(source, scope, codecs) for scope in scopes]
    return [request for request in made if request.AccessionNumber or request.RequestedProcedureID]


def _request(source: Dataset, scope: Dataset, codecs: Sequence[str]) -> Dataset:
    """One item; what the request's own ``scope`` does not say is taken from the root."""

    def told(keyword: str, valid: Valid | None = None) -> Sequence[str]:
        return copyable(scope, keyword, valid, codecs=codecs) or copyable(source, keyword, valid, codecs=codecs)

    request = Dataset()
    request.add(text_element("StudyInstanceUID", values(source, "StudyInstanceUID")))
    request.ReferencedStudySequence = []
    for keyword in (
        "AccessionNumber",
        "PlacerOrderNumberImagingServiceRequest",
        "FillerOrderNumberImagingServiceRequest",
        "RequestedProcedureID",
    ):
        request.add(text_element(keyword, told(keyword)))
    request.add(text_element("RequestedProcedureDescription", told("RequestedProcedureDescription", _is_line)))
    codes = [code for where in (scope, source) for code in texts_of_items(where, _PROCEDURE_CODE, _CODE, codecs)]
    request.RequestedProcedureCodeSequence = [code for code in codes if len(code) == len(_CODE)][:1]
    for keyword in _REQUEST_ISSUERS:
        _add_items(request, keyword, texts_of_items(scope, keyword, ISSUERS[keyword], codecs))
    return request
