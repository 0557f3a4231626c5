"""Which study is an earlier one of the same patient and part: never another patient's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import routing
from node.domain import ImageHead

STORAGE = "1.2.840.10008.5.1.4.1.1."
CURRENT = ImageHead(
    sop_class_uid=STORAGE + "1.1", sop_instance_uid="1.2.1", study_instance_uid="1.2", series_instance_uid="1.2.0",
    transfer_syntax_uid="1.2.840.10008.1.2.1", modality="DX", body_part_examined="CHEST", patient_id="P1",
    issuer_of_patient_id="HOSPITAL", patient_birth_date="19600101", patient_sex="F", study_date="20260520",
    study_time="101500")
EARLIER = replace(CURRENT, study_instance_uid="1.3", study_date="20240101", modality="CR")


def refused(*, single_issuer: bool = False, seen: bool = True, **change: Any) -> str:
    return routing.no_prior(CURRENT, replace(EARLIER, **change), single_issuer=single_issuer, seen=seen)


def test_the_same_patient_part_and_kind_of_image_earlier_is_a_prior() -> None:
    assert refused() == ""
    assert refused(body_part_examined="", series_description="Thorax pa") == ""


@pytest.mark.parametrize("change", [
    {"patient_id": "P2"}, {"patient_id": ""}, {"patient_id": "p1"},
    {"issuer_of_patient_id": "OTHER"}, {"issuer_of_patient_id": ""},
    {"patient_birth_date": "19600102"}, {"patient_birth_date": ""}, {"patient_birth_date": "unknown"},
    {"patient_sex": "M"}, {"patient_sex": ""}, {"patient_sex": "X"},
    {"study_instance_uid": "1.2"}, {"study_date": "20260521"}, {"study_date": ""},
    {"study_date": "20260520", "study_time": "101500"}, {"study_date": "20260520", "study_time": ""},
    {"modality": "CT"}, {"modality": "", "sop_class_uid": ""}, {"body_part_examined": "KNEE"},
    {"body_part_examined": ""}, {"laterality": "L"},
])
def test_whatever_differs_or_is_missing_is_no_prior(change: dict[str, Any]) -> None:
    right = replace(CURRENT, laterality="R")
    reason = routing.no_prior(right, replace(EARLIER, **change), single_issuer=False, seen=True)
    assert reason and not any(value and value in reason for value in change.values())


def test_an_earlier_study_of_the_same_day_counts() -> None:
    assert refused(study_date="20260520", study_time="0800") == ""


def test_where_ids_have_a_single_issuer_it_need_not_be_named_but_two_named_ones_are_two() -> None:
    assert refused(single_issuer=True, issuer_of_patient_id="") == ""
    assert refused(single_issuer=True, issuer_of_patient_id="OTHER") == "Issuer of Patient ID is missing or another"


def test_an_answer_may_leave_out_the_body_part_which_the_images_have_to_say() -> None:
    assert refused(seen=False, body_part_examined="") == ""
    assert refused(seen=True, body_part_examined="") != ""
    assert refused(seen=False, body_part_examined="", study_description="Knee left") != ""
    assert refused(seen=False, body_part_examined="", study_description="CT Abdomen liver") != ""


@pytest.mark.parametrize("patient_id", ["", "P*", "P?1", "P1\\P2", "*", "P" * 65, "P" * 65536])
def test_a_patient_id_that_a_query_takes_otherwise_is_not_asked_for(patient_id: str) -> None:
    assert routing.unaskable(replace(CURRENT, patient_id=patient_id), single_issuer=True)


@pytest.mark.parametrize("change", [
    {"issuer_of_patient_id": ""}, {"patient_birth_date": ""}, {"patient_sex": ""}, {"study_date": ""},
    {"modality": "", "sop_class_uid": ""}, {"body_part_examined": ""}])
def test_without_what_tells_patients_apart_nobody_is_asked(change: dict[str, Any]) -> None:
    assert routing.unaskable(CURRENT, single_issuer=False) == ""
    assert routing.unaskable(replace(CURRENT, **change), single_issuer=False)


def test_storage_classes_of_a_radiograph_are_those_of_radiographs() -> None:
    assert routing.classes_of("CR") == routing.classes_of("DX") == (
        STORAGE + "1", STORAGE + "1.1", STORAGE + "1.1.1")
    assert all(routing.IMAGE_FAMILIES[uid] == "CT" for uid in routing.classes_of("CT"))


IDS = st.sampled_from(["", " ", "P1", "P1 ", "p1", "P2", "P1*", "P*"])
HEADS = st.builds(
    lambda patient_id, issuer, born, sex, study, day, time, modality, part: replace(
        CURRENT, patient_id=patient_id, issuer_of_patient_id=issuer, patient_birth_date=born, patient_sex=sex,
        study_instance_uid=study, study_date=day, study_time=time, modality=modality, body_part_examined=part),
    IDS, st.sampled_from(["", " ", "A", "B"]), st.sampled_from(["", "19600101", "1960.01.01", "19600102", "1960"]),
    st.sampled_from(["", "F", "f", "M", "O", "?"]), st.sampled_from(["1.2", "1.3"]),
    st.sampled_from(["", "20260520", "20240101", "20270101"]), st.sampled_from(["", "08", "101500", "99"]),
    st.sampled_from(["CR", "DX", "CT", ""]), st.sampled_from(["CHEST", "Thorax", "KNEE", ""]))


@given(HEADS, HEADS, st.booleans(), st.booleans())
def test_a_prior_is_never_another_patients(current: ImageHead, other: ImageHead, single: bool, seen: bool) -> None:
    if routing.no_prior(current, other, single_issuer=single, seen=seen):
        return
    one, two = (
        (head.patient_id.strip(), head.patient_birth_date.replace(".", ""), head.patient_sex.upper())
        for head in (current, other))
    assert one == two and all(one) and one[2] in "MFO"
    issuers = {head.issuer_of_patient_id.strip() for head in (current, other)}
    assert len(issuers - {""}) <= 1 and (single or issuers in ({"A"}, {"B"}))
    begun = [(head.study_date, head.study_time.ljust(6, "0")) for head in (other, current)]
    assert other.study_instance_uid != current.study_instance_uid and begun[0] < begun[1]
    assert (current.modality == "CT") == (other.modality == "CT")
