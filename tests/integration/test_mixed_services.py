"""Every service beside C-STORE on one association, whichever engine serves it."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.sop_class import (
    CTImageStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    Verification,
)

from handlers.statuses import Status
from handlers.sub_operations import Progress
from node.domain import Lane
from node.intake import StoreRequest
from tests.tools.raw_sender import (
    ABORT,
    C_ECHO_RQ,
    C_STORE_RSP,
    CLASS,
    CT_CONTEXT,
    DATA_SET_TYPE,
    FIELD,
    INSTANCE,
    MESSAGE_ID,
    NO_DATA_SET,
    ONE_PDU,
    P_DATA_TF,
    RELEASE_RP,
    RELEASE_RQ,
    VERIFICATION,
    WITH_DATA_SET,
    RawSender,
    command_set,
    item,
    pdu,
    pdvs,
    short,
    store_command,
    uid,
)
from tests.tools.receiver import CT, EXPLICIT_LITTLE, IMPLICIT_LITTLE, Receiver, association, made, receiver, store
from tests.tools.waiting import wait_until

SUCCESS, PENDING, CANCEL, INVALID_ARGUMENT = 0x0000, 0xFF00, 0xFE00, 0x0115
N_EVENT_REPORT_RQ, N_EVENT_REPORT_RSP = 0x0100, 0x8100
EVENT_TYPE = 0x1002
"""Element number of Event Type ID."""
FIND, GET = StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelGet
SECONDS = 30.0


@pytest.fixture
def node(sqlite: sa.Engine, data_dir: Path, engine_name: str) -> Iterator[Receiver]:
    with receiver(sqlite, data_dir, receive={"engine": engine_name}) as node:
        yield node


def let(node: Receiver, handler: Any = None, event: Any = None, sends: str = "") -> None:
    """Serve ``event`` with ``handler``, and let the node be the SCU of class ``sends`` where it accepts."""
    listener = node.server._listeners[0]
    for context in listener.contexts:
        if context.abstract_syntax == sends:
            context.scu_role = context.scp_role = True
    if event is not None:
        listener.bind(event, handler)


@contextmanager
def associated(node: Receiver, *sop_classes: str, handlers: Any = (), roles: Any = ()) -> Iterator[Association]:
    entity = AE("MODALITY")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = SECONDS
    contexts = [build_context(one, EXPLICIT_LITTLE) for one in sop_classes]
    made_one = entity.associate(
        "127.0.0.1", node.port, contexts=contexts, evt_handlers=list(handlers), ext_neg=list(roles))
    assert made_one.is_established
    yield made_one
    if made_one.is_established:
        made_one.release()


def instance(sop_instance_uid: str, filling: int = 0) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CT, sop_instance_uid
    dataset.PixelData = bytes(filling)
    dataset["PixelData"].VR = "OW"
    dataset.ensure_file_meta()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def study_level() -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", "1.2.3"
    return identifier


def test_echo_and_store_take_turns(node: Receiver) -> None:
    with association(node.port, (CT, EXPLICIT_LITTLE), (Verification, IMPLICIT_LITTLE)) as made_one:
        for number in range(3):
            assert store(made_one, made(f"1.2.{number}")) == SUCCESS
            assert made_one.send_c_echo().Status == SUCCESS
    assert len(node.rows()) == 3


def test_intake_knows_who_asked_for_an_instance(node: Receiver) -> None:
    """Move Originator Application Entity Title (0000,1030), which a C-MOVE SCP sends along."""
    asked: list[str] = []

    def lane(_head: object, request: StoreRequest) -> Lane:
        asked.append(request.move_originator_ae_title)
        return Lane.FRESH

    node.server._intake._lane = lane
    with RawSender(node.port, CT_CONTEXT) as sender:
        assert sender.store(made(), e1030=b"AINODE  ", e1031=short(3)).status == SUCCESS
        assert sender.store(made()).status == SUCCESS
    assert asked == ["AINODE", ""]


def test_requests_that_do_not_wait_for_answers_are_answered_in_their_order(node: Receiver) -> None:
    def of_store(number: int) -> list[bytes]:
        sent = made(f"1.2.{number}")
        return [*pdvs(1, True, command_set(store_command(sent, number)), ONE_PDU), *pdvs(1, False, sent.data, (333,))]

    echo = command_set({
        CLASS: uid(VERIFICATION), FIELD: short(C_ECHO_RQ), MESSAGE_ID: short(3), DATA_SET_TYPE: short(NO_DATA_SET)})
    messages = [*of_store(1), *of_store(2), *pdvs(3, True, echo, (50,)), *of_store(4)]
    with RawSender(node.port, CT_CONTEXT, (VERIFICATION, (IMPLICIT_LITTLE,))) as sender:
        sender.send(pdu(P_DATA_TF, b"".join(messages)))
        answers = [sender.answer() for _ in range(4)]
        assert [(one.number(0x0120), one.status) for one in answers if one] == [(n, SUCCESS) for n in (1, 2, 3, 4)]
    assert [row.sop_instance_uid for row in node.rows()] == ["1.2.1", "1.2.2", "1.2.4"]


def test_a_release_behind_a_store_is_answered_after_it(node: Receiver) -> None:
    sent = made()
    messages = [*pdvs(1, True, command_set(store_command(sent)), ONE_PDU), *pdvs(1, False, sent.data, ONE_PDU)]
    with RawSender(node.port, CT_CONTEXT) as sender:
        sender.send(pdu(P_DATA_TF, b"".join(messages)) + pdu(RELEASE_RQ, bytes(4)))
        kinds = [found[0] for found in iter(sender.read_pdu, None)]
        assert kinds == [P_DATA_TF, RELEASE_RP]
    assert len(node.rows()) == 1


def test_a_report_in_front_of_a_store_is_answered_too(node: Receiver) -> None:
    """pynetdicom serves a report beside whatever comes behind it; the answers must not meet."""
    sent = made(filling=400_000)
    report = command_set({
        CLASS: uid(StorageCommitmentPushModel), FIELD: short(N_EVENT_REPORT_RQ), MESSAGE_ID: short(1),
        DATA_SET_TYPE: short(WITH_DATA_SET), INSTANCE: uid(StorageCommitmentPushModelInstance), EVENT_TYPE: short(1)})
    messages = [
        *pdvs(3, True, report, ONE_PDU), *pdvs(3, False, b"", ONE_PDU),
        *pdvs(1, True, command_set(store_command(sent, 2)), ONE_PDU), *pdvs(1, False, sent.data, (60_000,))]
    as_scp = struct.pack(">H", len(StorageCommitmentPushModel)) + StorageCommitmentPushModel.encode() + b"\0\1"
    commitment = (StorageCommitmentPushModel, (IMPLICIT_LITTLE,))
    with RawSender(node.port, CT_CONTEXT, commitment, more=[item(0x54, as_scp)]) as sender:
        sender.send_pdvs(messages)
        answers = [sender.answer(), sender.answer()]
        assert sorted((one.number(FIELD), one.status) for one in answers if one) == [
            (C_STORE_RSP, SUCCESS), (N_EVENT_REPORT_RSP, INVALID_ARGUMENT)]


def test_c_get_has_its_stores_answered_on_the_same_association(node: Receiver) -> None:
    def get(event: Event) -> Iterator[Progress]:
        for number in range(3):
            assert event.assoc.send_c_store(instance(f"1.2.{number}", 100_000)).Status == SUCCESS
            yield Progress(status=Status.PENDING)
        yield Progress(status=Status.SUCCESS)

    got: list[int] = []

    def keep(event: Event) -> int:
        got.append(len(event.dataset.PixelData))
        return SUCCESS

    let(node, get, evt.EVT_C_GET, sends=CT)
    with associated(node, GET, CT, handlers=[(evt.EVT_C_STORE, keep)],
                    roles=[build_role(CTImageStorage, scp_role=True, scu_role=True)]) as made_one:
        answers = [status.Status for status, _ in made_one.send_c_get(study_level(), GET)]
        assert answers == [PENDING] * 3 + [SUCCESS]
        assert got == [100_000] * 3
        assert store(made_one, made()) == SUCCESS
    assert len(node.rows()) == 1


def test_a_peer_that_does_not_take_what_it_gets_is_aborted(node: Receiver) -> None:
    """It asks and then breaks: the handler's association ends, and its thread with it."""
    def get(event: Event) -> Iterator[Progress]:
        event.assoc.send_c_store(instance("1.2.1", 1000))
        yield Progress(status=Status.SUCCESS)

    def leave(event: Event) -> int:
        event.assoc.dul.socket.close()
        return SUCCESS

    let(node, get, evt.EVT_C_GET, sends=CT)
    with associated(node, GET, CT, handlers=[(evt.EVT_C_STORE, leave)],
                    roles=[build_role(CTImageStorage, scp_role=True, scu_role=True)]) as made_one:
        list(made_one.send_c_get(study_level(), GET))
        wait_until(lambda: not node.associations(), what="the association to end")
    assert "association.aborted" in node.actions()


