"""Content items of an SR tree (PS3.3 C.17.3), each with its relationship to the item that holds it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date as Day
from datetime import time as Clock
from typing import Any

from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    DateContentItem,
    ImageContentItem,
    NumContentItem,
    TextContentItem,
    TimeContentItem,
    UIDRefContentItem,
)
from highdicom.sr import CodedConcept as CodeItem
from highdicom.sr import RelationshipTypeValues as Relationship
from pydicom.dataset import Dataset

from node.domain import CodedConcept
from node.errors import ReportInvalid
from sr_writer.codes import Code
from sr_writer.references import Reference

__all__ = ["Relationship", "code", "coded", "container", "date", "image", "num", "text", "time", "uidref"]

#: Not allowed in UT (PS3.5 6.2); a model may still write them. Lone surrogates cannot be encoded in UTF-8.
_NOT_TEXT = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def coded(concept: CodedConcept) -> Any:
    """A code sequence item (PS3.3 8.8).

    Raises:
        ReportInvalid: a part is empty, or the meaning is longer than 64 characters.
    """
    if not all(concept) or len(concept.meaning) > 64 or len(concept.scheme) > 16:
        raise ReportInvalid(
            f"code {tuple(concept)} cannot be written: every part is needed, the meaning in 64 characters"
        )
    return CodeItem(concept.code, concept.scheme, concept.meaning)


def _hold(item: Any, children: Iterable[Dataset]) -> Dataset:
    held = list(children)
    if held:
        item.ContentSequence = held
    made: Dataset = item
    return made


def text(name: Code, value: str, relationship: Relationship = Relationship.CONTAINS) -> Dataset:
    """TEXT; characters that DICOM does not allow become spaces.

    Raises:
        ReportInvalid: nothing is left to say.
    """
    said = _NOT_TEXT.sub(" ", value).strip()
    if not said:
        raise ReportInvalid(f"TEXT {name.concept.meaning!r} would be empty: leave the item out or give it a text")
    return _hold(TextContentItem(coded(name.concept), said, relationship_type=relationship), ())


def code(
    name: Code | CodedConcept,
    value: Code | CodedConcept,
    relationship: Relationship = Relationship.CONTAINS,
    children: Iterable[Dataset] = (),
) -> Dataset:
    """CODE."""
    item = CodeContentItem(coded(_concept(name)), coded(_concept(value)), relationship_type=relationship)
    return _hold(item, children)


def _concept(named: Code | CodedConcept) -> CodedConcept:
    return named.concept if isinstance(named, Code) else named


def num(
    name: Code,
    value: float,
    unit: Code,
    relationship: Relationship = Relationship.CONTAINS,
    children: Iterable[Dataset] = (),
) -> Dataset:
    """NUM with its UCUM unit."""
    item = NumContentItem(coded(name.concept), value, coded(unit.concept), relationship_type=relationship)
    return _hold(item, children)


def uidref(name: Code, value: str, relationship: Relationship) -> Dataset:
    """UIDREF."""
    return _hold(UIDRefContentItem(coded(name.concept), value, relationship_type=relationship), ())


def date(name: Code, value: str, relationship: Relationship) -> Dataset:
    """DATE, from a valid DA, which stays as it is."""
    item = _hold(DateContentItem(coded(name.concept), Day.min, relationship_type=relationship), ())
    item.Date = value
    return item


def time(name: Code, value: str, relationship: Relationship) -> Dataset:
    """TIME, from a valid TM, which stays as it is."""
    item = _hold(TimeContentItem(coded(name.concept), Clock.min, relationship_type=relationship), ())
    item.Time = value
    return item


def image(
    name: Code,
    reference: Reference,
    relationship: Relationship = Relationship.CONTAINS,
    children: Iterable[Dataset] = (),
) -> Dataset:
    """IMAGE; the UIDs stand as the source has them."""
    item = ImageContentItem(coded(name.concept), "1.2", "1.2", relationship_type=relationship)
    item.ReferencedSOPSequence = [reference.item()]
    return _hold(item, children)


def container(
    name: Code, children: Iterable[Dataset], relationship: Relationship | None = Relationship.CONTAINS, tid: str = ""
) -> Dataset:
    """CONTAINER whose items stand by themselves: in a continuous one viewers drop the names of the values."""
    item = ContainerContentItem(
        coded(name.concept), is_content_continuous=False, template_id=tid or None, relationship_type=relationship
    )
    return _hold(item, children)
