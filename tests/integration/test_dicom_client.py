"""The SCU against real peers on loopback ports: what each kind of answer, refusal and silence becomes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    DigitalXRayImageStorageForPresentation,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from node.commitment import commitment_report
from node.config import Destination
from node.demo.pacs import PacsSwitches, SmallPacs
from node.dicom_client import COMMITMENT_INSTANCE, DicomClient, TimeOuts
from node.domain import CommitmentReport
from node.errors import PeerError, PeerRefused
from tests.tools.documents import document
from tests.tools.network import Namespace, free_port
from tests.tools.orthanc import Orthanc
from tests.tools.waiting import wait_until

CLIENT = DicomClient("AINODE")
TRANSACTION = "2.25.77"


def at(port: int, host: str = "127.0.0.1") -> Destination:
    return Destination(name="pacs", ae_title="PACS", host=host, port=port)


@contextmanager
def listening(entity: AE, *handlers: tuple[Any, ...]) -> Iterator[Destination]:
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=list(handlers))
    try:
        yield at(server.server_address[1])
    finally:
        server.shutdown()


def storage(*classes: str, syntaxes: list[str] | None = None) -> AE:
    entity = AE("PACS")
    for sop_class in classes:
        entity.add_supported_context(sop_class, syntaxes)
    return entity


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[SmallPacs]:
    with SmallPacs("PACS", tmp_path / "pacs") as pacs:
        yield pacs


def test_an_echo_is_answered(pacs: SmallPacs) -> None:
    CLIENT.echo(at(pacs.port))


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_a_peer_that_is_not_there_may_come_back(host: str) -> None:
    with pytest.raises(PeerError) as caught:
        CLIENT.echo(at(free_port(), host))
    assert caught.value.retryable


def test_a_calling_ae_title_that_is_not_recognised_is_refused_for_good(tmp_path: Path) -> None:
    entity = storage(Comprehensive3DSRStorage)
    entity.require_calling_aet = ["SOMEBODY"]
    with listening(entity) as peer, pytest.raises(PeerRefused, match="Calling AE title not recognised"):
        CLIENT.store(peer, [document(tmp_path)])


def test_a_peer_that_is_full_may_have_room_later() -> None:
    entity = storage(Verification)
    entity.maximum_associations = 1
    with listening(entity) as peer:
        other = AE("OTHER")
        other.add_requested_context(Verification)
        association = other.associate(peer.host, peer.port)
        assert association.is_established
        with pytest.raises(PeerError) as caught:
            CLIENT.echo(peer)
        association.release()
    assert caught.value.retryable


def test_every_file_is_stored_on_one_association_in_order(pacs: SmallPacs, tmp_path: Path) -> None:
    files = [document(tmp_path), document(tmp_path, sop_class_uid=BasicTextSRStorage), document(tmp_path)]
    outcomes = CLIENT.store(at(pacs.port), files)
    assert [(outcome.sop_instance_uid, outcome.status) for outcome in outcomes] == [(file.stem, 0) for file in files]
    assert pacs.received == tuple(file.stem for file in files)
    assert all(dcmread(pacs.objects[file.stem].file) == dcmread(file) for file in files)


def test_a_peer_that_takes_implicit_vr_only_gets_implicit_vr(tmp_path: Path) -> None:
    got: list[str] = []
    entity = storage(Comprehensive3DSRStorage, syntaxes=[ImplicitVRLittleEndian])
    handler = (evt.EVT_C_STORE, lambda event: got.append(event.context.transfer_syntax) or 0x0000)
    with listening(entity, handler) as peer:
        assert CLIENT.store(peer, [document(tmp_path)])[0].status == 0
    assert got == [ImplicitVRLittleEndian]


def test_compressed_pixels_travel_in_their_own_syntax(pacs: SmallPacs, tmp_path: Path) -> None:
    file = document(tmp_path, sop_class_uid=DigitalXRayImageStorageForPresentation, modality="DX",
                    transfer_syntax_uid=JPEG2000Lossless)
    assert CLIENT.store(at(pacs.port), [file])[0].status == 0
    assert dcmread(pacs.objects[file.stem].file).file_meta.TransferSyntaxUID == JPEG2000Lossless


def test_only_the_class_that_is_not_accepted_stays_behind(tmp_path: Path) -> None:
    files = [document(tmp_path), document(tmp_path, sop_class_uid=BasicTextSRStorage)]
    with listening(storage(BasicTextSRStorage), (evt.EVT_C_STORE, lambda event: 0x0000)) as peer:
        refused, stored = CLIENT.store(peer, files)
    assert (refused.sent, refused.status) == (False, 0x0122)
    assert (stored.sent, stored.status) == (True, 0x0000)


def test_when_no_class_is_accepted_every_file_says_so(tmp_path: Path) -> None:
    with listening(storage(Verification)) as peer:
        outcomes = CLIENT.store(peer, [document(tmp_path), document(tmp_path)])
    assert [(outcome.sent, outcome.status) for outcome in outcomes] == [(False, 0x0122)] * 2
    assert "Comprehensive 3D SR" in outcomes[0].reason


def test_a_file_that_cannot_be_read_does_not_hold_up_the_others(pacs: SmallPacs, tmp_path: Path) -> None:
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"no DICOM")
    outcomes = CLIENT.store(at(pacs.port), [broken, tmp_path / "missing.dcm", document(tmp_path)])
    assert [(outcome.sent, outcome.status) for outcome in outcomes] == [(False, 0xC000), (False, 0xC000), (True, 0)]


def test_a_file_that_breaks_off_in_its_pixels_stays_behind_and_the_next_leaves(pacs: SmallPacs, tmp_path: Path) -> None:
    image = {"sop_class_uid": DigitalXRayImageStorageForPresentation, "modality": "DX"}
    cut = document(tmp_path, transfer_syntax_uid=JPEG2000Lossless, **image)
    cut.write_bytes(cut.read_bytes()[:-8])  # without its Sequence Delimitation Item
    outcomes = CLIENT.store(at(pacs.port), [cut, document(tmp_path, transfer_syntax_uid=JPEG2000Lossless, **image)])
    assert [(outcome.sent, outcome.status) for outcome in outcomes] == [(False, 0xC000), (True, 0)]
    assert outcomes[0].sop_instance_uid == cut.stem


def test_a_file_nested_without_end_stays_behind(pacs: SmallPacs, tmp_path: Path) -> None:
    deep = document(tmp_path)
    opened = bytes.fromhex("08004011 5351 0000 ffffffff feff00e0 ffffffff")  # a sequence and its item
    whole = deep.read_bytes()
    start = whole.index(bytes.fromhex("0800 6000 4353"))
    deep.write_bytes(whole[:start] + opened * 5000 + whole[start:])
    outcomes = CLIENT.store(at(pacs.port), [deep, document(tmp_path)])
    assert [(outcome.sent, outcome.status) for outcome in outcomes] == [(False, 0xC000), (True, 0)]


def test_a_failure_status_is_handed_on(tmp_path: Path) -> None:
    with listening(storage(Comprehensive3DSRStorage), (evt.EVT_C_STORE, lambda event: 0xA700)) as peer:
        assert CLIENT.store(peer, [document(tmp_path)])[0].status == 0xA700


def test_after_an_abort_the_one_in_flight_may_have_arrived_and_the_rest_did_not(tmp_path: Path) -> None:
    files = [document(tmp_path) for _ in range(4)]

    def abort_on_the_second(event: Any) -> int:
        if event.request.AffectedSOPInstanceUID == files[1].stem:
            event.assoc.abort()
        return 0x0000

    with listening(storage(Comprehensive3DSRStorage), (evt.EVT_C_STORE, abort_on_the_second)) as peer:
        outcomes = CLIENT.store(peer, files)
    assert [(outcome.sent, outcome.status) for outcome in outcomes] == [
        (True, 0x0000), (True, None), (False, None), (False, None)]


def test_no_answer_in_time_ends_the_association(tmp_path: Path) -> None:
    with SmallPacs("PACS", tmp_path / "pacs", PacsSwitches(hang=True)) as pacs:
        client = DicomClient("AINODE", TimeOuts(dimse=0.2))
        first, second = client.store(at(pacs.port), [document(tmp_path), document(tmp_path)])
    assert (first.sent, first.status, second.sent) == (True, None, False)


def committing(answer: Any) -> tuple[AE, tuple[Any, ...]]:
    entity = AE("PACS")
    entity.add_supported_context(StorageCommitmentPushModel)
    return entity, (evt.EVT_N_ACTION, answer)


def report_after(event: Any, answered: threading.Event, transaction_uid: str, statuses: list[int]) -> None:
    """An archive that reports on the association that asked, once its N-ACTION response is out."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = event.action_information.ReferencedSOPSequence
    answered.wait(10)
    status, _ = event.assoc.send_n_event_report(information, 1, StorageCommitmentPushModel, COMMITMENT_INSTANCE)
    statuses.append(status.Status)


