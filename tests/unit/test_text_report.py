"""The narrative: what people read."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage

from node.domain import DEMO_NOTICE, RESEARCH_NOTICE
from sr_writer import checks, read_back, text_report, tree
from sr_writer.codes import Code
from tests.tools.sr_samples import identity_for, real_cr, result_for, small_cr


@pytest.fixture(scope="module")
def head() -> Dataset:
    return real_cr("RG1_J2KI.dcm")


@pytest.fixture(scope="module")
def report(head: Dataset) -> Dataset:
    result = result_for(head)
    return text_report.build(result, head, [head], identity_for(result))


def sentences(report: Dataset) -> list[str]:
    """Every sentence of the sections, in order."""
    return [text for texts in read_back.summary(report)["sections"].values() for text in texts]


def test_it_is_basic_text_by_tid_2000(report: Dataset, head: Dataset) -> None:
    assert report.SOPClassUID == BasicTextSRStorage
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "2000"
    assert checks.check(report, head) == ()


def test_the_first_sentence_says_that_this_is_no_radiologists_report(report: Dataset) -> None:
    assert sentences(report)[0] == "AI output, not a radiologist's report."


def test_the_last_sentences_are_the_notices(report: Dataset) -> None:
    assert sentences(report)[-2:] == [DEMO_NOTICE, RESEARCH_NOTICE]


def test_every_finding_is_told_with_what_was_decided(report: Dataset) -> None:
    told = read_back.summary(report)["sections"]["Findings"][1:5]
    assert told == [
        "Pleural effusion: flagged; right; AI score 0.93 (present at or above 0.6, absent below 0.4); "
        'findings model says "probable"; findings model disagrees with triage.',
        "Pneumothorax: not flagged; AI score 0.02 (present at or above 0.6, absent below 0.4).",
        "Cardiomegaly: undetermined; AI score 0.50 (present at or above 0.6, absent below 0.4).",
        "Nodule of lung: not evaluable; No frontal view.",
    ]


def test_remarks_are_told(report: Dataset) -> None:
    assert "Age of the patient is not known." in sentences(report)


def test_there_are_sections_for_findings_impression_and_recommendation(report: Dataset) -> None:
    assert list(read_back.summary(report)["sections"]) == ["Findings", "Impressions", "Recommendations"]


def test_the_words_of_the_findings_model_are_marked_as_its_own(report: Dataset) -> None:
    sections = read_back.summary(report)["sections"]
    assert "Text of the findings model: Right pleural effusion." in sections["Impressions"]
    assert "Text of the findings model: Follow-up radiograph." in sections["Recommendations"]


def test_nothing_flagged_is_not_called_normal(head: Dataset) -> None:
    result = result_for(head)
    result = replace(result, findings=result.findings[1:], impression="", recommendation="", findings_model=None)
    report = text_report.build(result, head, [head], identity_for(result))
    assert "No finding was flagged." in sentences(report)
    assert "normal" not in " ".join(sentences(report)).lower()


def test_unvalidated_operating_points_are_told(head: Dataset) -> None:
    result = replace(result_for(head), unvalidated=True)
    report = text_report.build(result, head, [head], identity_for(result))
    assert "The operating points have not been validated for this model." in sentences(report)


def test_korean_is_told_in_korean() -> None:
    source = small_cr()
    result = result_for(source)
    report = text_report.build(result, source, [source], identity_for(result, language="ko"))
    assert tree.code_value(tree.child(report, Code.LANGUAGE)) == Code.KOREAN.concept
    assert sentences(report)[0] == "인공지능(AI) 출력이며 영상의학과 전문의의 판독문이 아닙니다."
    assert checks.check(report, source) == ()


def test_a_finding_has_its_korean_name_in_a_korean_report() -> None:
    source = small_cr()
    result = result_for(source)
    first, *others = result.findings
    named = replace(result, findings=(replace(first, names={"en": "Effusion", "ko": "흉수"}), *others))
    report = text_report.build(named, source, [source], identity_for(named, language="ko"))
    said = sentences(report)
    assert said[1].startswith("흉수: 표시됨; 우측") and "AI가 표시한 소견: 흉수 (우측)." in said
    assert checks.check(report, source) == ()


def test_the_procedure_is_a_chest_radiograph_only_where_the_header_says_so(head: Dataset) -> None:
    assert text_report.procedure(head) is Code.CHEST_RADIOGRAPH
    assert text_report.procedure(small_cr()) is Code.IMAGING_PROCEDURE


def test_a_terminal_shows_the_same() -> None:
    source = small_cr()
    result = result_for(source)
    shown = read_back.lines(text_report.build(result, source, [source], identity_for(result)))
    assert shown[0] == "Diagnostic Imaging Report (COMPLETE, PRELIMINARY, UNVERIFIED)"
    assert f"  {DEMO_NOTICE}" in shown
