"""Which lane, which pipeline, which images and why not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import header, routing
from node.config import Match, PipelineSection
from node.domain import Eligibility, ImageHead, Lane, Priority
from node.inference.prompt_sets import load_prompt_set
from tests.tools.radiographs import REAL

TODAY = date(2026, 5, 20)
NOW = datetime(2026, 5, 20, 10, 0)
STORAGE = "1.2.840.10008.5.1.4.1.1."
ORIGINAL = ("ORIGINAL", "PRIMARY")
CHEST = Eligibility(modalities=("CR", "DX"), body_parts=("CHEST",), views=("PA", "AP"), minimum_age_years=18)
HEAD = ImageHead(
    sop_class_uid=STORAGE + "1.1", sop_instance_uid="1.2.1", study_instance_uid="1.2", series_instance_uid="1.2.0",
    transfer_syntax_uid="1.2.840.10008.1.2.1", modality="DX", body_part_examined="CHEST", view_position="PA",
    image_type=("ORIGINAL", "PRIMARY"), has_pixel_data=True, patient_id="D1", patient_name="Drawn^One",
    patient_age="040Y", study_date="20260520",
)


def declined(**change: Any) -> str:
    return routing.decline(replace(HEAD, **change), CHEST, TODAY)


@pytest.mark.parametrize(("day", "time", "expected"), [
    ("20260520", "0930", Lane.FRESH), ("20260518", "1001", Lane.FRESH), ("20260518", "0959", Lane.HISTORICAL),
    ("20260518", "", Lane.FRESH), ("20260517", "", Lane.HISTORICAL), ("20260518", "nonsense", Lane.FRESH),
    ("2020.01.31", "", Lane.HISTORICAL), ("", "", Lane.FRESH), ("00000000", "", Lane.FRESH),
    ("20261399", "", Lane.FRESH), ("***", "", Lane.FRESH), ("20270101", "", Lane.FRESH),
    ("20040826", "185059.000000", Lane.HISTORICAL), ("20260517", "99", Lane.HISTORICAL),
])
def test_a_study_older_than_the_limit_is_historical(day: str, time: str, expected: Lane) -> None:
    assert routing.lane(replace(HEAD, study_date=day, study_time=time), NOW, 48.0) is expected


def test_a_moment_with_a_zone_is_compared_in_local_time() -> None:
    local = datetime.now().replace(microsecond=0)
    begun = local - timedelta(hours=1)
    head = replace(HEAD, study_date=begun.strftime("%Y%m%d"), study_time=begun.strftime("%H%M%S"))
    assert routing.lane(head, local.astimezone(UTC), 2.0) is Lane.FRESH
    assert routing.lane(head, local.astimezone(UTC), 0.5) is Lane.HISTORICAL


@given(day=st.text(max_size=12), time=st.text(max_size=12))
def test_any_text_at_all_gives_a_lane(day: str, time: str) -> None:
    assert routing.lane(replace(HEAD, study_date=day, study_time=time), NOW, 48.0) in Lane


@pytest.mark.parametrize(("stated", "expected"), [
    ("STAT", Priority.STAT), ("stat ", Priority.STAT), ("HIGH", Priority.HIGH), ("MEDIUM", Priority.ROUTINE),
    ("ROUTINE", Priority.ROUTINE), ("LOW", Priority.ROUTINE), ("", Priority.ROUTINE), ("?", Priority.ROUTINE),
])
def test_only_stat_and_high_orders_are_urgent(stated: str, expected: Priority) -> None:
    assert routing.order_priority(stated) is expected


@pytest.mark.parametrize(("end", "evidence", "projection"), [
    ("1", True, True), ("1.1", True, True), ("1.1.1", True, True), ("2", True, False), ("7", True, False),
    ("88.33", False, False), ("88.59", False, False), ("11.1", False, False), ("66.4", False, False),
    ("104.1", False, False), ("481.2", False, False), ("9.1.1", False, False), ("66", False, False),
    ("30", False, False),
])
def test_pictures_of_a_patient_are_evidence_and_other_objects_are_not(
    end: str, evidence: bool, projection: bool
) -> None:
    head = replace(HEAD, sop_class_uid=STORAGE + end)
    assert (routing.is_evidence(head), routing.is_projection(head)) == (evidence, projection)


@pytest.mark.parametrize("name", ["RG1_J2KI.dcm", "cxr.dcm"])
def test_the_real_chests_are_eligible(name: str) -> None:
    assert routing.decline(header.read(REAL / name), CHEST, TODAY) == ""


@pytest.mark.parametrize(("name", "reason"), [
    ("dx_image.dcm", "test: not a human subject"), ("RG2_JPLY_fixed.dcm", "body part HIP"),
    ("encapsulated_cxr.dcm", "body part EYE"), ("CR1_6154", "body part CSPINE"),
    ("chrKoreanMulti.dcm", "no pixel data"),
    ("xc_example.dcm", "secondary capture"), ("ct_image.dcm", "modality CT"), ("sr_document.dcm", "no pixel data"),
])
def test_real_images_that_are_no_human_chest_are_declined(name: str, reason: str) -> None:
    assert routing.decline(header.read(REAL / name), CHEST, TODAY) == reason


@pytest.mark.parametrize("change", [
    {}, {"view_position": ""}, {"view_position": "AP SUPINE"}, {"patient_age": ""},
    {"image_type": ("DERIVED", "PRIMARY")},
    {"body_part_examined": "Thorax"}, {"body_part_examined": "CHEST_PA"},
    {"body_part_examined": "", "anatomic_region_code": "816094009"},
    {"body_part_examined": "", "anatomic_region_code": "51185008"},
    {"body_part_examined": "", "study_description": "XR Chest 2 views"},
    {"body_part_examined": "", "series_description": "흉부정면"},
    {"body_part_examined": "", "study_description": "Röntgen-Thorax p.a."},
    {"patient_name": "Testa^Maria"}, {"patient_name": "Qcumber^A"}, {"patient_species_description": "Homo sapiens"},
    {"patient_age": "018Y"}, {"view_position": "POSTERO-ANTERIOR"}, {"presentation_intent_type": "FOR PRESENTATION"},
    {"patient_age": "", "patient_birth_date": "20080520"}, {"series_description": "CHEST PA+LAT", "view_position": ""},
])
def test_what_may_be_read_passes(change: dict[str, Any]) -> None:
    assert declined(**change) == ""


@pytest.mark.parametrize(("change", "reason"), [
    ({"quality_control_subject": "YES"}, "test: quality control subject"),
    ({"patient_name": "TEST^Unit 3"}, "test: the patient name is one of a test subject"),
    ({"patient_name": "qc_weekly"}, "test: the patient name is one of a test subject"),
    ({"patient_id": "PHANTOM01"}, "test: the patient ID is one of a test subject"),
    ({"patient_species_description": "Canis lupus familiaris"}, "test: not a human subject"),
    ({"series_description": "Feline thorax"}, "test: not a human subject"),
    ({"has_pixel_data": False}, "no pixel data"),
    ({"sop_class_uid": STORAGE + "7"}, "secondary capture"),
    ({"sop_class_uid": STORAGE + "66.4"}, "not an image of a patient"),
    ({"sop_class_uid": STORAGE + "1.1.1"}, "for processing, not for presentation"),
    ({"presentation_intent_type": "FOR PROCESSING"}, "for processing, not for presentation"),
    ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "localizer"),
    ({"image_type": ("DERIVED", "SECONDARY", "")}, "derived image (DERIVED\\SECONDARY)"),
    ({"number_of_frames": 3}, "3 frames"),
    ({"modality": "MG"}, "modality MG"), ({"sop_class_uid": STORAGE + "6.1"}, "modality US"),
    ({"body_part_examined": "HAND"}, "body part HAND"), ({"body_part_examined": "TSPINE"}, "body part TSPINE"),
    ({"body_part_examined": "CHESTABDOMEN"}, "body part CHESTABDOMEN"),
    ({"body_part_examined": ""}, "body part is not known"),
    ({"body_part_examined": "", "anatomic_region_code": "72696002", "study_description": "chest"},
     "body part 72696002"),
    ({"body_part_examined": "", "series_description": "Knee AP", "study_description": "chest and knee"},
     "body part KNEE"),
    ({"view_position": "LL"}, "view LATERAL"), ({"view_position": "LEFT LATERAL"}, "view LATERAL"),
    ({"view_position": "RAO"}, "view RAO"), ({"view_position": "LLD"}, "view LLD"),
    ({"view_position": "", "series_description": "CHEST LAT"}, "view LATERAL"),
    ({"view_position": "", "patient_orientation": ("A", "F")}, "view LATERAL"),
    ({"patient_age": "017Y"}, "age 17 years, needs 18 or over"),
    ({"patient_age": "006M"}, "age 0 years, needs 18 or over"),
    ({"patient_age": "", "patient_birth_date": "20080521"}, "age 17 years, needs 18 or over"),
])
def test_what_may_not_be_read_is_declined_with_the_reason(change: dict[str, Any], reason: str) -> None:
    assert declined(**change) == reason


def test_the_most_telling_reason_comes_first() -> None:
    assert declined(quality_control_subject="YES", has_pixel_data=False, modality="CT").startswith("test:")


def test_unknown_age_and_view_pass_with_a_remark() -> None:
    head = replace(HEAD, patient_age="", view_position="")
    assert routing.remarks(head, CHEST, TODAY) == (
        "Patient age is not known; the model was made for adults (18 or over).", "View position is not known.")
    assert routing.remarks(HEAD, CHEST, TODAY) == ()


def test_an_empty_rule_allows_anything() -> None:
    anything = Eligibility(modalities=(), body_parts=(), views=(), minimum_age_years=0)
    head = replace(HEAD, body_part_examined="HAND", view_position="LL", patient_age="001Y")
    assert routing.decline(head, anything, TODAY) == ""
    assert routing.remarks(replace(head, patient_age="", view_position=""), anything, TODAY) == ()


@given(texts=st.lists(st.text(max_size=30), min_size=8, max_size=8))
def test_any_head_at_all_gets_an_answer(texts: list[str]) -> None:
    head = replace(
        HEAD, body_part_examined=texts[0], view_position=texts[1], patient_age=texts[2], patient_birth_date=texts[3],
        study_date=texts[4], patient_name=texts[5], series_description=texts[6], anatomic_region_code=texts[7],
    )
    assert isinstance(routing.decline(head, CHEST, TODAY), str)


def test_the_first_matching_pipeline_is_taken() -> None:
    hand = PipelineSection(name="hand", match=Match(modalities=("DX",), body_parts=("HAND",)))
    chest, anything = PipelineSection(), PipelineSection(name="any", match=Match(modalities=(), body_parts=()))
    assert routing.pipeline_for([HEAD], ["CT1"], [hand, chest, anything]) == chest
    assert routing.pipeline_for([replace(HEAD, modality="MR")], ["CT1"], [hand, chest, anything]) == anything
    assert routing.pipeline_for([replace(HEAD, modality="MR")], ["CT1"], [hand, chest]) is None


def test_a_pipeline_may_belong_to_some_senders() -> None:
    emergency = PipelineSection(match=Match(calling_ae_titles=("ED",)))
    assert routing.pipeline_for([HEAD], ["ED", "PACS"], [emergency]) == emergency
    assert routing.pipeline_for([HEAD], ["PACS"], [emergency]) is None


def test_documents_never_choose_a_pipeline() -> None:
    anything = PipelineSection(match=Match(modalities=(), body_parts=()))
    assert routing.pipeline_for([replace(HEAD, sop_class_uid=STORAGE + "88.11")], [], [anything]) is None
    assert routing.pipeline_for([], [], [anything]) is None


SKIN = Eligibility(modalities=("XC", "SC"), body_parts=(), views=(), minimum_age_years=0)
ANYTHING = Eligibility(modalities=(), body_parts=(), views=(), minimum_age_years=0)


@pytest.mark.parametrize(("end", "modality"), [
    ("1.2", "MG"), ("20", "NM"), ("128", "PT"), ("12.1", "XA"), ("1.1", "PX"), ("1.1", "MG")])
def test_some_modalities_have_to_be_named(end: str, modality: str) -> None:
    head = replace(HEAD, sop_class_uid=STORAGE + end, modality=modality)
    assert routing.decline(head, ANYTHING, TODAY) == f"modality {modality}"
    named = replace(ANYTHING, modalities=(modality, "DX"))
    assert routing.decline(head, named, TODAY) == ""


@pytest.mark.parametrize(("modality", "reason"), [
    ("OT", ""), ("SC", ""), ("XC", ""), ("CT", "modality CT"), ("MG", "modality MG")])
def test_a_secondary_capture_passes_where_it_is_named_and_shows_what_was_asked_for(modality: str, reason: str) -> None:
    head = replace(HEAD, sop_class_uid=STORAGE + "7", modality=modality, image_type=("DERIVED", "SECONDARY"))
    assert routing.decline(head, SKIN, TODAY) == reason
    assert routing.decline(head, ANYTHING, TODAY) == "secondary capture"


@pytest.mark.parametrize(("third", "reason"), [
    ("SCREEN SAVE", "screen save"), ("DOSE_INFO", "dose screen"), ("LABEL", "label of a slide"),
    ("OVERVIEW", "overview of a slide"), ("THUMBNAIL", "thumbnail"), ("VOLUME", ""), ("AXIAL", "")])
def test_pictures_of_screens_and_slides_are_no_pictures_of_the_patient(third: str, reason: str) -> None:
    assert declined(image_type=("ORIGINAL", "PRIMARY", third)) == reason


@pytest.mark.parametrize(("part", "stated", "reason"), [
    ("HEAD", "BRAIN", ""), ("HEAD", "HEAD", ""), ("HEAD", "NECK", "body part NECK"), ("HEAD", "두부", ""),
    ("HEAD", "HEADNECK", "body part HEADNECK"), ("HEAD", "HEAD NECK", "body part HEAD NECK"),
    ("ABDOMEN", "ABDOMEN", ""), ("ABDOMEN", "LIVER", ""), ("ABDOMEN", "CHEST", "body part CHEST"),
    ("ABDOMEN", "ABDOMEN PELVIS", "body part ABDOMEN PELVIS"), ("CHEST", "HEAD", "body part HEAD")])
def test_ct_of_other_parts_is_declined(part: str, stated: str, reason: str) -> None:
    head = replace(HEAD, sop_class_uid=STORAGE + "2", modality="CT", body_part_examined=stated)
    eligibility = Eligibility(modalities=("CT",), body_parts=(part,), views=(), minimum_age_years=18)
    assert routing.decline(head, eligibility, TODAY) == reason


@pytest.mark.parametrize(("prompt_set", "change"), [
    ("chest-xray", {}), ("fundus", {"sop_class_uid": STORAGE + "77.1.5.1", "modality": "OP"}),
    ("dermatology", {"sop_class_uid": STORAGE + "77.1.4", "modality": "XC", "body_part_examined": "ARM"}),
    ("histopathology", {"sop_class_uid": STORAGE + "77.1.6", "modality": "SM", "body_part_examined": "BREAST"}),
    ("ct-chest", {"sop_class_uid": STORAGE + "2", "modality": "CT"}),
    ("ct-head", {"sop_class_uid": STORAGE + "2", "modality": "CT", "body_part_examined": "HEAD"}),
    ("ct-abdomen", {"sop_class_uid": STORAGE + "2", "modality": "CT", "body_part_examined": "ABDOMEN"})])
def test_every_shipped_set_takes_its_own_images_and_no_child(prompt_set: str, change: dict[str, str]) -> None:
    eligibility = load_prompt_set(prompt_set).eligibility
    head = replace(HEAD, **change)  # type: ignore[arg-type]
    assert routing.decline(head, eligibility, TODAY) == ""
    assert routing.decline(replace(head, patient_age="009Y"), eligibility, TODAY) == "age 9 years, needs 18 or over"
    assert routing.decline(replace(HEAD, modality="US", sop_class_uid=STORAGE + "6.1"), eligibility, TODAY)


@pytest.mark.parametrize(("stated", "sop_class", "image_type", "may"), [
    ("YES", "1.1", ORIGINAL, True), ("no", "6.1", (), False), ("", "1.1", ORIGINAL, False),
    ("", "2", (*ORIGINAL, "AXIAL"), False), ("", "2", ("DERIVED", "SECONDARY"), True), ("", "1.1", (), True),
    ("", "6.1", ORIGINAL, True), ("", "7", ORIGINAL, True), ("perhaps", "77.1.4", ORIGINAL, True),
    ("", "9999", ORIGINAL, True),
])
def test_pixels_may_name_the_patient_unless_the_header_makes_it_unlikely(
    stated: str, sop_class: str, image_type: tuple[str, ...], may: bool
) -> None:
    head = replace(HEAD, burned_in_annotation=stated, sop_class_uid=STORAGE + sop_class, image_type=image_type)
    assert routing.may_identify(head) is may