@pytest.mark.parametrize(("transaction_uid", "status"), [(TRANSACTION, 0x0000), ("2.25.78", 0x0110)])
def test_only_the_own_report_is_taken_on_the_association_that_asked(transaction_uid: str, status: int) -> None:
    answered, statuses = threading.Event(), list[int]()

    def accept(event: Any) -> tuple[int, None]:
        threading.Thread(target=report_after, args=(event, answered, transaction_uid, statuses)).start()
        return 0x0000, None

    entity, handler = committing(accept)
    client = DicomClient("AINODE", TimeOuts(commitment=3))
    with listening(entity, handler, (evt.EVT_PDU_SENT, lambda event: _when_p_data(event, answered))) as peer:
        report = client.request_commitment(peer, TRANSACTION, [(Comprehensive3DSRStorage, "1.2.3.4")])
    assert (report.committed if report else ()) == (("1.2.3.4",) if status == 0 else ())
    assert statuses == [status]


def _when_p_data(event: Any, answered: threading.Event) -> None:
    if event.pdu.pdu_type == 0x04:
        answered.set()


def test_a_request_carries_what_is_to_be_committed() -> None:
    asked: list[Any] = []

    def accept(event: Any) -> tuple[int, None]:
        asked.append((event.action_type, event.request.RequestedSOPInstanceUID, event.action_information))
        return 0x0000, None

    entity, handler = committing(accept)
    client = DicomClient("AINODE", TimeOuts(commitment=0))
    with listening(entity, handler) as peer:
        assert client.request_commitment(peer, TRANSACTION, [(Comprehensive3DSRStorage, "1.2.3.4")]) is None
    action, instance, information = asked[0]
    assert (action, instance, information.TransactionUID) == (1, COMMITMENT_INSTANCE, TRANSACTION)
    assert information.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.4"


