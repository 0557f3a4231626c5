"""The receiver over real sockets: what a peer is told, and what is kept of what it sent."""

from __future__ import annotations

import datetime
import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom import Dataset
from pynetdicom import build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (
    CTImageStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from node import audit
from node.database import audit_event
from node.domain import CommitmentReport
from node.errors import BadInput, ConfigurationError
from node.server.contexts import RETIRED_STORAGE_CLASSES, TRANSFER_SYNTAXES
from tests.tools.receiver import (
    CT,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    Receiver,
    Sent,
    association,
    made,
    real,
    receiver,
    rejection,
    send,
    store,
    stored_data_set,
)
from tests.tools.waiting import wait_until

REAL_FILES = [
    "chrKoreanMulti.dcm", "rtplan.dcm", "MR_small_bigendian.dcm", "image_dfl", "report_dfl",
    "SC_rgb_dcmtk_pebpcyps4.dcm", "sm_image_jpegls_nobot.dcm", "NM1_JLSN.dcm", "GDCMJ2K_TextGBR.dcm",
    "JPEG2000-embedded-sequence-delimiter.dcm", "SC_rgb_rle_16bit_2frame.dcm", "liver_nonbyte_aligned_deflate.dcm",
    "MR_truncated.dcm",
]
ABORT_OF_USER = struct.pack(">BBIBBBB", 7, 0, 4, 0, 0, 0, 0)
"""What is sent to a peer that has not even asked for an association (PS3.8 table 9-10, action AA-1)."""
SUCCESS, PROCESSING_FAILURE, OUT_OF_RESOURCES, CLASS_MISMATCH, CANNOT_UNDERSTAND = 0, 0x0110, 0xA700, 0xA900, 0xC000


@pytest.fixture
def node(sqlite: sa.Engine, data_dir: Path, engine_name: str) -> Iterator[Receiver]:
    with receiver(sqlite, data_dir, receive={"engine": engine_name}) as node:
        yield node


def test_echo_is_answered(node: Receiver) -> None:
    with association(node.port, (Verification, IMPLICIT_LITTLE)) as made_one:
        assert made_one.send_c_echo().Status == SUCCESS


@pytest.mark.parametrize("name", REAL_FILES)
def test_a_real_file_is_stored_as_it_came(node: Receiver, name: str) -> None:
    sent = real(name)
    assert send(node.port, sent) == SUCCESS
    row, = node.rows()
    assert (row.sop_class_uid, row.transfer_syntax_uid) == (sent.sop_class_uid, sent.transfer_syntax_uid)
    assert stored_data_set(node.data_dir / row.path) == sent.data


def test_every_offered_syntax_is_accepted_and_kept_unread(node: Receiver) -> None:
    for transfer_syntax in TRANSFER_SYNTAXES:
        # The scanner sees how a data set is really encoded, so the same bytes do for all but the deflated one.
        sent = real("image_dfl") if transfer_syntax.endswith("1.2.1.99") else made(transfer_syntax=transfer_syntax)
        assert send(node.port, sent) == SUCCESS
    assert [row.transfer_syntax_uid for row in node.rows()] == list(TRANSFER_SYNTAXES)


@pytest.mark.parametrize("sop_class", [*RETIRED_STORAGE_CLASSES[:3], "1.3.46.670589.11.0.0.12.1"])
def test_retired_and_configured_private_classes_are_stored(sqlite: sa.Engine, data_dir: Path, sop_class: str) -> None:
    private = {"private_sop_classes": ("1.3.46.670589.11.0.0.12.1",)}
    with receiver(sqlite, data_dir, receive=private) as node:
        assert send(node.port, made(sop_class=sop_class)) == SUCCESS


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["1.2.840.10008.1.2.4.50", IMPLICIT_LITTLE, "1.2.840.10008.1.2.4.90", EXPLICIT_LITTLE], EXPLICIT_LITTLE),
        (["1.2.840.10008.1.2.4.50", IMPLICIT_LITTLE, "1.2.840.10008.1.2.4.90"], "1.2.840.10008.1.2.4.90"),
        (["1.2.840.10008.1.2.4.91", IMPLICIT_LITTLE], IMPLICIT_LITTLE),
    ],
)
def test_the_best_of_the_offered_syntaxes_is_chosen(node: Receiver, offered: list[str], chosen: str) -> None:
    with association(node.port, (CTImageStorage, offered)) as made_one:  # type: ignore[arg-type]
        assert made_one.accepted_contexts[0].transfer_syntax == [chosen]


