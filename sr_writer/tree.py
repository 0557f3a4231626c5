"""Reading a content tree, of our own objects or of a file: names and values by code."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset

from node.domain import CodedConcept
from sr_writer.codes import Code


def walk(item: Dataset) -> Iterator[Dataset]:
    """Every content item below ``item``, in document order."""
    for child in item.get("ContentSequence") or ():
        yield child
        yield from walk(child)


def concept(item: Dataset | None, keyword: str) -> CodedConcept | None:
    """The code in the first item of sequence ``keyword``, None when there is none."""
    found = item.get(keyword) if item is not None else None
    if not found:
        return None
    first = found[0]
    value = first.get("CodeValue") or first.get("LongCodeValue") or first.get("URNCodeValue") or ""
    return CodedConcept(str(first.get("CodingSchemeDesignator", "")), str(value), str(first.get("CodeMeaning", "")))


def name(item: Dataset) -> CodedConcept | None:
    """Concept Name Code."""
    return concept(item, "ConceptNameCodeSequence")


def is_named(item: Dataset, code: Code) -> bool:
    """Same scheme and code; the meaning does not matter."""
    found = name(item)
    return found is not None and found[:2] == code.concept[:2]


def children(item: Dataset | None, code: Code) -> list[Dataset]:
    """Direct children with this concept name."""
    held = (item.get("ContentSequence") or ()) if item is not None else ()
    return [child for child in held if is_named(child, code)]


def child(item: Dataset | None, code: Code) -> Dataset | None:
    """The first of them."""
    return next(iter(children(item, code)), None)


def text(item: Dataset | None) -> str:
    """Text or UID of an item, empty when there is none."""
    return "" if item is None else str(item.get("TextValue") or item.get("UID") or "")


def texts(item: Dataset | None, code: Code) -> list[str]:
    """Texts of all direct children with this name."""
    return [text(found) for found in children(item, code)]


def number(item: Dataset | None) -> float | None:
    """Value of a NUM."""
    measured = item.get("MeasuredValueSequence") if item is not None else None
    return float(measured[0].NumericValue) if measured else None


def code_value(item: Dataset | None) -> CodedConcept | None:
    """Value of a CODE."""
    return concept(item, "ConceptCodeSequence")


def image(item: Dataset | None) -> str:
    """SOP Instance UID that an IMAGE refers to, empty when there is none."""
    referenced = item.get("ReferencedSOPSequence") if item is not None else None
    return str(referenced[0].ReferencedSOPInstanceUID) if referenced else ""


def evidence(dataset: Dataset) -> set[str]:
    """SOP Instance UIDs in Current Requested Procedure Evidence Sequence."""
    return {
        str(instance.ReferencedSOPInstanceUID)
        for study in dataset.get("CurrentRequestedProcedureEvidenceSequence") or ()
        for series in study.get("ReferencedSeriesSequence") or ()
        for instance in series.get("ReferencedSOPSequence") or ()
    }