@pytest.mark.parametrize(("status", "retryable"), [(0x0110, True), (0x0213, True), (0x0122, False), (0x0124, False)])
def test_a_refused_request_says_if_asking_again_helps(status: int, retryable: bool) -> None:
    entity, handler = committing(lambda event: (status, None))
    with listening(entity, handler) as peer, pytest.raises(PeerError, match=f"0x{status:04X}") as caught:
        CLIENT.request_commitment(peer, TRANSACTION, [(Comprehensive3DSRStorage, "1.2.3.4")])
    assert caught.value.retryable is retryable


def test_an_archive_without_storage_commitment_refuses_for_good() -> None:
    with listening(storage(Verification)) as peer, pytest.raises(PeerRefused, match="Storage Commitment"):
        CLIENT.request_commitment(peer, TRANSACTION, [(Comprehensive3DSRStorage, "1.2.3.4")])


def test_a_query_names_the_instances_that_are_held(pacs: SmallPacs, tmp_path: Path) -> None:
    held = [document(tmp_path) for _ in range(2)]
    CLIENT.store(at(pacs.port), held)
    uids = [file.stem for file in held]
    assert CLIENT.find_instances(at(pacs.port), "1.2.3", "1.2.3.1", [*uids, "1.2.9"]) == set(uids)
    assert CLIENT.find_instances(at(pacs.port), "1.2.3", "1.2.3.99", uids[:1]) == set()


def test_an_archive_that_offers_no_query_is_an_error() -> None:
    with listening(storage(Verification)) as peer, pytest.raises(PeerError):
        CLIENT.find_instances(peer, "1.2.3", "1.2.3.1", ["1.2.3.4"])


def test_orthanc_takes_a_report_and_finds_it(namespace: Namespace, tmp_path: Path) -> None:
    files = [document(tmp_path), document(tmp_path, sop_class_uid=BasicTextSRStorage, series="1.2.3.2")]
    modalities = {"AINODE": ("127.0.0.1", 11112)}
    with Orthanc(namespace, tmp_path / "orthanc", modalities, ae_title="PACS") as orthanc:
        peer = at(orthanc.port)
        namespace.call(CLIENT.echo, peer)
        assert [outcome.status for outcome in namespace.call(CLIENT.store, peer, files)] == [0, 0]
        found = namespace.call(CLIENT.find_instances, peer, "1.2.3", "1.2.3.1", [file.stem for file in files])
        assert orthanc.instances().keys() == {file.stem for file in files}
    assert found == {files[0].stem}


def test_orthanc_commits_on_a_new_association(namespace: Namespace, tmp_path: Path) -> None:
    file, heard = document(tmp_path), list[CommitmentReport]()

    def take(event: Any) -> tuple[int, None]:
        heard.append(commitment_report(event.event_information))
        return 0x0000, None

    entity = AE("AINODE")
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    server = namespace.call(lambda: entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)]))
    modalities = {"AINODE": ("127.0.0.1", server.server_address[1])}
    with Orthanc(namespace, tmp_path / "orthanc", modalities, ae_title="PACS") as orthanc:
        peer = at(orthanc.port)
        namespace.call(CLIENT.store, peer, [file])
        references = [(Comprehensive3DSRStorage, file.stem), (Comprehensive3DSRStorage, "1.2.99")]
        assert namespace.call(CLIENT.request_commitment, peer, TRANSACTION, references) is None
        wait_until(lambda: heard, what="Orthanc's commitment report")
    server.shutdown()
    assert heard == [CommitmentReport(
        transaction_uid=TRANSACTION, committed=(file.stem,), failed=(("1.2.99", 0x0112),))]
