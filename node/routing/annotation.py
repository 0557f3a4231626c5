"""Whether the pixels of an image may name the patient by themselves."""

from __future__ import annotations

from node.domain import ImageHead
from node.routing.classes import IMAGE_FAMILIES

WRITE_NO_TEXT = frozenset({"CR", "DX", "CT", "MR", "MG", "PT", "SM"})
"""Modalities whose original images hold nothing but the patient, unless they say otherwise; ultrasound, captures,
photographs and scanned film often show name and date."""


def may_identify(head: ImageHead) -> bool:
    """Whether the pixels themselves may name the patient: Burned In Annotation (PS3.3 C.7.6.1.1) says so, or says
    nothing on an image that was not acquired as it is by a kind of device that writes no text into it."""
    stated = head.burned_in_annotation.strip().upper()
    if stated in ("YES", "NO"):
        return stated == "YES"
    original = [part.upper() for part in head.image_type[:2]] == ["ORIGINAL", "PRIMARY"]
    return not (original and IMAGE_FAMILIES.get(head.sop_class_uid) in WRITE_NO_TEXT)
