"""The last look before a report leaves: each defect is named."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
from pydicom.dataset import Dataset

from node.domain import CodedConcept
from node.errors import BadInput, ReportInvalid
from sr_writer import checks, measurement_report, read_back, tree
from sr_writer.codes import Code
from sr_writer.verbatim import text_element
from tests.tools.sr_samples import identity_for, result_for, small_cr

Damage = Callable[[Dataset], object]


@pytest.fixture(scope="module")
def source() -> Dataset:
    return small_cr()


@pytest.fixture(scope="module")
def sound(source: Dataset) -> Dataset:
    result = result_for(source)
    return measurement_report.build(result, source, [source], identity_for(result))


@pytest.fixture
def report(sound: Dataset) -> Dataset:
    return deepcopy(sound)


def first_group(report: Dataset) -> Dataset:
    return read_back.groups(report)[0]


def without(item: Dataset | None, code: Code) -> None:
    """Take the children named ``code`` out of ``item``."""
    assert item is not None
    item.ContentSequence = [child for child in item.ContentSequence if not tree.is_named(child, code)]


def score(report: Dataset) -> Dataset:
    found = tree.child(first_group(report), Code.AI_SCORE)
    assert found is not None
    return found


def rename(report: Dataset) -> None:
    found = tree.child(first_group(report), Code.FINDING)
    assert found is not None
    found.ConceptCodeSequence[0].CodeValue = "999999"


DAMAGES: list[tuple[Damage, str]] = [
    (lambda report: delattr(report, "CompletionFlag"), "CompletionFlag"),
    (lambda report: delattr(report, "PerformedProcedureCodeSequence"), "PerformedProcedureCodeSequence is missing"),
    (lambda report: setattr(report, "VerificationFlag", "VERIFIED"), "VerificationFlag is 'VERIFIED'"),
    (lambda report: setattr(report, "PreliminaryFlag", "FINAL"), "PreliminaryFlag is 'FINAL'"),
    (lambda report: setattr(report, "SpecificCharacterSet", "ISO_IR 100"), "SpecificCharacterSet"),
    (lambda report: setattr(report, "SeriesDescription", "Report"), "does not start with 'AI'"),
    (lambda report: setattr(report, "PatientID", "SOMEONE-ELSE"), "PatientID is not the source's"),
    (lambda report: setattr(report, "AccessionNumber", ""), "AccessionNumber is not the source's"),
    (lambda report: setattr(report, "StudyInstanceUID", "1.2.3"), "StudyInstanceUID is not the source's"),
    (lambda report: setattr(report, "SeriesInstanceUID", small_cr().SeriesInstanceUID), "is the source's own"),
    (lambda report: report.add(text_element("SOPInstanceUID", ["1.02"])), "not a valid UID"),
    (lambda report: setattr(report.ContentTemplateSequence[0], "TemplateIdentifier", "9999"), "template is not 1500"),
    (lambda report: setattr(report.ConceptNameCodeSequence[0], "CodeValue", "126009"), "document title"),
    (lambda report: setattr(report, "CurrentRequestedProcedureEvidenceSequence", []), "not in the evidence sequence"),
    (lambda report: delattr(report, "CodingSchemeIdentificationSequence"), "99AINODE is not declared"),
    (rename, "('SCT', '999999', 'Pleural effusion') is not in the code table"),
    (lambda report: setattr(report, "StudyDescription", "a\ufffd"), "not text"),
    (lambda report: report.private_block(9, "ACME", create=True).add_new(1, "LO", "x"), "private element"),
    (lambda report: without(first_group(report), Code.TRACKING_UID), "Tracking Unique Identifier is missing"),
    (lambda report: without(first_group(report), Code.ALGORITHM_VERSION), "without its version"),
    (lambda report: without(first_group(report), Code.FINDING), "Finding item has to stand"),
    (lambda report: without(first_group(report), Code.AI_SCORE), "present without an AI score"),
    (lambda report: setattr(score(report).MeasuredValueSequence[0], "NumericValue", "93"), "not in 0..1"),
    (lambda report: without(report, Code.IMAGING_MEASUREMENTS), "no measurement group"),
]


def test_a_sound_report_has_no_problems(report: Dataset, source: Dataset) -> None:
    assert checks.check(report, source) == ()
    checks.require(report, source)


@pytest.mark.parametrize(("damage", "problem"), DAMAGES, ids=[problem for _, problem in DAMAGES])
def test_a_defect_is_named(report: Dataset, source: Dataset, damage: Damage, problem: str) -> None:
    damage(report)
    assert any(problem in found for found in checks.check(report, source)), checks.check(report, source)


def test_a_report_with_a_defect_is_refused_with_its_uid(report: Dataset, source: Dataset) -> None:
    report.PatientID = "SOMEONE-ELSE"
    with pytest.raises(ReportInvalid, match=f"{report.SOPInstanceUID}.*PatientID"):
        checks.require(report, source)


def test_a_code_that_nobody_verified_does_not_leave(source: Dataset) -> None:
    result = result_for(source)
    invented = replace(result.findings[0], concept=CodedConcept("SCT", "123456789", "Invented"))
    result = replace(result, findings=(invented,))
    report = measurement_report.build(result, source, [source], identity_for(result))
    assert any("Invented" in problem for problem in checks.check(report, source))


def test_an_image_cannot_be_read_back_as_a_report(source: Dataset) -> None:
    with pytest.raises(BadInput, match="not a structured report"):
        read_back.summary(source)
