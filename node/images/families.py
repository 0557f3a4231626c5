"""Which way an instance becomes model images: by its SOP Class alone, never by its Modality."""

from __future__ import annotations

from enum import Enum

from node.domain import ImageHead

STORAGE = "1.2.840.10008.5.1.4.1.1."


class Family(Enum):
    """The functions of this package that take an instance of the family."""

    PROJECTION = "projection"  #: one view through a patient, hung head up: ``projection``
    VOLUME = "volume"  #: one slice, or frames, of an acquisition in space: ``volume``
    PICTURE = "picture"  #: one image as a camera or a screen shows it: ``picture``
    CINE = "cine"  #: frames one after the other, of which some are chosen: ``cine``
    SLIDE = "slide"  #: one level of a tiled whole slide: ``slide``
    NONE = "none"  #: no picture of a patient


PROJECTIONS = frozenset(STORAGE + end for end in ("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1"))
VOLUMES = frozenset(STORAGE + end for end in (
    "2", "2.1", "2.2", "4", "4.1", "4.3", "4.4", "6.2", "13.1.1", "13.1.2", "13.1.3", "13.1.4", "13.1.5",
    "14.1", "14.2", "128", "128.1", "130",
))
PICTURES = frozenset(STORAGE + end for end in (
    "3", "3.1", "5", "6", "6.1", "6.3", "7", "7.1", "7.2", "7.3", "7.4", "12.1", "12.1.1", "12.2", "12.2.1", "12.3",
    "20", "77.1.1", "77.1.1.1", "77.1.2", "77.1.2.1", "77.1.3", "77.1.4", "77.1.4.1", "77.1.5.1", "77.1.5.2",
    "77.1.5.4", "77.1.5.5", "77.1.5.6", "77.1.5.7", "77.1.7", "77.1.8",
))
"""Shown as they are; with more than one frame they are cines (ultrasound, endoscopy, angiography, OCT B-scans)."""
SLIDES = frozenset(STORAGE + end for end in ("77.1.6", "77.1.9"))


def family(head: ImageHead) -> Family:
    """The family of an instance (PS3.4 section B.5); whether any model may look at it is the router's matter."""
    if head.sop_class_uid in PICTURES:
        return Family.CINE if head.number_of_frames > 1 else Family.PICTURE
    for classes, found in ((PROJECTIONS, Family.PROJECTION), (VOLUMES, Family.VOLUME), (SLIDES, Family.SLIDE)):
        if head.sop_class_uid in classes:
            return found
    return Family.NONE
