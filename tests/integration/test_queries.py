"""Identifiers read, and questions answered from table ``result``, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from node.database import connect, metadata, result
from node.errors import QueryMismatch
from node.results import Audience, Index, Level, Negotiated, Query, Root, answer, find, select
from node.results.levels import vr_of
from node.results.matching import matches
from tests.tools.instances import chest
from tests.tools.node_in_process import StraightNode
from tests.tools.result_shelf import Shelf

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
EVERYBODY = Audience(demo=True, historical=True)
STUDIES = ("1.2.1", "1.2.2", "1.2.3")


def identifier(**keys: Any) -> Dataset:
    made = Dataset()
    for keyword, value in keys.items():
        setattr(made, keyword, value)
    return made


def asked(*, root: Root = Root.STUDY, negotiated: Negotiated | None = None, **keys: Any) -> Query:
    encoded = encode(identifier(**keys), True, True) or b""
    return Query.read(encoded, IMPLICIT, root, negotiated or Negotiated())


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Three studies of two patients, two reports each."""
    folder = tmp_path_factory.mktemp("queries")
    engine: sa.Engine = connect(f"sqlite:///{folder / 'node.sqlite'}")
    metadata.create_all(engine)
    shelf = Shelf(engine, folder)
    for number, uid in enumerate(STUDIES):
        shelf.keep(uid, PatientID=f"P{number // 2}", PatientName=("Hong^Gildong", "Hong^Gildong", "Doe^Jane")[number],
                   AccessionNumber=f"A{number}", StudyDate=f"2026010{number + 1}", StudyTime=f"1{number}0000")
    yield Index(engine, folder)
    engine.dispose()


def studies(index: Index, query: Query) -> list[str]:
    found, complete = find(index, query.checked_for_find(), EVERYBODY, 100)
    assert complete
    return [entity.newest.study_instance_uid for entity in found]


@pytest.mark.parametrize(("syntax", "implicit"), [(IMPLICIT, True), (EXPLICIT, False)])
def test_an_identifier_is_read_in_every_syntax(syntax: str, implicit: bool) -> None:
    encoded = encode(identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID=["1.2", "1.3"], PatientName=""),
                     implicit, True) or b""
    query = Query.read(encoded, syntax, Root.STUDY, Negotiated())
    assert (query.level, query.uids(Level.STUDY), query.value("PatientName")) == (Level.STUDY, ("1.2", "1.3"), "")


@pytest.mark.parametrize(
    ("character_set", "codec"), [("\\ISO 2022 IR 149", "euc_kr"), ("ISO_IR 192", "utf8"), ("", "cp949")])
def test_a_key_in_another_character_set_is_decoded(character_set: str, codec: str) -> None:
    """Also one that declares nothing, as Korean senders do."""
    escape = b"\x1b$)C" if codec == "euc_kr" else b""
    name = b"^".join(escape + part.encode(codec) for part in ("홍", "길동"))
    made = identifier(SpecificCharacterSet=character_set, QueryRetrieveLevel="STUDY")
    encoded = encode(made, True, True) or b""
    element = b"\x10\x00\x10\x00" + len(name + b" " * (len(name) % 2)).to_bytes(4, "little") + name
    query = Query.read(encoded + element + b" " * (len(name) % 2), IMPLICIT, Root.STUDY, Negotiated())
    assert query.value("PatientName") == "홍^길동"


@given(st.binary(max_size=80))
def test_any_bytes_are_a_query_or_a_mismatch(data: bytes) -> None:
    for syntax in (IMPLICIT, EXPLICIT):
        try:
            Query.read(data, syntax, Root.PATIENT, Negotiated())
        except QueryMismatch:
            continue


def test_a_long_list_of_uids_is_read_whole() -> None:
    uids = [f"1.2.{number}" for number in range(5000)]
    assert asked(QueryRetrieveLevel="STUDY", StudyInstanceUID=uids).uids(Level.STUDY) == tuple(uids)


