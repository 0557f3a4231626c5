"""What is said of one frame: the image's own attributes, overlaid with its functional groups (PS3.3 C.7.6.16)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydicom.dataset import Dataset

from node.images.pixels import value

MACROS = (
    "PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence", "FrameContentSequence",
    "FrameVOILUTSequence", "PixelValueTransformationSequence", "CTImageFrameTypeSequence",
    "MRImageFrameTypeSequence", "MREchoSequence", "MRDiffusionSequence", "TemporalPositionSequence",
)
"""Macros with one item whose attributes a single-frame image has at its top level, or that tell frames apart."""

GROUPS = frozenset({0x52009229, 0x52009230})
"""Shared and Per-Frame Functional Groups Sequence."""


def frame_head(head: Dataset, index: int) -> Dataset:
    """The head as a single-frame image of frame ``index`` (from 0) would have it.

    What the frame's own groups say goes before the shared ones, and those before the image. An image without
    functional groups is returned as it is.
    """
    groups = list(_groups(head, index))
    if not groups:
        return head
    flat = Dataset()
    flat.update(_standard(head))
    for group in reversed(groups):
        for keyword in MACROS:
            for macro in list(value(group, keyword) or ())[:1]:
                flat.update(_standard(macro))
    flat.set_original_encoding(*head.original_encoding)
    flat.file_meta = head.file_meta
    return flat


def _standard(source: Dataset) -> Any:
    """The elements as they are, unconverted; private ones and the groups themselves are left behind."""
    return {tag: element for tag, element in source.items() if not tag.is_private and tag not in GROUPS}


def _groups(head: Dataset, index: int) -> Iterator[Dataset]:
    """The frame's own group, then the shared one; what is missing is left out."""
    own = value(head, "PerFrameFunctionalGroupsSequence") or ()
    if index < len(own):
        yield own[index]
    yield from list(value(head, "SharedFunctionalGroupsSequence") or ())[:1]
