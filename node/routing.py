"""Which lane, which pipeline, which images, and why not: decisions over heads alone.

Rules are data at the top of the module; nothing is evaluated. A reason is a sentence for the radiologist.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from datetime import date, datetime, time, timedelta

from node.config import PipelineSection
from node.domain import Eligibility, ImageHead, Lane, Priority

STORAGE = "1.2.840.10008.5.1.4.1.1."
SECONDARY_CAPTURE = tuple(STORAGE + end for end in ("7", "7.1", "7.2", "7.3", "7.4"))
PROJECTIONS = {STORAGE + "1": "CR", STORAGE + "1.1": "DX", STORAGE + "1.1.1": "DX"}
"""Computed Radiography, Digital X-Ray for presentation and for processing, with the modality they imply."""
FOR_PROCESSING = frozenset(STORAGE + end for end in ("1.1.1", "1.2.1", "1.3.1"))
IMAGE_FAMILIES = {
    **PROJECTIONS, STORAGE + "1.2": "MG", STORAGE + "1.2.1": "MG", STORAGE + "1.3": "IO", STORAGE + "1.3.1": "IO",
    STORAGE + "2": "CT", STORAGE + "2.1": "CT", STORAGE + "2.2": "CT", STORAGE + "3.1": "US", STORAGE + "3": "US",
    STORAGE + "4": "MR", STORAGE + "4.1": "MR", STORAGE + "4.3": "MR", STORAGE + "4.4": "MR", STORAGE + "5": "NM",
    STORAGE + "6": "US", STORAGE + "6.1": "US", STORAGE + "6.2": "US", STORAGE + "6.3": "PA", STORAGE + "20": "NM",
    STORAGE + "12.1": "XA", STORAGE + "12.1.1": "XA", STORAGE + "12.2": "RF", STORAGE + "12.2.1": "RF",
    STORAGE + "12.3": "XA", STORAGE + "13.1.1": "XA", STORAGE + "13.1.2": "DX3D", STORAGE + "13.1.3": "MG",
    STORAGE + "13.1.4": "MG", STORAGE + "13.1.5": "MG", STORAGE + "14.1": "IVOCT", STORAGE + "14.2": "IVOCT",
    STORAGE + "128": "PT", STORAGE + "128.1": "PT", STORAGE + "130": "PT",
    **{STORAGE + "77.1." + end: family for end, family in {
        "1": "ES", "1.1": "ES", "2": "GM", "2.1": "GM", "3": "SM", "4": "XC", "4.1": "XC", "5.1": "OP", "5.2": "OP",
        "5.4": "OPT", "5.5": "OP", "5.7": "OPT", "6": "SM", "7": "DMS", "8": "SM", "9": "SM",
    }.items()},
}
"""Image storage classes (PS3.4 B.5) and the modality each implies. Whatever is not here and no secondary
capture is no picture of a patient: documents, states, segmentations, plans, doses, waveforms, raw data."""

ONLY_IF_NAMED = frozenset({"MG", "PX", "NM", "PT", "XA", "SC"})
"""Modalities that no prompt set gets unless it names them; SC stands for the Secondary Capture classes."""
CAPTURED_AS = frozenset({"", "SC", "OT"})
"""Modality of a Secondary Capture that says nothing about what was captured (PS3.3 C.8.6.1)."""
NOT_THE_PATIENT = {"LOCALIZER": "localizer", "SCREEN SAVE": "screen save", "DOSE INFO": "dose screen",
                   "LABEL": "label of a slide", "OVERVIEW": "overview of a slide", "THUMBNAIL": "thumbnail"}
"""Values of Image Type from the third on, and the reason why such an image is not evaluated."""

ORDER_PRIORITIES = {"STAT": Priority.STAT, "HIGH": Priority.HIGH}
"""Requested Procedure Priority (PS3.3 C.4.11); MEDIUM, ROUTINE and LOW are routine."""
TEST_PATTERNS = (r"(TEST|QC|PHANTOM|DUMMY)(?![A-Z])",)
"""Begin of a family name or Patient ID of a test or quality control subject, in any case."""
HUMAN = re.compile(r"\b(HOMO SAPIENS|HUMAN)\b", re.IGNORECASE)
ANIMAL = re.compile(r"\b(CANINE|FELINE|EQUINE|BOVINE|VETERINARY)\b", re.IGNORECASE)

BODY_PARTS = {
    "CHEST": frozenset({"CHEST", "THORAX", "THORACIC CAVITY", "CHST", "LUNG", "LUNGS", "CXR",
                        "TORAX", "TÓRAX", "흉부", "胸部"}),
    "HEAD": frozenset({"HEAD", "BRAIN", "SKULL", "NEURO", "CRANIUM", "KOPF", "두부", "뇌", "頭部"}),
    "ABDOMEN": frozenset({"ABDOMEN", "ABD", "LIVER", "BAUCH", "복부", "腹部"}),
}
"""Words that mean the same part; the key is the term of CID 4031."""
REGIONS = {"51185008": "CHEST", "816094009": "CHEST", "T-D3000": "CHEST", "39607008": "CHEST",
           "69536005": "HEAD", "T-D1100": "HEAD", "12738006": "HEAD", "818981001": "ABDOMEN", "113345001": "ABDOMEN",
           "T-D4000": "ABDOMEN"}
"""Anatomic Region Sequence codes; other codes are other parts."""
OTHER_PARTS = re.compile(
    r"\b(SPINE|TSPINE|SHOULDERS?|CLAVICLES?|STERNUM|RIBS?|ABDOMEN|PELVIS|NECK|SKULL|HEAD|HANDS?|WRISTS?|ELBOWS?|"
    r"KNEES?|HIPS?|FOOT|FEET|ANKLES?|FEMUR|HUMERUS|ESOPHAGUS|OESOPHAGUS)\b"
)
LATERAL = frozenset({"LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT", "LEFT LATERAL", "RIGHT LATERAL", "측면"})
OTHER_VIEWS = frozenset({"RLD", "LLD", "RLO", "LLO", "RAO", "LAO", "RPO", "LPO", "OBL", "OBLIQUE", "LORDOTIC",
                         "DECUBITUS", "DECUB", "TANGENTIAL", "AXIAL", "MLO", "CC", "ML", "LM", "XCCL"})
FRONTAL = {"PA": "PA", "POSTERO ANTERIOR": "PA", "POSTEROANTERIOR": "PA",
           "AP": "AP", "ANTERO POSTERIOR": "AP", "ANTEROPOSTERIOR": "AP"}
FRONTAL_DESCRIPTION = re.compile(r"(?<![A-Z])(PA|AP|FRONTAL)(?![A-Z])")
LATERAL_DESCRIPTION = re.compile(r"(?<![A-Z])(LAT|LATERAL|LL|RL)(?![A-Z])|측면")


def lane(head: ImageHead, now: datetime, historical_hours: float) -> Lane:
    """Fresh or historical, by what the head says; see :func:`lane_by_date`."""
    return lane_by_date(head.study_date, head.study_time, now, historical_hours)


def lane_by_date(study_date: str, study_time: str, now: datetime, historical_hours: float) -> Lane:
    """Fresh or historical, by Study Date and Time in local time; a study without a usable date is fresh.

    A date without a time counts as its last moment, so that doubt is fresh. ``now`` without a zone is local.
    """
    begun = _moment(study_date, study_time)
    local = now.astimezone().replace(tzinfo=None) if now.tzinfo else now
    if begun is None or local - begun <= timedelta(hours=historical_hours):
        return Lane.FRESH
    return Lane.HISTORICAL


def order_priority(requested_procedure_priority: str) -> Priority:
    """The urgency the order states; anything but STAT and HIGH is routine."""
    return ORDER_PRIORITIES.get(requested_procedure_priority.strip().upper(), Priority.ROUTINE)


def is_evidence(head: ImageHead) -> bool:
    """True for a picture of a patient, eligible or not; documents, states, segmentations and the like are none."""
    return head.sop_class_uid in IMAGE_FAMILIES or head.sop_class_uid in SECONDARY_CAPTURE


def is_projection(head: ImageHead) -> bool:
    """True for CR and DX, which are scored as they arrive."""
    return head.sop_class_uid in PROJECTIONS


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
    if least and _age(head, today) is None:
        found.append(f"Patient age is not known; the model was made for adults ({least} or over).")
    if eligibility.views and not _view(head):
        found.append("View position is not known.")
    return tuple(found)


def pipeline_for(
    heads: Sequence[ImageHead], calling_ae_titles: Sequence[str], pipelines: Sequence[PipelineSection]
) -> PipelineSection | None:
    """The first pipeline that takes any of these images from any of these senders."""
    images = [head for head in heads if is_evidence(head)]
    return next((each for each in pipelines if _takes(each, images, calling_ae_titles)), None)


def _takes(pipeline: PipelineSection, images: Iterable[ImageHead], calling_ae_titles: Sequence[str]) -> bool:
    match = pipeline.match
    senders = {title.strip() for title in calling_ae_titles}
    if match.calling_ae_titles and senders.isdisjoint(match.calling_ae_titles):
        return False
    return any(
        (not match.modalities or _modality(head) in match.modalities) and _shows(head, match.body_parts)
        for head in images
    )


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
    if other := next((NOT_THE_PATIENT[part] for part in map(_spaced, image_type[2:]) if part in NOT_THE_PATIENT), ""):
        return other
    if image_type[:2] == ["DERIVED", "SECONDARY"] and not captured:
        return "derived image (DERIVED\\SECONDARY)"
    return f"{head.number_of_frames} frames" if is_projection(head) and head.number_of_frames > 1 else ""


def _declined_modality(head: ImageHead, eligibility: Eligibility) -> str:
    """Modality as stated; a class of another family does not become a radiograph by its Modality."""
    allowed = eligibility.modalities
    stated, implied = _modality(head), IMAGE_FAMILIES.get(head.sop_class_uid, "")
    if head.sop_class_uid in SECONDARY_CAPTURE and stated in CAPTURED_AS:
        return ""
    wrong = next((each for each in (stated, implied)
                  if each and each not in allowed and (allowed or each in ONLY_IF_NAMED)), "")
    return f"modality {wrong}" if wrong else ""


def _declined_body_part(head: ImageHead, eligibility: Eligibility) -> str:
    if _shows(head, eligibility.body_parts):
        return ""
    stated = head.body_part_examined.strip() or _described_other(head) or head.anatomic_region_code
    return f"body part {stated.upper()}" if stated else "body part is not known"


def _declined_view(head: ImageHead, eligibility: Eligibility) -> str:
    view = _view(head)
    return f"view {view}" if eligibility.views and view and view not in eligibility.views else ""


def _declined_age(head: ImageHead, eligibility: Eligibility, today: date) -> str:
    age, least = _age(head, today), eligibility.minimum_age_years
    return f"age {age} years, needs {least} or over" if age is not None and age < least else ""


def _modality(head: ImageHead) -> str:
    return head.modality.strip().upper() or IMAGE_FAMILIES.get(head.sop_class_uid, "")


def _shows(head: ImageHead, body_parts: Sequence[str]) -> bool:
    """True when the image shows one of these parts: as stated, else by region code, else by the descriptions."""
    if not body_parts:
        return True
    names = {part.upper() for part in body_parts}
    wanted = names.union(*(words for part, words in BODY_PARTS.items() if names & ({part} | words)))
    if stated := head.body_part_examined.strip().upper():
        return _names(stated, wanted) and not _other_part(stated, wanted)
    if code := head.anatomic_region_code:
        return REGIONS.get(code, code) in wanted
    for text in (head.series_description.upper(), head.study_description.upper()):
        if _names(text, wanted):
            return True
        if _other_part(text, wanted):
            return False
    return False


def _other_part(text: str, wanted: Container[str]) -> bool:
    """True when ``text`` names a part that is none of the wanted ones."""
    return any(found.group() not in wanted for found in OTHER_PARTS.finditer(_spaced(text)))


def _names(text: str, words: Iterable[str]) -> bool:
    """True when ``text`` holds one of the words as a whole; Korean joins words, so there a part is enough."""
    spaced = f" {_spaced(text)} "
    return any(f" {word} " in spaced if word.isascii() else word in text for word in words)


def _spaced(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text.upper()).strip()


def _described_other(head: ImageHead) -> str:
    found = OTHER_PARTS.search(_spaced(f"{head.series_description} {head.study_description}"))
    return found.group() if found else ""


def _view(head: ImageHead) -> str:
    """PA, AP, LATERAL or another standard term; '' where nothing that is known is said."""
    stated = _spaced(head.view_position)
    tokens = {stated, *stated.split()}
    if tokens & LATERAL:
        return "LATERAL"
    if other := sorted(tokens & OTHER_VIEWS):
        return other[0]
    for words, view in FRONTAL.items():
        if words in tokens:
            return view
    series = head.series_description.upper()
    if LATERAL_DESCRIPTION.search(series) and not FRONTAL_DESCRIPTION.search(series):
        return "LATERAL"
    seen_from_the_side = head.patient_orientation[:1] and head.patient_orientation[0][:1] in ("A", "P")
    return "LATERAL" if seen_from_the_side and _modality(head) in ("CR", "DX") else ""


def _age(head: ImageHead, today: date) -> int | None:
    """Whole years, from Patient's Age, else from the birth date at the study's date."""
    if stated := re.fullmatch(r"([0-9]{1,3})([YMWD])", head.patient_age.strip().upper()):
        return int(stated[1]) // {"Y": 1, "M": 12, "W": 53, "D": 366}[stated[2]]
    born, seen = _day(head.patient_birth_date), _day(head.study_date) or today
    if born is None or born > seen:
        return None
    return seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day))


def _day(text: str) -> date | None:
    """A DA, also in its old form with dots (PS3.5 section 6.2, note); None where it is no date."""
    digits = text.strip().replace(".", "")
    if not re.fullmatch(r"[0-9]{8}", digits):
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


def _moment(day_text: str, time_text: str) -> datetime | None:
    day = _day(day_text)
    if day is None:
        return None
    digits = time_text.strip().replace(":", "")[:6]
    if not re.fullmatch(r"[0-9]{2}|[0-9]{4}|[0-9]{6}", digits):
        return datetime.combine(day, time.max)
    hour, minute, second = (int(digits[at : at + 2] or 0) for at in (0, 2, 4))
    if hour > 23 or minute > 59:
        return datetime.combine(day, time.max)
    return datetime.combine(day, time(hour, minute, min(second, 59)))