def test_c_find_is_cancelled_between_its_answers(node: Receiver) -> None:
    ended = threading.Event()

    def find(event: Event) -> Iterator[Any]:
        while not event.is_cancelled:
            yield PENDING, study_level()
        ended.set()
        yield CANCEL, None

    let(node, find, evt.EVT_C_FIND)
    with associated(node, FIND, CT) as made_one:
        answers = made_one.send_c_find(study_level(), FIND, msg_id=5)
        assert [next(answers)[0].Status for _ in range(3)] == [PENDING] * 3
        made_one.send_c_cancel(5, query_model=FIND)
        assert [status.Status for status, _ in answers][-1] == CANCEL
        assert ended.is_set()
        assert store(made_one, made()) == SUCCESS


def test_an_abort_ends_a_service_that_is_answering(node: Receiver) -> None:
    ended = threading.Event()

    def find(event: Event) -> Iterator[Any]:
        try:
            while True:
                yield PENDING, study_level()
        finally:
            ended.set()

    let(node, find, evt.EVT_C_FIND)
    with associated(node, FIND) as made_one:
        next(made_one.send_c_find(study_level(), FIND))
        made_one.abort()
        assert ended.wait(SECONDS)
        wait_until(lambda: not node.associations(), what="the association to end")
    assert "association.aborted" in node.actions()


