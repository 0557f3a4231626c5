"""C-FIND, C-GET and C-MOVE over the node's own results, asked by DCMTK and by a pynetdicom SCU."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from pynetdicom.sop_class import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from handlers.c_find import handle_find
from node.config import Config
from node.database import audit_event, connect, metadata
from node.server.archive import archive
from tests.tools.network import free_port
from tests.tools.receiver import ENGINES, Receiver, details, receiver, stored_data_set
from tests.tools.result_shelf import Shelf
from tests.tools.waiting import wait_until

FIND, GET, MOVE = (
    StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove)
REPORTS = (Comprehensive3DSRStorage, BasicTextSRStorage)
KOREAN = "Hong^Gildong=洪^吉洞=홍^길동"
SUCCESS, PENDING, CANCEL = 0x0000, 0xFF00, 0xFE00
NOT_SUPPORTED, NO_SUB_OPERATION, UNKNOWN_DESTINATION, MISMATCH, SOME_FAILED = 0x0122, 0xA702, 0xA801, 0xA900, 0xB000
STUDY = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2.1"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two studies of two reports each, and the database that knows them."""
    folder = tmp_path_factory.mktemp("written")
    engine = connect(f"sqlite:///{folder / 'node.sqlite'}")
    metadata.create_all(engine)
    shelf = Shelf(engine, folder)
    shelf.keep("1.2.1", PatientName=KOREAN, PatientID="P1", StudyDate="20260301", AccessionNumber="A1")
    shelf.keep("1.2.2", PatientName="Doe^Jane", PatientID="P2", StudyDate="20260401", AccessionNumber="A2")
    engine.dispose()
    return folder


@pytest.fixture
def shelf(written: Path, data_dir: Path) -> Iterator[Shelf]:
    """A copy of them."""
    shutil.copytree(written, data_dir)
    engine = connect(f"sqlite:///{data_dir / 'node.sqlite'}")
    yield Shelf(engine, data_dir, number=4)
    engine.dispose()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty folder for what is got."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def destination() -> int:
    """The port of the C-MOVE destination STORE, on which nothing listens yet."""
    return free_port()


@pytest.fixture
def engine_name() -> str:
    """``receive.engine``; a test that marks itself with ``both_engines`` runs on each."""
    return "standard"


@pytest.fixture
def node(shelf: Shelf, destination: int, engine_name: str) -> Iterator[Receiver]:
    peers = [{"ae_title": "STORE", "host": "127.0.0.1", "port": destination}]
    with receiver(shelf.engine, shelf.data_dir, peers=peers, receive={"engine": engine_name}) as node:
        yield node


both_engines = pytest.mark.parametrize("engine_name", ENGINES)


def dcmtk(program: str, node: Receiver, folder: Path, *arguments: str) -> str:
    """What one of DCMTK's SCUs says, after it ended well. What it writes is in ``folder``."""
    command = [program, "-v", "-aet", "VIEWER", "-aec", "AINODE", "127.0.0.1", str(node.port), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, timeout=60, cwd=folder)
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert done.returncode == 0, said
    return said


def keys(**values: str) -> list[str]:
    return [part for keyword, value in values.items() for part in ("-k", f"{keyword}={value}")]


@contextmanager
def associated(node: Receiver, *contexts: Any, **more: Any) -> Iterator[Association]:
    entity = AE("VIEWER")
    association = entity.associate("127.0.0.1", node.port, list(contexts), ae_title="AINODE", **more)
    assert association.is_established
    yield association
    association.release()


def identifier(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def asked(node: Receiver, model: str = FIND, more: Any = (), **values: Any) -> tuple[list[Dataset], Dataset]:
    """The matches, and the last status."""
    with associated(node, build_context(model), ext_neg=list(more)) as association:
        responses = list(association.send_c_find(identifier(**values), model))
    return [match for status, match in responses if status.Status in (0xFF00, 0xFF01)], responses[-1][0]


@contextmanager
def storing(port: int, handle: Callable[[evt.Event], int], classes: Any = REPORTS) -> Iterator[None]:
    """A C-MOVE destination."""
    entity = AE("STORE")
    entity.supported_contexts = [build_context(uid) for uid in classes]
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, handle)])
    yield
    server.shutdown()


