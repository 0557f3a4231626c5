"""Whether another study is an earlier one of the same patient and the same part.

What is not said is never taken for the same: in doubt there is no prior. Reasons name attributes, never their values.
"""

from __future__ import annotations

from node.domain import ImageHead
from node.routing.anatomy import BODY_PARTS, described_other, parts_of, shows
from node.routing.classes import IMAGE_FAMILIES, PROJECTIONS, modality_of
from node.routing.dates import day_of, time_of

NOT_LITERAL = frozenset("*?\\")
"""What a query does not take for itself: wildcards, and the sign between values (PS3.4 C.2.2.2.4)."""
LONGEST = 64
"""Characters of a Patient ID (LO)."""
SEXES = frozenset("MFO")
RADIOGRAPHS = frozenset(PROJECTIONS.values())
"""Modalities that are one family; every other one is alone."""


def unaskable(current: ImageHead, *, single_issuer: bool) -> str:
    """Why nobody can be asked for earlier studies of this one; '' when an archive can."""
    patient_id = current.patient_id.strip()
    if not patient_id or len(patient_id) > LONGEST:
        return "Patient ID is missing or too long"
    if NOT_LITERAL & set(patient_id):
        return "Patient ID holds a sign that a query would not take for itself"
    if reason := _unidentified(current, single_issuer=single_issuer):
        return f"{reason} is missing"
    if day_of(current.study_date) is None:
        return "Study Date is missing"
    if not modality_of(current):
        return "Modality is missing"
    return "" if parts_of(current) else "body part is not known"


def other_patient(current: ImageHead, other: ImageHead, *, single_issuer: bool) -> str:
    """The attribute by which these may be two patients; '' when they are one.

    Where all Patient IDs have a single issuer it need not be named; named differently, they are two all the same.
    """
    if not current.patient_id.strip() or current.patient_id.strip() != other.patient_id.strip():
        return "Patient ID"
    for one in (current, other):
        if reason := _unidentified(one, single_issuer=single_issuer):
            return reason
    issuers = {one.issuer_of_patient_id.strip() for one in (current, other)} - ({""} if single_issuer else set())
    if len(issuers) > 1:
        return "Issuer of Patient ID"
    if day_of(current.patient_birth_date) != day_of(other.patient_birth_date):
        return "Patient's Birth Date"
    return "" if _sex(current) == _sex(other) else "Patient's Sex"


def no_prior(current: ImageHead, other: ImageHead, *, single_issuer: bool, seen: bool) -> str:
    """Why ``other`` is no prior of ``current``; '' when it is.

    With ``seen`` it is the head of an image. Else it is what an archive answered, which may leave out the body part.
    """
    if attribute := other_patient(current, other, single_issuer=single_issuer):
        return f"{attribute} is missing or another"
    if other.study_instance_uid == current.study_instance_uid:
        return "it is the same study"
    if not _is_earlier(current, other):
        return "it is not known to be earlier"
    if not kin(modality_of(current), modality_of(other)):
        return "Modality is another"
    if _other_part(current, other, seen=seen):
        return "body part is not known or another"
    return ""


def kin(one: str, other: str) -> bool:
    """If images of these modalities can be compared."""
    return bool(one) and (one == other or {one, other} <= RADIOGRAPHS)


def classes_of(modality: str) -> tuple[str, ...]:
    """Storage classes whose images can be compared with those of a modality."""
    return tuple(sorted(uid for uid, family in IMAGE_FAMILIES.items() if kin(modality, family)))


def _unidentified(head: ImageHead, *, single_issuer: bool) -> str:
    """What the head lacks to tell a patient from others with the same ID."""
    if not single_issuer and not head.issuer_of_patient_id.strip():
        return "Issuer of Patient ID"
    if day_of(head.patient_birth_date) is None:
        return "Patient's Birth Date"
    return "" if _sex(head) in SEXES else "Patient's Sex"


def _sex(head: ImageHead) -> str:
    return head.patient_sex.strip().upper()


def _is_earlier(current: ImageHead, other: ImageHead) -> bool:
    own, its = day_of(current.study_date), day_of(other.study_date)
    if own is None or its is None:
        return False
    if own != its:
        return its < own
    own_time, its_time = time_of(current.study_time), time_of(other.study_time)
    return own_time is not None and its_time is not None and its_time < own_time


def _other_part(current: ImageHead, other: ImageHead, *, seen: bool) -> bool:
    sides = {current.laterality.strip().upper(), other.laterality.strip().upper()} - {""}
    parts = parts_of(current)
    if len(sides) > 1 or not parts:
        return True
    return not shows(other, parts) and (seen or not _says_no_part(other))


def _says_no_part(head: ImageHead) -> bool:
    stated = head.body_part_examined.strip() or head.anatomic_region_code or described_other(head)
    return not stated and not any(shows(head, (part,)) for part in BODY_PARTS)