def test_the_node_may_end_an_association_from_another_thread(node: Receiver) -> None:
    with association(node.port, (CT, EXPLICIT_LITTLE)) as made_one:
        assert store(made_one, made()) == SUCCESS
        ours, = node.server._entity.active_associations
        ours.release()
        wait_until(lambda: made_one.is_released, what="the release to arrive")
    wait_until(lambda: not node.associations())
    assert node.actions()[-1] == "association.released"


def test_the_node_may_abort_from_another_thread(node: Receiver) -> None:
    with RawSender(node.port, CT_CONTEXT) as sender:
        assert sender.store(made()).status == SUCCESS
        ours, = node.server._entity.active_associations
        ours.abort()
        assert sender.read_pdu() == (ABORT, bytes(4))
        sender.close()
    wait_until(lambda: not node.associations())
    assert node.actions().count("association.aborted") == 1


def test_another_thread_may_ask_the_peer_on_the_same_association(node: Receiver) -> None:
    echoed: list[int] = []

    def echo(event: Event) -> int:
        echoed.append(event.request.MessageID)
        return SUCCESS

    let(node, sends=Verification)
    with associated(node, CT, Verification, handlers=[(evt.EVT_C_ECHO, echo)],
                    roles=[build_role(Verification, scp_role=True, scu_role=True)]) as made_one:
        ours, = node.server._entity.active_associations
        for number in range(1, 4):
            assert ours.send_c_echo(number).Status == SUCCESS
            assert store(made_one, made(f"1.2.{number}")) == SUCCESS
    assert echoed == [1, 2, 3]


NOTIFICATIONS = (
    evt.EVT_CONN_OPEN, evt.EVT_REQUESTED, evt.EVT_ACCEPTED, evt.EVT_ESTABLISHED, evt.EVT_ACSE_RECV, evt.EVT_ACSE_SENT,
    evt.EVT_PDU_RECV, evt.EVT_PDU_SENT, evt.EVT_DIMSE_RECV, evt.EVT_DIMSE_SENT, evt.EVT_DATA_RECV, evt.EVT_DATA_SENT,
    evt.EVT_RELEASED, evt.EVT_CONN_CLOSE,
)


def test_whoever_watches_an_association_sees_all_of_it(node: Receiver) -> None:
    """Names of notifications, with the PDU or message that they show."""
    seen: list[str] = []

    def note(event: Event) -> None:
        what = getattr(event, "pdu", None) or getattr(event, "message", None)
        seen.append(f"{event.event.name} {type(what).__name__ if what is not None else ''}".strip())

    for notification in NOTIFICATIONS:
        node.server._listeners[0].bind(notification, note)
    sent = made(filling=1000)
    with RawSender(node.port, CT_CONTEXT) as sender:
        assert sender.store(sent, sizes=(300,)).status == SUCCESS
    wait_until(lambda: "EVT_CONN_CLOSE" in seen)
    wait_until(lambda: "EVT_RELEASED" in seen)
    assert sorted(seen) == sorted([
        "EVT_CONN_OPEN", "EVT_REQUESTED", "EVT_ACCEPTED", "EVT_ESTABLISHED", "EVT_RELEASED", "EVT_CONN_CLOSE",
        "EVT_ACSE_RECV", "EVT_ACSE_RECV", "EVT_ACSE_SENT", "EVT_ACSE_SENT",
        "EVT_DIMSE_RECV C_STORE_RQ", "EVT_DIMSE_SENT C_STORE_RSP",
        *["EVT_DATA_RECV"] * 7, *["EVT_DATA_SENT"] * 3,
        "EVT_PDU_RECV A_ASSOCIATE_RQ", *["EVT_PDU_RECV P_DATA_TF"] * 5, "EVT_PDU_RECV A_RELEASE_RQ",
        "EVT_PDU_SENT A_ASSOCIATE_AC", "EVT_PDU_SENT P_DATA_TF", "EVT_PDU_SENT A_RELEASE_RP",
    ])
