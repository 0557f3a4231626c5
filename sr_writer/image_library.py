"""Image Library (TID 1600): the analysed images with the little a reader needs to recognise them.

Written by hand: highdicom's class needs attributes that real radiographs do not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

from sr_writer import items
from sr_writer.codes import MODALITY, Code
from sr_writer.items import Relationship
from sr_writer.references import Reference
from sr_writer.source_header import required_text
from sr_writer.verbatim import values

_CONTEXT = Relationship.HAS_ACQ_CONTEXT


def image_library(references: Sequence[Reference]) -> Dataset:
    """One library with one group, one entry per image."""
    entries = [items.image(Code.SOURCE, reference, children=_descriptors(reference.head)) for reference in references]
    return items.container(Code.IMAGE_LIBRARY, [items.container(Code.IMAGE_LIBRARY_GROUP, entries)])


def _descriptors(head: Dataset | None) -> Iterator[Dataset]:
    """Image Library Entry Descriptors (TID 1602), as far as the image says them."""
    if head is None:
        return
    modality = MODALITY.get("".join(values(head, "Modality")))
    if modality is not None:
        yield items.code(Code.MODALITY, modality, _CONTEXT)
    study_date, study_time = required_text(head, "StudyDate"), required_text(head, "StudyTime")
    if study_date:
        yield items.date(Code.STUDY_DATE, study_date, _CONTEXT)
    if study_time:
        yield items.time(Code.STUDY_TIME, study_time, _CONTEXT)
    for name, keyword in ((Code.ROWS, "Rows"), (Code.COLUMNS, "Columns")):
        size = "".join(values(head, keyword))
        if size.isdecimal() and int(size) > 0:
            yield items.num(name, int(size), Code.PIXELS, _CONTEXT)