def test_an_instance_of_many_pdus_is_stored_as_it_came(sqlite: sa.Engine, data_dir: Path, engine_name: str) -> None:
    with receiver(sqlite, data_dir, receive={"engine": engine_name, "max_pdu": 4096}) as node:
        sent = made(filling=300_000)
        assert send(node.port, sent) == SUCCESS
        assert stored_data_set(node.data_dir / node.rows()[0].path) == sent.data


def test_truncated_pixels_are_not_the_receivers_business(node: Receiver) -> None:
    assert send(node.port, real("MR_truncated.dcm")) == SUCCESS


def test_the_same_instance_again_is_acknowledged_again(node: Receiver) -> None:
    assert [send(node.port, made()), send(node.port, made())] == [SUCCESS, SUCCESS]
    assert len(node.rows()) == 2


@pytest.mark.parametrize("uid", ["../../etc/passwd", "/tmp/x", "1.2;DROP TABLE instance", "1" * 100])
def test_a_hostile_uid_is_refused_and_the_association_goes_on(node: Receiver, uid: str) -> None:
    with association(node.port, (CT, EXPLICIT_LITTLE)) as made_one:
        assert store(made_one, made(), command_uid=uid) == CANNOT_UNDERSTAND
        assert store(made_one, made("1.2.3.5")) == SUCCESS
    assert [row.sop_instance_uid for row in node.rows()] == ["1.2.3.5"]


def test_a_real_path_traversal_writes_nothing_outside(node: Receiver, tmp_path: Path) -> None:
    before = {path for path in tmp_path.rglob("*") if node.data_dir not in path.parents}
    sent = real("TC1177_uid_traversal_config.dcm")
    assert send(node.port, sent) == CANNOT_UNDERSTAND
    assert send(node.port, sent, command_uid="1.2.3.4") == CANNOT_UNDERSTAND
    assert {path for path in tmp_path.rglob("*") if node.data_dir not in path.parents} == before
    assert [path.parent.name for path in node.files(".")] == ["quarantine"]


def test_a_real_file_without_study_uid_is_quarantined(node: Receiver) -> None:
    sent = real("SC_rgb_jls_lossy_line.dcm")
    assert send(node.port, sent) == CANNOT_UNDERSTAND
    assert stored_data_set(node.files("quarantine")[0]) == sent.data
    assert node.rows() == []


def test_a_real_file_without_class_is_stored(node: Receiver) -> None:
    sent = real("TC0859_missing_sop_class.dcm")
    of_ct = Sent(CT, sent.sop_instance_uid, sent.transfer_syntax_uid, sent.data)
    assert send(node.port, of_ct) == SUCCESS


def test_a_data_set_of_another_class_is_a_mismatch(node: Receiver) -> None:
    mr = made(sop_class="1.2.840.10008.5.1.4.1.1.4")
    assert send(node.port, Sent(CT, "1.2.3.4", EXPLICIT_LITTLE, mr.data)) == CLASS_MISMATCH
    assert (node.rows(), node.files(".")) == ([], [])


def test_a_command_of_another_class_than_its_context_is_not_supported(node: Receiver) -> None:
    assert send(node.port, made(), command_class="1.2.840.10008.5.1.4.1.1.4") == 0x0122
    assert node.files(".") == []


def test_no_space_is_out_of_resources(sqlite: sa.Engine, data_dir: Path, engine_name: str) -> None:
    with receiver(sqlite, data_dir, min_free_mb=1 << 40, receive={"engine": engine_name}) as node:
        assert send(node.port, made()) == OUT_OF_RESOURCES
        assert (node.rows(), node.files(".")) == ([], [])


def test_a_database_that_fails_is_a_failure_and_leaves_no_file(node: Receiver) -> None:
    audit_event.drop(node.engine)
    assert send(node.port, made()) == PROCESSING_FAILURE
    assert (node.rows(), node.files(".")) == ([], [])


