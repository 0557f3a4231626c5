"""Why no model may look at an image, and what is to be said of one that it may look at."""

from __future__ import annotations

import re
from datetime import date

from node.domain import Eligibility, ImageHead
from node.routing.anatomy import described_other, shows, spaced, view_of
from node.routing.classes import (
    FOR_PROCESSING,
    IMAGE_FAMILIES,
    SECONDARY_CAPTURE,
    is_evidence,
    is_projection,
    modality_of,
)
from node.routing.dates import age_of

ONLY_IF_NAMED = frozenset({"MG", "PX", "NM", "PT", "XA", "SC"})
"""Modalities that no prompt set gets unless it names them; SC stands for the Secondary Capture classes."""
CAPTURED_AS = frozenset({"", "SC", "OT"})
"""Modality of a Secondary Capture that says nothing about what was captured (PS3.3 C.8.6.1)."""
NOT_THE_PATIENT = {"LOCALIZER": "localizer", "SCREEN SAVE": "screen save", "DOSE INFO": "dose screen",
                   "LABEL": "label of a slide", "OVERVIEW": "overview of a slide", "THUMBNAIL": "thumbnail"}
"""Values of Image Type from the third on, and the reason why such an image is not evaluated."""
TEST_PATTERNS = (r"(TEST|QC|PHANTOM|DUMMY)(?![A-Z])",)
"""Begin of a family name or Patient ID of a test or quality control subject, in any case."""
HUMAN = re.compile(r"\b(HOMO SAPIENS|HUMAN)\b", re.IGNORECASE)
ANIMAL = re.compile(r"\b(CANINE|FELINE|EQUINE|BOVINE|VETERINARY)\b", re.IGNORECASE)


def decline(head: ImageHead, eligibility: Eligibility, today: date) -> str:
    """Why no model of this prompt set may look at the image, most telling reason first; '' when it may.

    Unknown view and unknown age pass, with a remark; an unknown body part does not.
    """
    reasons = (
        _declined_subject(head),
        "" if head.has_pixel_data else "no pixel data",
        _declined_object(head, eligibility),
        _declined_modality(head, eligibility),
        _declined_body_part(head, eligibility),
        _declined_view(head, eligibility),
        _declined_age(head, eligibility, today),
    )
    return next(filter(None, reasons), "")


def remarks(head: ImageHead, eligibility: Eligibility, today: date) -> tuple[str, ...]:
    """What a reader of an eligible image's result must know about its head."""
    least, found = eligibility.minimum_age_years, []
    if least and age_of(head, today) is None:
        found.append(f"Patient age is not known; the model was made for adults ({least} or over).")
    if eligibility.views and not view_of(head):
        found.append("View position is not known.")
    return tuple(found)


def _declined_subject(head: ImageHead) -> str:
    if head.quality_control_subject.strip().upper() == "YES":
        return "test: quality control subject"
    family_name = re.split(r"[\^=]", head.patient_name.strip())[0]
    for name, text in (("name", family_name), ("ID", head.patient_id.strip())):
        if any(re.match(pattern, text.upper()) for pattern in TEST_PATTERNS):
            return f"test: the patient {name} is one of a test subject"
    species = head.patient_species_description
    described = ANIMAL.search(f"{head.study_description} {head.series_description}")
    if (species.strip() and not HUMAN.search(species)) or described:
        return "test: not a human subject"
    return ""


def _declined_object(head: ImageHead, eligibility: Eligibility) -> str:
    captured = head.sop_class_uid in SECONDARY_CAPTURE
    if captured and "SC" not in eligibility.modalities:
        return "secondary capture"
    if not is_evidence(head):
        return "not an image of a patient"
    intent = head.presentation_intent_type.strip().upper()
    if head.sop_class_uid in FOR_PROCESSING or intent == "FOR PROCESSING":
        return "for processing, not for presentation"
    image_type = [part.upper() for part in head.image_type]
    if other := next((NOT_THE_PATIENT[part] for part in map(spaced, image_type[2:]) if part in NOT_THE_PATIENT), ""):
        return other
    if image_type[:2] == ["DERIVED", "SECONDARY"] and not captured:
        return "derived image (DERIVED\\SECONDARY)"
    return f"{head.number_of_frames} frames" if is_projection(head) and head.number_of_frames > 1 else ""


def _declined_modality(head: ImageHead, eligibility: Eligibility) -> str:
    """Modality as stated; a class of another family does not become a radiograph by its Modality."""
    allowed = eligibility.modalities
    stated, implied = modality_of(head), IMAGE_FAMILIES.get(head.sop_class_uid, "")
    if head.sop_class_uid in SECONDARY_CAPTURE and stated in CAPTURED_AS:
        return ""
    wrong = next((each for each in (stated, implied)
                  if each and each not in allowed and (allowed or each in ONLY_IF_NAMED)), "")
    return f"modality {wrong}" if wrong else ""


def _declined_body_part(head: ImageHead, eligibility: Eligibility) -> str:
    if shows(head, eligibility.body_parts):
        return ""
    stated = head.body_part_examined.strip() or described_other(head) or head.anatomic_region_code
    return f"body part {stated.upper()}" if stated else "body part is not known"


def _declined_view(head: ImageHead, eligibility: Eligibility) -> str:
    view = view_of(head)
    return f"view {view}" if eligibility.views and view and view not in eligibility.views else ""


def _declined_age(head: ImageHead, eligibility: Eligibility, today: date) -> str:
    age, least = age_of(head, today), eligibility.minimum_age_years
    return f"age {age} years, needs {least} or over" if age is not None and age < least else ""