def moved(node: Receiver, destination: str = "STORE", **values: Any) -> list[tuple[Dataset, Dataset | None]]:
    """The responses to a C-MOVE."""
    with associated(node, build_context(MOVE)) as association:
        return list(association.send_c_move(identifier(**values), destination, MOVE, msg_id=7))


def names_in_audit(node: Receiver) -> bool:
    with node.engine.connect() as connection:
        return any(re.search("Hong|홍|Doe", text) for text in connection.scalars(sa.select(audit_event.c.detail)))


def test_findscu_finds_a_korean_patient_by_a_wild_card(node: Receiver, out: Path) -> None:
    wanted = keys(QueryRetrieveLevel="STUDY", PatientName="hong*", StudyInstanceUID="", ModalitiesInStudy="")
    dcmtk("findscu", node, out, "-S", "-X", *wanted)
    found, = (dcmread(path, force=True) for path in out.glob("rsp*.dcm"))
    assert (found.PatientName, found.SpecificCharacterSet) == (KOREAN, "ISO_IR 192")
    assert (found.StudyInstanceUID, found.ModalitiesInStudy, found.RetrieveAETitle) == ("1.2.1", "SR", "AINODE")


@pytest.mark.parametrize(("model", "wanted", "count"), [
    ("-P", {"QueryRetrieveLevel": "PATIENT", "PatientID": ""}, 2),
    ("-P", {"QueryRetrieveLevel": "STUDY", "PatientID": "P1", "StudyDate": "20260201-"}, 1),
    ("-P", {"QueryRetrieveLevel": "SERIES", "PatientID": "P1", "StudyInstanceUID": "1.2.1", "Modality": "SR"}, 2),
    ("-S", {"QueryRetrieveLevel": "STUDY", "StudyDate": "-20260331"}, 1),
    ("-S", {"QueryRetrieveLevel": "STUDY", "AccessionNumber": "A2"}, 1),
    ("-S", {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2.1\\1.2.2\\1.2.3"}, 2),
    ("-S", {"QueryRetrieveLevel": "STUDY", "PatientID": "P3"}, 0),
    ("-S", {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.2.2", "SeriesNumber": "9903"}, 1),
])
def test_findscu_gets_a_response_for_each_match(
    node: Receiver, out: Path, model: str, wanted: dict[str, str], count: int
) -> None:
    said = dcmtk("findscu", node, out, model, *keys(**wanted))
    assert len(re.findall("Find Response: ", said)) == count
    assert "Received Final Find Response (Success)" in said


@both_engines
def test_findscu_cancels(node: Receiver, shelf: Shelf, out: Path) -> None:
    shelf.multiply(1000)
    said = dcmtk("findscu", node, out, "-S", "--cancel", "1", *keys(QueryRetrieveLevel="STUDY", StudyInstanceUID=""))
    assert "Received Final Find Response (Cancel" in said


@both_engines
def test_every_level_leads_to_the_next(node: Receiver) -> None:
    patients, _ = asked(node, PatientRootQueryRetrieveInformationModelFind, QueryRetrieveLevel="PATIENT",
                        PatientID="", PatientName="Doe*", NumberOfPatientRelatedInstances="")
    assert [(one.PatientID, one.NumberOfPatientRelatedInstances) for one in patients] == [("P2", 2)]
    studies, _ = asked(node, QueryRetrieveLevel="STUDY", StudyInstanceUID="", PatientID="P2")
    series, _ = asked(node, QueryRetrieveLevel="SERIES", StudyInstanceUID=studies[0].StudyInstanceUID,
                      SeriesInstanceUID="", SeriesDescription="", NumberOfSeriesRelatedInstances="")
    assert [one.NumberOfSeriesRelatedInstances for one in series] == [1, 1]
    images, status = asked(node, QueryRetrieveLevel="IMAGE", StudyInstanceUID=studies[0].StudyInstanceUID,
                           SeriesInstanceUID=series[0].SeriesInstanceUID, SOPInstanceUID="", SOPClassUID="")
    assert (images[0].SOPClassUID in REPORTS, status.Status) == (True, SUCCESS)


@pytest.mark.parametrize(("wanted", "told"), [
    ({"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"}, "Level"),
    ({"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": ""}, "StudyInstanceUID"),
    ({"QueryRetrieveLevel": "STUDY", "StudyDate": "Hong"}, "StudyDate"),
])
def test_a_query_outside_its_model_is_told_why(node: Receiver, wanted: dict[str, str], told: str) -> None:
    matches, status = asked(node, **wanted)
    assert (matches, status.Status) == ([], MISMATCH)
    assert told in status.ErrorComment
    refused, = details(node, "query.refused")
    assert (refused["calling_ae_title"], refused["status"], names_in_audit(node)) == ("VIEWER", "0xA900", False)


@both_engines
def test_relational_queries_are_accepted_when_asked_for(node: Receiver) -> None:
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid, item.service_class_application_information = FIND, b"\x01\x01\x01\x01"
    with associated(node, build_context(FIND), ext_neg=[item]) as association:
        assert association.acceptor.sop_class_extended == {FIND: b"\x01\x01\x00\x00"}
    matches, _ = asked(node, more=[item], QueryRetrieveLevel="SERIES", SeriesInstanceUID="", PatientID="P1")
    assert len(matches) == 2


def test_keys_that_are_not_kept_come_back_empty_with_a_warning(node: Receiver) -> None:
    made = identifier(**STUDY, PatientComments="?", RequestAttributesSequence=[])
    made.private_block(0x0009, "OURS", create=True).add_new(1, "LO", "x")
    with associated(node, build_context(FIND)) as association:
        (status, match), _ = association.send_c_find(made, FIND)
    assert status.Status == 0xFF01
    assert (match.PatientComments, list(match.RequestAttributesSequence), match[0x00091001].value) == ("", [], "")


def test_a_query_is_audited_without_its_values(node: Receiver) -> None:
    asked(node, QueryRetrieveLevel="STUDY", PatientName="Hong*")
    event, = details(node, "query.answered")
    assert (event["calling_ae_title"], event["keys"], event["matches"]) == ("VIEWER", ["PatientName"], 1)
    assert not names_in_audit(node)


def test_a_query_that_means_too_much_ends_with_a_refusal(shelf: Shelf) -> None:
    config = Config(node={"data_dir": shelf.data_dir})
    few = replace(archive(config, shelf.engine, lambda _: None), most_matches=1)
    entity = AE("AINODE")
    entity.supported_contexts = [build_context(FIND)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, handle_find, [few])])
    node = Receiver(server.server_address[1], server, shelf.engine, shelf.data_dir)
    matches, status = asked(node, QueryRetrieveLevel="STUDY", StudyInstanceUID="")
    server.shutdown()
    assert (len(matches), status.Status, "more than 1" in status.ErrorComment) == (1, 0xA700, True)


def test_a_query_whose_audit_cannot_be_written_shows_nothing(node: Receiver) -> None:
    with node.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE audit_event"))
    matches, status = asked(node, QueryRetrieveLevel="STUDY", StudyInstanceUID="")
    assert (matches, status.Status) == ([], 0xA700)


@both_engines
def test_getscu_gets_the_bytes_that_are_stored(node: Receiver, shelf: Shelf, out: Path) -> None:
    dcmtk("getscu", node, out, "-S", "+B", *keys(**STUDY))
    assert both_are_as_stored(shelf, out)
    answered, = details(node, "retrieve.answered")
    assert (answered["service"], answered["completed"], answered["failed"]) == ("C-GET", 2, 0)
    begun, = details(node, "retrieve.begun")
    assert (begun["destination"], len(begun["instances"]), names_in_audit(node)) == ("VIEWER", 2, False)


@both_engines
def test_a_get_without_the_right_role_sends_nothing_and_lists_it(node: Receiver) -> None:
    """The text report is proposed in the SCP role, the measurement report is not."""
    contexts = [build_context(GET), *(build_context(uid) for uid in REPORTS)]
    stored: list[str] = []

    def handle(event: evt.Event) -> int:
        stored.append(event.request.AffectedSOPClassUID)
        return SUCCESS

    with associated(node, *contexts, ext_neg=[build_role(BasicTextSRStorage, scp_role=True)],
                    evt_handlers=[(evt.EVT_C_STORE, handle)]) as association:
        responses = list(association.send_c_get(identifier(**STUDY), GET))
    status, listed = responses[-1]
    assert (status.Status, status.NumberOfCompletedSuboperations, status.NumberOfFailedSuboperations) == (
        SOME_FAILED, 1, 1)
    assert (stored, len(listed.FailedSOPInstanceUIDList) > 0) == ([BasicTextSRStorage], True)


@both_engines
def test_movescu_moves_the_bytes_that_are_stored(node: Receiver, shelf: Shelf, destination: int, out: Path) -> None:
    dcmtk("movescu", node, out, "-S", "-aem", "STORE", "+P", str(destination), "+B", *keys(**STUDY))
    assert both_are_as_stored(shelf, out)


def both_are_as_stored(shelf: Shelf, folder: Path) -> bool:
    """If ``folder`` has two objects, each with the bytes of ours but for the file's head, which DCMTK writes."""
    got = {path: shelf.file("2.25." + path.name.partition("2.25.")[2]) for path in folder.iterdir()}
    return len(got) == 2 and all(stored_data_set(path) == stored_data_set(ours) for path, ours in got.items())


@both_engines
def test_a_destination_is_told_who_asked(node: Receiver, destination: int) -> None:
    """Move Originator AE Title and Message ID are those of the C-MOVE (PS3.7 9.1.1.1)."""
    told = []

    def handle(event: evt.Event) -> int:
        request = event.request
        told.append((request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID,
                     event.assoc.requestor.ae_title))
        return SUCCESS

    with storing(destination, handle):
        responses = moved(node, **STUDY)
    assert told == [("VIEWER", 7, "AINODE")] * 2
    assert [(status.Status, status.NumberOfCompletedSuboperations) for status, _ in responses] == [
        (PENDING, 1), (SUCCESS, 2)]


@pytest.mark.parametrize(("answers", "status", "counts"), [
    ([0xA700, SUCCESS], SOME_FAILED, (1, 1, 0)),
    ([0xB000, SUCCESS], SOME_FAILED, (1, 0, 1)),
    ([0xA700, 0x0110], NO_SUB_OPERATION, (0, 2, 0)),
])
def test_what_a_destination_answers_is_counted(
    node: Receiver, destination: int, answers: list[int], status: int, counts: tuple[int, int, int]
) -> None:
    with storing(destination, lambda _: answers.pop(0)):
        last, listed = moved(node, **STUDY)[-1]
    assert last.Status == status
    assert counts == (last.NumberOfCompletedSuboperations, last.NumberOfFailedSuboperations,
                      last.NumberOfWarningSuboperations)
    failed = listed.get("FailedSOPInstanceUIDList") if listed else None
    assert len([failed] if isinstance(failed, str) else failed or []) == counts[1]


def test_a_destination_that_is_away_gets_nothing_and_the_list_says_so(node: Receiver) -> None:
    (last, listed), = moved(node, **STUDY)
    assert (last.Status, last.NumberOfFailedSuboperations) == (NO_SUB_OPERATION, 2)
    assert listed is not None
    assert len(listed.FailedSOPInstanceUIDList) == 2
    assert details(node, "retrieve.answered")[0]["failed"] == 2


def test_a_destination_that_nobody_configured_is_unknown(node: Receiver) -> None:
    (last, _), = moved(node, "NOBODY", **STUDY)
    assert last.Status == UNKNOWN_DESTINATION
    assert details(node, "retrieve.refused")[0]["status"] == "0xA801"


def test_what_is_not_there_is_a_success_of_nothing(node: Receiver, destination: int) -> None:
    (last, _), = moved(node, QueryRetrieveLevel="STUDY", StudyInstanceUID="1.9.9")
    assert (last.Status, last.NumberOfCompletedSuboperations) == (SUCCESS, 0)


def test_a_file_that_is_gone_fails_alone(node: Receiver, shelf: Shelf, destination: int) -> None:
    gone = shelf.keep("1.2.5")[0].SOPInstanceUID
    shelf.file(gone).unlink()
    with storing(destination, lambda _: SUCCESS):
        last, listed = moved(node, QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.5")[-1]
    assert (last.Status, listed.FailedSOPInstanceUIDList if listed else "") == (SOME_FAILED, gone)


@both_engines
def test_a_move_is_cancelled_while_others_are_served(node: Receiver, destination: int, engine_name: str) -> None:
    """The destination keeps the first object waiting; a query on another association is answered meanwhile."""
    reached, go_on = threading.Event(), threading.Event()

    def handle(_: evt.Event) -> int:
        reached.set()
        go_on.wait(30)
        return SUCCESS

    with storing(destination, handle), associated(node, build_context(MOVE)) as association:
        responses = association.send_c_move(identifier(**STUDY), "STORE", MOVE, msg_id=7)
        assert reached.wait(30)
        assert len(asked(node, **STUDY)[0]) == 1
        association.send_c_cancel(7, query_model=MOVE)
        if engine_name == "standard":  # the other one reads it when it has sent its next response
            served = node.server._entity.active_associations
            wait_until(lambda: any(one.dimse.cancel_req for one in served), 30, "C-CANCEL")
        go_on.set()
        last = [status for status, _ in responses][-1]
    assert (last.Status, last.NumberOfCompletedSuboperations, last.NumberOfRemainingSuboperations) == (CANCEL, 1, 1)


@both_engines
def test_a_move_ends_when_nobody_waits_for_it(node: Receiver, destination: int, engine_name: str) -> None:
    reached, go_on = threading.Event(), threading.Event()
    stored: list[int] = []

    def handle(_: evt.Event) -> int:
        reached.set()
        go_on.wait(30)
        stored.append(1)
        return SUCCESS

    with storing(destination, handle):
        association = AE("VIEWER").associate("127.0.0.1", node.port, [build_context(MOVE)], ae_title="AINODE")
        association.send_c_move(identifier(**STUDY), "STORE", MOVE)
        assert reached.wait(30)
        association.abort()
        if engine_name == "standard":
            served, = node.server._entity.active_associations
            wait_until(served.acse.is_aborted, 30, "the abort")
        go_on.set()
        wait_until(lambda: len(details(node, "retrieve.answered")) == 1, 30, "the audit of the retrieve")
    answered, = details(node, "retrieve.answered")
    assert (answered["completed"], answered["remaining"], stored) == (1, 1, [1])


@both_engines
def test_a_retrieve_that_fails_in_a_way_nobody_expected_ends_its_association_and_no_other(node: Receiver) -> None:
    def broken(_: evt.Event) -> None:
        raise RuntimeError("not one of the node's errors")

    with associated(node, build_context(FIND)) as other:
        association = AE("VIEWER").associate("127.0.0.1", node.port, [build_context(GET)], ae_title="AINODE")
        for served in node.server._entity.active_associations:
            served.bind(evt.EVT_C_GET, broken)
        list(association.send_c_get(identifier(**STUDY), GET))
        wait_until(lambda: association.is_aborted, 30, "the abort")
        assert len(list(other.send_c_find(identifier(**STUDY), FIND))) == 2


def test_demo_results_do_not_go_to_another_machine(sqlite: sa.Engine, data_dir: Path) -> None:
    """192.0.2.1 is never called: nothing may go there."""
    shelf = Shelf(sqlite, data_dir)
    shelf.keep("1.2.1", demo=True)
    there = [{"ae_title": "THERE", "host": "192.0.2.1", "port": 104}]
    with receiver(sqlite, data_dir, peers=there) as node:
        (last, _), = moved(node, "THERE", **STUDY)
        assert (last.Status, last.NumberOfCompletedSuboperations) == (SUCCESS, 0)
        assert len(asked(node, **STUDY)[0]) == 1
        assert node.server._archive.audience("192.0.2.1").demo is False


def test_the_contexts_are_refused_when_it_is_switched_off(shelf: Shelf) -> None:
    with receiver(shelf.engine, shelf.data_dir, receive={"query_retrieve": False}) as node:
        entity = AE("VIEWER")
        contexts = [build_context(uid) for uid in (FIND, GET, MOVE, BasicTextSRStorage)]
        role = build_role(BasicTextSRStorage, scp_role=True)
        association = entity.associate("127.0.0.1", node.port, contexts, ae_title="AINODE", ext_neg=[role])
        assert [context.abstract_syntax for context in association.accepted_contexts] == [BasicTextSRStorage]
        assert not association.accepted_contexts[0].as_scp
        association.release()


@both_engines
def test_a_service_on_the_context_of_another_is_refused(node: Receiver) -> None:
    with associated(node, build_context(MOVE), build_context(GET)) as association:
        get_context = next(one for one in association.accepted_contexts if one.abstract_syntax == GET)
        get_context.abstract_syntax = MOVE
        association._accepted_cx = {get_context.context_id: get_context}
        (last, _), = association.send_c_move(identifier(**STUDY), "STORE", MOVE)
    assert last.Status == NOT_SUPPORTED
