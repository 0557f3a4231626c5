"""The measurement report: a tree of TID 1500, item by item."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian

from node.domain import DEMO_NOTICE, EvidenceImage, OperatingPoint, Presence, Priority, ReportKind, ReportObject, Side
from node.errors import ReportInvalid, UnusableIdentity
from sr_writer import checks, measurement_report, read_back, tree
from sr_writer.codes import Code
from sr_writer.wording import ENGLISH, finding_sentence, shown_score
from tests.tools.bad_headers import BadHeader, raw
from tests.tools.sr_samples import EFFUSION, LUNG, finding, identity_for, real_cr, result_for, small_cr, uid


@pytest.fixture(scope="module")
def head() -> Dataset:
    return real_cr("RG1_J2KI.dcm")


@pytest.fixture(scope="module")
def report(head: Dataset) -> Dataset:
    result = result_for(head)
    return measurement_report.build(result, head, [head], identity_for(result))


def saved(report: Dataset) -> Dataset:
    """``report`` written and read again."""
    stream = BytesIO()
    report.save_as(stream, enforce_file_format=True)
    stream.seek(0)
    return pydicom.dcmread(stream)


def group(report: Dataset, place: int) -> Dataset:
    return read_back.groups(report)[place]


def test_it_is_a_preliminary_unverified_comprehensive_3d_sr(report: Dataset) -> None:
    assert report.SOPClassUID == Comprehensive3DSRStorage
    assert (report.CompletionFlag, report.PreliminaryFlag, report.VerificationFlag) == (
        "COMPLETE",
        "PRELIMINARY",
        "UNVERIFIED",
    )
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"


def test_what_is_written_is_what_was_built(report: Dataset) -> None:
    again = saved(report)
    assert again.to_json_dict() == report.to_json_dict()
    assert again.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_it_keeps_the_patient_and_study_and_has_its_own_series(report: Dataset, head: Dataset) -> None:
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber", "StudyDate", "StudyID"):
        assert report[keyword].value == head[keyword].value
    assert report.SeriesInstanceUID != head.SeriesInstanceUID
    assert report.Modality == "SR"


def test_there_is_one_group_per_finding_and_each_says_its_presence(report: Dataset) -> None:
    told = [(found["concept"], found["presence"]) for found in read_back.summary(report)["findings"]]
    assert told == [
        ("Pleural effusion", "present"),
        ("Pneumothorax", "absent"),
        ("Cardiomegaly", "undetermined"),
        ("Nodule of lung", "not_evaluable"),
    ]


def test_only_a_present_finding_is_named_as_finding(report: Dataset) -> None:
    named = [tree.child(group(report, place), Code.FINDING) is not None for place in range(4)]
    assert named == [True, False, False, False]


def test_the_side_modifies_the_site(report: Dataset) -> None:
    site = tree.child(group(report, 0), Code.FINDING_SITE)
    assert tree.code_value(site) == LUNG
    assert tree.code_value(tree.child(site, Code.LATERALITY)) == Code.RIGHT.concept


def test_an_absent_finding_has_no_side(head: Dataset) -> None:
    result = result_for(head)
    sided = replace(result, findings=tuple(replace(one, side=Side.LEFT) for one in result.findings))
    report = measurement_report.build(sided, head, [head], identity_for(sided))
    assert [found["side"] for found in read_back.summary(report)["findings"]] == ["left", "", "", ""]


def test_the_score_names_its_unit_and_the_image_that_decided(report: Dataset, head: Dataset) -> None:
    score = tree.child(group(report, 0), Code.AI_SCORE)
    assert score is not None
    assert tree.number(score) == 0.93
    assert score.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodingSchemeDesignator == "UCUM"
    assert tree.image(tree.child(score, Code.SOURCE_OF_MEASUREMENT)) == head.SOPInstanceUID


def test_the_answer_carries_the_operating_point_it_was_inferred_from(report: Dataset) -> None:
    found = read_back.summary(report)["findings"]
    assert [(one["present_above"], one["absent_below"]) for one in found] == [(0.6, 0.4)] * 3 + [(None, None)]


def test_no_certainty_of_finding_is_claimed(report: Dataset) -> None:
    assert all((tree.name(item) or ("", ""))[1] != "111012" for item in tree.walk(report))


def test_every_container_is_separate(report: Dataset) -> None:
    containers = [item for item in (report, *tree.walk(report)) if item.ValueType == "CONTAINER"]
    assert {item.ContinuityOfContent for item in containers} == {"SEPARATE"}


@pytest.mark.parametrize(
    ("priority", "said"), [(Priority.STAT, "STAT"), (Priority.HIGH, "HIGH"), (Priority.ROUTINE, "ROUTINE")]
)
def test_the_priority_is_coded(head: Dataset, priority: Priority, said: str) -> None:
    result = replace(result_for(head), priority=priority)
    report = measurement_report.build(result, head, [head], identity_for(result))
    assert read_back.summary(report)["priority"] == said


def test_a_historical_study_has_no_priority(head: Dataset) -> None:
    result = replace(result_for(head), priority=Priority.HISTORICAL)
    report = measurement_report.build(result, head, [head], identity_for(result))
    assert read_back.summary(report)["priority"] == ""
    assert checks.check(report, head) == ()


def test_every_model_contributes_with_its_device_uid(report: Dataset, head: Dataset) -> None:
    result = result_for(head)
    assert result.findings_model is not None
    devices = [item.DeviceUID for item in report.ContributingEquipmentSequence]
    assert devices == [result.triage_model.device_uid, result.findings_model.device_uid]


def test_notices_come_last_before_the_closing_sentence(report: Dataset) -> None:
    comments = read_back.summary(report)["comments"]
    assert comments[-3] == DEMO_NOTICE
    assert comments[-1] == "This is preliminary AI output. A radiologist must verify it before any use."
    assert str(report.SeriesDescription).startswith("AI") and DEMO_NOTICE in report.SeriesDescription


def test_our_wording_never_says_normal(report: Dataset) -> None:
    said = " ".join(tree.text(item) for item in tree.walk(report)).lower()
    assert "normal" not in said
    assert "not flagged" in said


def test_the_private_scheme_is_declared(report: Dataset) -> None:
    assert [item.CodingSchemeDesignator for item in report.CodingSchemeIdentificationSequence] == ["99AINODE"]


def test_times_are_told_in_the_zone_of_the_source(report: Dataset, head: Dataset) -> None:
    assert head.TimezoneOffsetFromUTC == "-0400"
    assert report.TimezoneOffsetFromUTC == "-0400"
    assert (report.ContentDate, report.ContentTime) == ("20260301", "193000")


def test_without_a_zone_in_the_source_times_stay_in_the_zone_they_come_in() -> None:
    source = real_cr("cxr.dcm")
    result = result_for(source)
    report = measurement_report.build(result, source, [source], identity_for(result))
    assert "TimezoneOffsetFromUTC" not in report
    assert (report.ContentDate, report.ContentTime) == ("20260301", "233000")


def test_a_later_version_names_the_one_it_replaces_and_tracks_the_same_findings(head: Dataset) -> None:
    result = result_for(head)
    first = identity_for(result, 1)
    replaced = ReportObject(
        kind=ReportKind.MEASUREMENT,
        sop_class_uid=Comprehensive3DSRStorage,
        sop_instance_uid=first.sop_instance_uid,
        series_instance_uid=first.series_instance_uid,
        study_instance_uid=result.study_instance_uid,
        version=1,
        path="reports/1.dcm",
    )
    one = measurement_report.build(result, head, [head], first)
    two = measurement_report.build(result, head, [head], replace(identity_for(result, 2), predecessor=replaced))
    told = [read_back.summary(report) for report in (one, two)]
    assert told[1]["predecessor"] == [told[0]["sop_instance_uid"]]
    assert [one["tracking_uid"] for one in told[0]["findings"]] == [two["tracking_uid"] for two in told[1]["findings"]]


def test_every_evidence_image_is_in_the_library_and_in_the_evidence() -> None:
    one, two = small_cr(), small_cr()
    two.SOPInstanceUID, two.SeriesInstanceUID = uid(1), uid(2)
    result = result_for(one, two)
    report = measurement_report.build(result, one, [one, two], identity_for(result))
    library = tree.child(tree.child(report, Code.IMAGE_LIBRARY), Code.IMAGE_LIBRARY_GROUP)
    assert library is not None
    assert {tree.image(item) for item in library.ContentSequence} == {one.SOPInstanceUID, two.SOPInstanceUID}
    assert tree.evidence(report) == {one.SOPInstanceUID, two.SOPInstanceUID}
    assert len(report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence) == 2


def test_the_frame_is_named_only_where_there_are_several() -> None:
    source = small_cr()
    source.NumberOfFrames = 3
    result = result_for(source)
    result = replace(result, evidence=(replace(result.evidence[0], frame=1),),
                     findings=tuple(replace(finding, frame=2) for finding in result.findings))
    report = measurement_report.build(result, source, [source], identity_for(result))
    image = tree.child(tree.child(group(report, 0), Code.AI_SCORE), Code.SOURCE_OF_MEASUREMENT)
    assert image is not None and image.ReferencedSOPSequence[0].ReferencedFrameNumber == 2
    listed = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert "ReferencedFrameNumber" not in listed


def test_a_study_without_evaluable_images_names_all_of_them(head: Dataset) -> None:
    result = result_for(head)
    result = replace(result, evidence=(), findings=(result.findings[-1],))
    report = measurement_report.build(result, head, [head], identity_for(result))
    assert tree.evidence(report) == {head.SOPInstanceUID}
    assert checks.check(report, head) == ()


def test_an_image_of_another_study_is_refused(head: Dataset) -> None:
    with pytest.raises(ReportInvalid, match="is not of study"):
        measurement_report.build(result_for(head), head, [small_cr()], identity_for(result_for(head)))


def test_a_source_of_another_study_is_refused(head: Dataset) -> None:
    with pytest.raises(ReportInvalid, match="source image is of study"):
        measurement_report.build(result_for(head), small_cr(), [head], identity_for(result_for(head)))


def test_a_decisive_image_that_is_not_evidence_is_refused(head: Dataset) -> None:
    result = result_for(head)
    other = EvidenceImage(sop_class_uid=head.SOPClassUID, sop_instance_uid="1.2.3", series_instance_uid="1.2.4")
    with pytest.raises(ReportInvalid, match="not evidence"):
        measurement_report.build(replace(result, evidence=(other,)), head, [head], identity_for(result))


def test_a_finding_without_tracking_uid_is_refused(head: Dataset) -> None:
    result = result_for(head)
    with pytest.raises(ReportInvalid, match="'effusion' has no tracking UID"):
        measurement_report.build(result, head, [head], replace(identity_for(result), tracking_uids={}))


def test_a_source_without_usable_uids_is_refused() -> None:
    source = BadHeader("bad", raw(SeriesInstanceUID=b"")).source()
    with pytest.raises(UnusableIdentity):
        result = result_for(small_cr())
        measurement_report.build(result, source, [small_cr()], identity_for(result))


def test_text_of_a_model_cannot_break_the_object(head: Dataset) -> None:
    result = replace(result_for(head), impression="a\x00b\x1b\ud800 흉수\\x\nend")
    report = measurement_report.build(result, head, [head], identity_for(result))
    assert checks.check(report, head) == ()
    assert "흉수\\x\nend" in read_back.summary(saved(report))["impression"][0]


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_score_is_never_shown_on_the_other_side_of_its_cut_offs(score: float, one: float, two: float) -> None:
    point = OperatingPoint(present_above=round(max(one, two), 3), absent_below=round(min(one, two), 3))
    shown = shown_score(score, point)
    assert point.presence(float(shown)) is point.presence(score) or len(shown) == len("0.123456")


def test_a_score_just_below_its_cut_off_is_told_with_the_digits_it_needs() -> None:
    point = OperatingPoint(present_above=0.5, absent_below=0.5)
    near = replace(finding("effusion", EFFUSION, Presence.ABSENT, 0.4996, "1.2"), operating_point=point)
    assert finding_sentence(near, ENGLISH) == (
        "Pleural effusion: not flagged; AI score 0.4996 (present at or above 0.5, absent below 0.5)."
    )
