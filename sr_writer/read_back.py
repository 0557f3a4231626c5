"""What one of our reports says, read from the object itself."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset

from node.domain import JSON, CodedConcept
from node.errors import BadInput
from sr_writer import tree
from sr_writer.codes import PRESENCE, PRIORITY, SIDE, Code

_PRESENCE = {code.concept[:2]: presence.value for presence, code in PRESENCE.items()}
_PRIORITY = {code.concept[:2]: priority.name for priority, code in PRIORITY.items()}
_SIDE = {code.concept[:2]: side.value for side, code in SIDE.items()}
_EVALUATIONS = {code.concept[:2] for code in PRESENCE.values()}


def _meant(value: CodedConcept | None, known: dict[tuple[str, str], str]) -> str:
    return known.get(value[:2], "") if value is not None else ""


def summary(dataset: Dataset) -> JSON:
    """Title, identifiers, findings, priority and texts as plain values; the patient's name is left out.

    ``findings`` is empty for a text report, whose sentences are under ``sections``.

    Raises:
        BadInput: the data set is not a structured report.
    """
    title = tree.name(dataset)
    if dataset.get("ValueType") != "CONTAINER" or title is None:
        raise BadInput(
            f"{dataset.get('SOPInstanceUID', 'the file')} is not a structured report: it has no document title"
        )
    evaluations = tree.child(dataset, Code.QUALITATIVE_EVALUATIONS)
    return {
        "title": title.meaning,
        "series_description": str(dataset.get("SeriesDescription", "")),
        "study_instance_uid": str(dataset.get("StudyInstanceUID", "")),
        "sop_instance_uid": str(dataset.get("SOPInstanceUID", "")),
        "patient_id": str(dataset.get("PatientID", "")),
        "accession_number": str(dataset.get("AccessionNumber", "")),
        "content_date": str(dataset.get("ContentDate", "")),
        "content_time": str(dataset.get("ContentTime", "")),
        "status": [str(dataset.get(flag, "")) for flag in ("CompletionFlag", "PreliminaryFlag", "VerificationFlag")],
        "predecessor": sorted(_predecessors(dataset)),
        "evidence": sorted(tree.evidence(dataset)),
        "models": [_model(item) for item in dataset.get("ContributingEquipmentSequence") or ()],
        "findings": [_finding(group) for group in groups(dataset)],
        "priority": _meant(tree.code_value(tree.child(evaluations, Code.PRIORITY)), _PRIORITY),
        "summary": tree.texts(evaluations, Code.SUMMARY),
        "impression": tree.texts(evaluations, Code.IMPRESSION),
        "recommendation": tree.texts(evaluations, Code.RECOMMENDATION),
        "comments": tree.texts(evaluations, Code.COMMENT),
        "sections": dict(_sections(dataset)),
    }


def groups(dataset: Dataset) -> list[Dataset]:
    """The measurement groups, one per finding."""
    return tree.children(tree.child(dataset, Code.IMAGING_MEASUREMENTS), Code.MEASUREMENT_GROUP)


def evaluation(group: Dataset) -> Dataset | None:
    """The item of ``group`` that says present, absent, undetermined or not evaluated."""
    answers = (tree.code_value(item) for item in group.get("ContentSequence") or ())
    pairs = zip(group.get("ContentSequence") or (), answers, strict=True)
    return next((item for item, answer in pairs if answer is not None and answer[:2] in _EVALUATIONS), None)


def _finding(group: Dataset) -> JSON:
    answer = evaluation(group)
    named = tree.name(answer) if answer is not None else None
    score = tree.child(group, Code.AI_SCORE)
    site = tree.child(group, Code.FINDING_SITE)
    located = tree.code_value(site)
    return {
        "concept": named.meaning if named else "",
        "code": named.code if named else "",
        "presence": _meant(tree.code_value(answer), _PRESENCE),
        "score": tree.number(score),
        "present_above": tree.number(tree.child(answer, Code.PRESENT_ABOVE)),
        "absent_below": tree.number(tree.child(answer, Code.ABSENT_BELOW)),
        "site": located.meaning if located else "",
        "side": _meant(tree.code_value(tree.child(site, Code.LATERALITY)), _SIDE),
        "sop_instance_uid": tree.image(tree.child(score, Code.SOURCE_OF_MEASUREMENT)),
        "tracking_uid": tree.text(tree.child(group, Code.TRACKING_UID)),
    }


def _model(item: Dataset) -> str:
    return f"{item.get('ManufacturerModelName', '')} {item.get('SoftwareVersions', '')}".strip()


def _predecessors(dataset: Dataset) -> Iterator[str]:
    for study in dataset.get("PredecessorDocumentsSequence") or ():
        for series in study.get("ReferencedSeriesSequence") or ():
            yield from (
                str(instance.ReferencedSOPInstanceUID) for instance in series.get("ReferencedSOPSequence") or ()
            )


def _sections(dataset: Dataset) -> Iterator[tuple[str, list[str]]]:
    for section in (Code.FINDINGS_SECTION, Code.IMPRESSIONS_SECTION, Code.RECOMMENDATIONS_SECTION):
        found = tree.child(dataset, section)
        if found is not None:
            yield section.concept.meaning, [tree.text(item) for item in found.get("ContentSequence") or ()]


def lines(dataset: Dataset) -> list[str]:
    """The same for a terminal, one statement per line."""
    said = summary(dataset)
    told = [f"{said['title']} ({', '.join(said['status'])})", f"Series: {said['series_description']}"]
    told += [f"Study: {said['study_instance_uid']}", f"Patient ID: {said['patient_id']}"]
    told += [f"Accession number: {said['accession_number']}"]
    told += [f"Replaces: {uid}" for uid in said["predecessor"]]
    told += [f"Model: {model}" for model in said["models"]]
    told += [f"Priority: {said['priority']}"] if said["priority"] else []
    told += [_finding_line(finding) for finding in said["findings"]]
    for key in ("impression", "recommendation", "comments"):
        told += [f"{key.capitalize()}: {text}" for text in said[key]]
    for heading, texts in said["sections"].items():
        told += [f"{heading}:", *(f"  {text}" for text in texts)]
    return told


def _finding_line(finding: JSON) -> str:
    parts = [f"{finding['concept']}: {finding['presence']}", *([finding["side"]] if finding["side"] else [])]
    if finding["score"] is not None:
        parts.append(f"AI score {finding['score']:g}")
    if finding["present_above"] is not None:
        parts.append(f"present at or above {finding['present_above']:g}, absent below {finding['absent_below']:g}")
    return "; ".join(parts)
