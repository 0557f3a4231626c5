"""What an image shows: which part of the body, in the words of several languages and vendors, and from where."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence

from node.domain import ImageHead
from node.routing.classes import modality_of

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


def shows(head: ImageHead, body_parts: Sequence[str]) -> bool:
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


def parts_of(head: ImageHead) -> tuple[str, ...]:
    """The parts that the image shows, by a name that :func:`shows` takes; empty where nothing is known."""
    if known := tuple(part for part in BODY_PARTS if shows(head, (part,))):
        return known
    other = head.body_part_examined.strip().upper() or head.anatomic_region_code or described_other(head)
    return (other,) if other else ()


def described_other(head: ImageHead) -> str:
    """The first other part that a description names; '' where none does."""
    found = OTHER_PARTS.search(spaced(f"{head.series_description} {head.study_description}"))
    return found.group() if found else ""


def view_of(head: ImageHead) -> str:
    """PA, AP, LATERAL or another standard term; '' where nothing that is known is said."""
    stated = spaced(head.view_position)
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
    return "LATERAL" if seen_from_the_side and modality_of(head) in ("CR", "DX") else ""


def spaced(text: str) -> str:
    """``text`` in capitals, with one space between its words and no punctuation."""
    return re.sub(r"[\W_]+", " ", text.upper()).strip()


def _other_part(text: str, wanted: Container[str]) -> bool:
    """True when ``text`` names a part that is none of the wanted ones."""
    return any(found.group() not in wanted for found in OTHER_PARTS.finditer(spaced(text)))


def _names(text: str, words: Iterable[str]) -> bool:
    """True when ``text`` holds one of the words as a whole; Korean joins words, so there a part is enough."""
    padded = f" {spaced(text)} "
    return any(f" {word} " in padded if word.isascii() else word in text for word in words)