@pytest.mark.parametrize(("root", "keys", "told"), [
    (Root.STUDY, {"QueryRetrieveLevel": "PATIENT"}, "Level"),
    (Root.STUDY, {}, "Level"),
    (Root.STUDY, {"QueryRetrieveLevel": "SERIES"}, "StudyInstanceUID"),
    (Root.STUDY, {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "*"}, "StudyInstanceUID"),
    (Root.STUDY, {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": ["1", "2"]}, "several"),
    (Root.STUDY, {"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": "1"}, "SeriesInstanceUID"),
    (Root.PATIENT, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1"}, "PatientID"),
    (Root.STUDY, {"QueryRetrieveLevel": "STUDY", "StudyTime": "10-9-8"}, "StudyTime"),
])
def test_what_does_not_fit_the_model_is_named(root: Root, keys: dict[str, Any], told: str) -> None:
    with pytest.raises(QueryMismatch, match=told):
        asked(root=root, **keys).checked_for_find()


def test_relational_queries_need_no_keys_above(index: Index) -> None:
    query = asked(QueryRetrieveLevel="IMAGE", Modality="SR", negotiated=Negotiated(relational=True))
    assert len(studies(index, query)) == 6


def test_a_relational_key_below_the_level_keeps_the_entities_that_have_one(index: Index) -> None:
    keys = {"QueryRetrieveLevel": "STUDY", "SOPInstanceUID": "1.9.9"}
    assert studies(index, asked(**keys)) == list(STUDIES)
    assert studies(index, asked(**keys, negotiated=Negotiated(relational=True))) == []


@pytest.mark.parametrize(("keys", "expected"), [
    ({}, "123"),
    ({"PatientID": "P0"}, "12"),
    ({"PatientID": "P?"}, "123"),
    ({"PatientName": "hong*"}, "12"),
    ({"AccessionNumber": "A2"}, "3"),
    ({"StudyDate": "20260102-"}, "23"),
    ({"StudyDate": "20260101-20260102", "StudyTime": "11-"}, "2"),
    ({"StudyInstanceUID": ["1.2.1", "1.2.3", "1.9"]}, "13"),
    ({"ModalitiesInStudy": "SR"}, "123"),
    ({"ModalitiesInStudy": "CT"}, ""),
    ({"Modality": "CT"}, "123"),
])
def test_studies_are_found_by_their_keys(index: Index, keys: dict[str, Any], expected: str) -> None:
    assert studies(index, asked(QueryRetrieveLevel="STUDY", **keys)) == [f"1.2.{number}" for number in expected]


def test_date_and_time_are_one_range_where_that_was_negotiated(index: Index) -> None:
    keys = {"QueryRetrieveLevel": "STUDY", "StudyDate": "20260101-20260104", "StudyTime": "110000-113000"}
    assert studies(index, asked(**keys)) == ["1.2.2"]
    assert studies(index, asked(**keys, negotiated=Negotiated(combined_date_time=True))) == ["1.2.2", "1.2.3"]


KEYS = st.fixed_dictionaries({}, optional={
    "PatientID": st.sampled_from(["P0", "P1", "p1", "P*", "?1", "P0\\P1"]),
    "AccessionNumber": st.sampled_from(["A0", "A*", "B"]),
    "StudyDate": st.sampled_from(["20260101", "20260102-", "-20260102", "20251231-20260101", "-"]),
    "StudyInstanceUID": st.sampled_from(["1.2.1", "1.2.1\\1.2.2", "9"]),
    "PatientName": st.sampled_from(["*^*", "DOE*", "nobody"]),
})


@given(KEYS)
def test_what_sql_leaves_out_does_not_match(index: Index, keys: dict[str, str]) -> None:
    everything, _ = find(index, asked(QueryRetrieveLevel="STUDY"), EVERYBODY, 100)
    meant = [one.newest.study_instance_uid for one in everything
             if all(matches(vr_of(keyword), key, one.newest.value(keyword)) for keyword, key in keys.items())]
    values = {keyword: key.split("\\") for keyword, key in keys.items()}
    assert studies(index, asked(QueryRetrieveLevel="STUDY", **values)) == meant


def test_a_query_that_means_too_much_is_known_to_be_incomplete(index: Index) -> None:
    found, complete = find(index, asked(QueryRetrieveLevel="STUDY"), EVERYBODY, 2)
    assert (len(found), complete) == (2, False)


def test_an_answer_has_what_was_asked_and_the_keys_above(index: Index) -> None:
    query = asked(root=Root.PATIENT, QueryRetrieveLevel="STUDY", PatientID="P1", PatientComments="", Modality="",
                  NumberOfStudyRelatedInstances="", RequestAttributesSequence=[], InstanceAvailability="")
    found, _ = find(index, query.checked_for_find(), EVERYBODY, 10)
    told = answer(query, found[0], "AINODE")
    assert {element.keyword: element.value or "" for element in told} == {
        "QueryRetrieveLevel": "STUDY", "RetrieveAETitle": "AINODE", "InstanceAvailability": "ONLINE", "Modality": "",
        "PatientID": "P1", "PatientComments": "", "StudyInstanceUID": "1.2.3", "NumberOfStudyRelatedInstances": 2,
        "RequestAttributesSequence": "",
    }


@pytest.mark.parametrize(("level", "keys", "count"), [
    ("PATIENT", {"PatientID": "P0"}, 4),
    ("STUDY", {"PatientID": "P0", "StudyInstanceUID": ["1.2.1", "1.2.2"]}, 4),
    ("STUDY", {"PatientID": "P1", "StudyInstanceUID": "1.2.1"}, 0),
    ("PATIENT", {"PatientID": "P?"}, 0),
])
def test_objects_are_named_by_unique_keys_alone(index: Index, level: str, keys: dict[str, Any], count: int) -> None:
    query = asked(root=Root.PATIENT, QueryRetrieveLevel=level, StudyDate="19000101", **keys).checked_for_retrieve()
    assert len(select(index, query, EVERYBODY)) == count


@pytest.mark.parametrize("keys", [{}, {"PatientID": "*"}, {"PatientID": ""}])
def test_nothing_is_retrieved_without_its_unique_key(keys: dict[str, str]) -> None:
    with pytest.raises(QueryMismatch, match="PatientID"):
        asked(root=Root.PATIENT, QueryRetrieveLevel="PATIENT", **keys).checked_for_retrieve()


def test_files_are_not_opened_for_a_query(sqlite: sa.Engine, data_dir: Path) -> None:
    shelf = Shelf(sqlite, data_dir)
    for made in shelf.keep("1.2.9"):
        shelf.file(made.SOPInstanceUID).unlink()
    assert studies(Index(sqlite, data_dir), asked(QueryRetrieveLevel="STUDY")) == ["1.2.9"]


def test_reports_of_before_are_noted_when_they_are_asked_for(engine: sa.Engine, data_dir: Path) -> None:
    Shelf(engine, data_dir, booked=False).keep("1.2.9", StudyDate="20260101")
    index = Index(engine, data_dir)
    assert studies(index, asked(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.8")) == []
    query = asked(QueryRetrieveLevel="STUDY", StudyDate="20260101", StudyInstanceUID="1.2.9")
    assert studies(index, query) == studies(index, query) == ["1.2.9"]


@pytest.mark.parametrize(("kept", "audience"), [
    ({"demo": True}, Audience(demo=False, historical=True)),
    ({"lane": "historical"}, Audience(demo=True, historical=False)),
    ({"run_state": "superseded"}, EVERYBODY),
    ({"run_state": "running"}, EVERYBODY),
    ({"run_state": "failed"}, EVERYBODY),
])
def test_what_would_not_be_delivered_is_not_shown(
    sqlite: sa.Engine, data_dir: Path, kept: dict[str, Any], audience: Audience
) -> None:
    shelf = Shelf(sqlite, data_dir)
    shelf.keep("1.2.7", **kept)
    shelf.keep("1.2.8")
    index, query = Index(sqlite, data_dir), asked(QueryRetrieveLevel="STUDY", StudyInstanceUID=["1.2.7", "1.2.8"])
    found, _ = find(index, query, audience, 10)
    assert [entity.newest.study_instance_uid for entity in found] == ["1.2.8"]
    assert {one.study_instance_uid for one in select(index, query.checked_for_retrieve(), audience)} == {"1.2.8"}


def test_the_reports_of_a_study_can_be_found_once_its_run_is_over(engine: sa.Engine, data_dir: Path) -> None:
    node = StraightNode(engine, data_dir)
    node.evaluate(chest("1.2.5", PatientID="P5"))
    found, _ = find(Index(engine, data_dir), asked(QueryRetrieveLevel="STUDY", PatientID="P5"), EVERYBODY, 10)
    assert [len(entity.objects) for entity in found] == [2]
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(result)) == 2


def test_patients_without_an_id_are_not_one_patient(sqlite: sa.Engine, data_dir: Path) -> None:
    Shelf(sqlite, data_dir).keep("1.2.7", PatientID="")
    query = asked(root=Root.PATIENT, QueryRetrieveLevel="PATIENT", PatientID="")
    assert find(Index(sqlite, data_dir), query, EVERYBODY, 10) == ([], True)
