"""Storage classes (PS3.4 B.5): which are pictures of a patient, and the modality each implies."""

from __future__ import annotations

from node.domain import ImageHead

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


def is_evidence(head: ImageHead) -> bool:
    """True for a picture of a patient, eligible or not; documents, states, segmentations and the like are none."""
    return head.sop_class_uid in IMAGE_FAMILIES or head.sop_class_uid in SECONDARY_CAPTURE


def is_projection(head: ImageHead) -> bool:
    """True for CR and DX, which are scored as they arrive."""
    return head.sop_class_uid in PROJECTIONS


def modality_of(head: ImageHead) -> str:
    """The Modality as stated, else the one that the storage class implies; '' where neither is known."""
    return head.modality.strip().upper() or IMAGE_FAMILIES.get(head.sop_class_uid, "")