@contextmanager
def half_sent(made_one: Association) -> Iterator[socket.socket]:
    """The connection of an association on which a C-STORE got as far as the middle of its data set."""
    sent = made(filling=50_000)
    connection: socket.socket = made_one.dul.socket.socket
    context_id = made_one.accepted_contexts[0].context_id
    command = Dataset()
    command.AffectedSOPClassUID, command.AffectedSOPInstanceUID = CT, "1.2.3.4"
    command.CommandField, command.MessageID, command.Priority, command.CommandDataSetType = 1, 1, 0, 1
    for control, value in ((3, _command_set(command)), (0, sent.data[: len(sent.data) // 2])):
        item = struct.pack(">IBB", len(value) + 2, context_id, control) + value
        connection.sendall(struct.pack(">BBI", 4, 0, len(item)) + item)
    yield connection


def _command_set(command: Dataset) -> bytes:
    from pynetdicom.dsutils import encode

    encoded = encode(command, True, True)
    assert encoded is not None
    return struct.pack("<HHII", 0, 0, 4, len(encoded)) + encoded


@pytest.mark.parametrize("how", ["abort", "disconnect"])
def test_an_association_that_breaks_half_way_leaves_nothing(node: Receiver, how: str) -> None:
    with association(node.port, (CT, EXPLICIT_LITTLE)) as made_one, half_sent(made_one) as connection:
        wait_until(lambda: node.files("incoming"), what="the first bytes on disk")
        if how == "abort":
            made_one.abort()
        else:
            connection.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not node.files("."), what="the file to go")
    wait_until(lambda: "association.aborted" in node.actions())
    assert node.rows() == []


def test_a_stopping_server_drops_what_is_half_way(sqlite: sa.Engine, data_dir: Path, engine_name: str) -> None:
    with (
        receiver(sqlite, data_dir, receive={"engine": engine_name}) as node,
        association(node.port, (CT, EXPLICIT_LITTLE)) as made_one,
        half_sent(made_one) as connection,
    ):
        wait_until(lambda: node.files("incoming"))
        connection.sendall(struct.pack(">BBI", 4, 0, 1000))  # and now it is in the middle of a PDU, too
        node.server.stop(0.5)
        assert node.files(".") == []
        wait_until(lambda: made_one.is_aborted)


def test_eight_parallel_associations_lose_nothing(engine: sa.Engine, data_dir: Path, engine_name: str) -> None:
    with receiver(engine, data_dir, receive={"engine": engine_name}) as node:
        statuses: list[int] = []

        def several(number: int) -> None:
            with association(node.port, (CT, EXPLICIT_LITTLE)) as made_one:
                statuses.extend(store(made_one, made(f"1.2.{number}.{count}")) for count in range(5))

        threads = [threading.Thread(target=several, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [SUCCESS] * 40
        assert len({row.sop_instance_uid for row in node.rows()}) == 40
        assert all((node.data_dir / row.path).is_file() for row in node.rows())
        wait_until(lambda: node.actions().count("association.released") == 8)
        with engine.connect() as connection:
            assert audit.verify(connection).problems == ()


def test_two_receivers_share_one_port(sqlite: sa.Engine, data_dir: Path, engine_name: str) -> None:
    several = {"engine": engine_name, "processes": 2}
    with (
        receiver(sqlite, data_dir, receive=several) as first,
        receiver(sqlite, data_dir, receive=several, port=first.port) as second,
    ):
        assert second.port == first.port
        assert send(first.port, made()) == SUCCESS


def test_a_destination_may_always_associate(sqlite: sa.Engine, data_dir: Path) -> None:
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "localhost", "port": 104}
    with (
        receiver(sqlite, data_dir, receive={"allowed_peers": ()}, destinations=(pacs,)) as node,
        association(node.port, (Verification, IMPLICIT_LITTLE), ae_title="PACS") as made_one,
    ):
        assert made_one.is_established


def test_a_wrong_called_title_is_rejected_where_it_is_required(sqlite: sa.Engine, data_dir: Path) -> None:
    with receiver(sqlite, data_dir, receive={"require_called_ae_title": True}) as node:
        with association(node.port, (Verification, IMPLICIT_LITTLE), called="OTHER") as made_one:
            assert rejection(made_one) == (1, 1, 7)
        with association(node.port, (Verification, IMPLICIT_LITTLE)) as made_one:
            assert made_one.is_established
        wait_until(lambda: "association.released" in node.actions())
        assert node.actions() == ["association.rejected", "association.accepted", "association.released"]


def test_a_port_check_does_not_hold_a_place(sqlite: sa.Engine, data_dir: Path, engine_name: str) -> None:
    with receiver(sqlite, data_dir, receive={"engine": engine_name, "max_associations": 1}) as node:
        for _ in range(3):
            socket.create_connection(("127.0.0.1", node.port)).close()

        def established() -> bool:
            with association(node.port, (Verification, IMPLICIT_LITTLE)) as made_one:
                return bool(made_one.is_established)

        assert wait_until(established, timeout=10)


def test_a_pdu_of_absurd_length_ends_the_connection(node: Receiver) -> None:
    with socket.create_connection(("127.0.0.1", node.port), timeout=30) as connection:
        connection.sendall(struct.pack(">BBI", 1, 0, 0xFFFFFFF0))
        said = b"".join(iter(lambda: connection.recv(100), b""))
        assert said in (b"", ABORT_OF_USER)


def event_report(port: int, event_type: int, information: Dataset, instance: str = "") -> int:
    """Report as an archive does, on an association on which it selects the SCP role; the status."""
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    context = (StorageCommitmentPushModel, EXPLICIT_LITTLE)
    with association(port, context, ae_title="PACS", ext_neg=[role]) as made_one:
        assert made_one.accepted_contexts[0].as_scp
        status, _ = made_one.send_n_event_report(
            information, event_type, StorageCommitmentPushModel, instance or StorageCommitmentPushModelInstance
        )
        return int(status.Status)


def committed_and_failed() -> Dataset:
    stored, lost = Dataset(), Dataset()
    for item, uid in ((stored, "1.2.1"), (lost, "1.2.2")):
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, uid
    lost.FailureReason = 0x0112
    information = Dataset()
    information.TransactionUID = "1.2.99"
    information.ReferencedSOPSequence, information.FailedSOPSequence = [stored], [lost]
    return information


def test_a_commitment_report_reaches_its_collaborator(node: Receiver) -> None:
    assert event_report(node.port, 2, committed_and_failed()) == SUCCESS
    assert node.commitments == [
        CommitmentReport(transaction_uid="1.2.99", committed=("1.2.1",), failed=(("1.2.2", 0x0112),))
    ]


def test_a_report_that_comes_before_the_receiver_calls_itself_established_is_answered(node: Receiver) -> None:
    """The accepting thread is held up after it said yes, as on a busy machine; the archive does not wait for it."""

    def held_up(_event: object) -> None:
        threading.Event().wait(0.2)

    node.server._listeners[0].bind(evt.EVT_ACCEPTED, held_up)
    assert event_report(node.port, 2, committed_and_failed()) == SUCCESS


def test_a_report_nobody_asked_for_has_an_invalid_argument(sqlite: sa.Engine, data_dir: Path) -> None:
    def unknown(report: CommitmentReport) -> None:
        raise BadInput(f"transaction {report.transaction_uid} was never asked for")

    with receiver(sqlite, data_dir, on_commitment=unknown) as node:
        assert event_report(node.port, 1, committed_and_failed()) == 0x0115


def test_malformed_reports_are_told_apart(node: Receiver) -> None:
    without_transaction = committed_and_failed()
    del without_transaction.TransactionUID
    assert event_report(node.port, 1, without_transaction) == 0x0115
    assert event_report(node.port, 9, committed_and_failed()) == 0x0113
    assert event_report(node.port, 1, committed_and_failed(), instance="1.2.3") == 0x0112
    assert node.commitments == []


def test_no_patient_data_is_in_the_audit(node: Receiver) -> None:
    send(node.port, real("MR_small_bigendian.dcm"))
    with node.engine.connect() as connection:
        details = [json.loads(text) for text in connection.scalars(sa.select(audit_event.c.detail))]
    assert details
    assert all("CompressedSamples" not in str(detail) for detail in details)


def test_a_port_that_is_taken_is_named(node: Receiver, sqlite: sa.Engine, tmp_path: Path) -> None:
    taken = pytest.raises(ConfigurationError, match=rf"node\.port = {node.port}")
    with taken, receiver(sqlite, tmp_path / "other", port=node.port):
        pass


def test_received_at_is_in_utc_and_today(node: Receiver) -> None:
    send(node.port, made())
    received = datetime.datetime.fromtimestamp(node.rows()[0].received_at, datetime.UTC)
    assert node.rows()[0].path.startswith(f"instances/{received:%Y/%m/%d}/")
