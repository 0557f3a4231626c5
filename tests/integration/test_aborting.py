"""What the fast engine tells a peer that cannot be followed: an A-ABORT with its reason (PS3.8 section 9.3.8)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.fast_store.messages import LARGEST_COMMAND
from tests.tools.raw_sender import (
    ABORT,
    ASSOCIATE_AC,
    C_ECHO_RQ,
    CLASS,
    COMMAND,
    CT_CONTEXT,
    DATA,
    DATA_SET_TYPE,
    FIELD,
    LAST_COMMAND,
    LAST_DATA,
    MESSAGE_ID,
    P_DATA_TF,
    RELEASE_RP,
    VERIFICATION,
    RawSender,
    associate_request,
    command_set,
    item,
    pdu,
    pdv,
    short,
    store_command,
    uid,
)
from tests.tools.receiver import IMPLICIT_LITTLE, Receiver, made, receiver, receiver_in, send
from tests.tools.waiting import wait_until

FAST = {"engine": "fast", "max_pdu": 4096}
USER, PROVIDER = 0, 2
NOT_SPECIFIED, UNRECOGNIZED, UNEXPECTED, UNEXPECTED_PARAMETER, INVALID_VALUE = 0, 1, 2, 5, 6
SUCCESS = 0x0000
SENT = made()
RQ = command_set(store_command(SENT))
ECHO: Mapping[int, bytes] = {
    CLASS: uid(VERIFICATION), FIELD: short(C_ECHO_RQ), MESSAGE_ID: short(1), DATA_SET_TYPE: short(0x0101)}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with receiver_in(tmp_path_factory.mktemp("fast"), receive=FAST) as node:
        yield node


@pytest.fixture
def node(started: Receiver) -> Receiver:
    started.clear()
    return started


def values(*pdvs: bytes) -> bytes:
    return pdu(P_DATA_TF, b"".join(pdvs))


@pytest.mark.parametrize(("sent", "reason"), [
    (pdu(0x55, b""), UNRECOGNIZED),
    (pdu(0, bytes(4)), UNRECOGNIZED),
    (associate_request([CT_CONTEXT]), UNEXPECTED),
    (pdu(ASSOCIATE_AC, associate_request([CT_CONTEXT])[6:]), UNEXPECTED),
    (pdu(RELEASE_RP, bytes(4)), UNEXPECTED),
    (struct.pack(">BBI", P_DATA_TF, 0, 4097), INVALID_VALUE),
    (pdu(P_DATA_TF, bytes(3)), INVALID_VALUE),
    (pdu(P_DATA_TF, struct.pack(">IBB", 0, 1, 3)), INVALID_VALUE),
    (pdu(P_DATA_TF, struct.pack(">IBB", 99, 1, 3)), INVALID_VALUE),
    (values(pdv(99, LAST_COMMAND, RQ)), INVALID_VALUE),
    (values(pdv(1, LAST_DATA, SENT.data)), UNEXPECTED_PARAMETER),
    (values(pdv(1, LAST_COMMAND, RQ), pdv(1, DATA, SENT.data), pdv(1, LAST_COMMAND, RQ)), UNEXPECTED_PARAMETER),
    (values(pdv(1, LAST_COMMAND, RQ), pdv(3, LAST_DATA, SENT.data)), UNEXPECTED_PARAMETER),
    (values(pdv(1, COMMAND, RQ[:9]), pdv(3, LAST_COMMAND, RQ[9:])), UNEXPECTED_PARAMETER),
    (values(pdv(1, COMMAND, RQ[:9]), pdv(1, LAST_DATA, SENT.data)), UNEXPECTED_PARAMETER),
    (values(pdv(1, COMMAND, bytes(4000))) * (LARGEST_COMMAND // 4000 + 1), INVALID_VALUE),
    (values(pdv(1, LAST_COMMAND, b"no command set")), NOT_SPECIFIED),
    (values(pdv(1, LAST_COMMAND, command_set({**ECHO, FIELD: short(0x7777)}))), NOT_SPECIFIED),
], ids=[
    "unknown type", "type 0", "second request", "acceptance", "release response", "too long",
    "no PDV", "PDV without a head", "PDV beyond its PDU", "unknown context", "data alone", "command within data",
    "data on another context", "command on two contexts", "data within a command", "endless command",
    "no command set", "unknown command",
])
def test_what_cannot_be_followed_is_aborted_for_its_reason(node: Receiver, sent: bytes, reason: int) -> None:
    before = node.actions().count("association.aborted")
    with RawSender(node.port, CT_CONTEXT, (VERIFICATION, (IMPLICIT_LITTLE,))) as sender:
        assert sender.store(made("1.2.3.5")).status == SUCCESS
        sender.send(sent)
        assert sender.read_pdu() == (ABORT, bytes((0, 0, PROVIDER, reason)))
        sender.close()
    wait_until(lambda: not node.associations(), what="the end of the association")
    assert node.actions().count("association.aborted") == before + 1
    assert [row.sop_instance_uid for row in node.rows()] == ["1.2.3.5"]
    assert node.files("incoming") == []
    assert send(node.port, SENT) == SUCCESS


@pytest.mark.parametrize(("sent", "source", "reason"), [
    (pdu(0x55, b""), USER, 0),
    (values(pdv(1, LAST_COMMAND, RQ)), USER, 0),
    (pdu(RELEASE_RP, bytes(4)), USER, 0),
    (pdu(1, b"too short"), USER, 0),
    (associate_request([CT_CONTEXT], more=[item(0x54, b"\0\x05")]), USER, 0),
    (associate_request([CT_CONTEXT], more=[item(0x58, b"\x09" + bytes(5))]), PROVIDER, INVALID_VALUE),
], ids=["unknown type", "data", "release response", "half a request", "half an item", "unknown kind of identity"])
def test_what_is_no_request_is_aborted(node: Receiver, sent: bytes, source: int, reason: int) -> None:
    """Before an association there is nothing to audit, and the standard names the user as the source (action AA-1)."""
    before = node.actions()
    with RawSender(node.port, associate=False) as sender:
        sender.send(sent)
        assert sender.read_pdu() == (ABORT, bytes((0, 0, source, reason)))
        sender.close()
    wait_until(lambda: not node.associations(), what="the end of the association")
    assert node.actions() == before


def test_a_peer_that_goes_on_sending_still_reads_why(node: Receiver) -> None:
    with RawSender(node.port, CT_CONTEXT) as sender:
        sender.send(pdu(0x55, b"") + bytes(100_000))
        assert sender.read_pdu() == (ABORT, bytes((0, 0, PROVIDER, UNRECOGNIZED)))
        sender.close()


def test_a_peer_that_never_closes_is_cut_off(node: Receiver) -> None:
    with RawSender(node.port, CT_CONTEXT) as sender:
        sender.send(pdu(0x55, b""))
        assert sender.read_pdu() is not None
        assert sender.read_pdu() is None  # waits


def test_a_silent_connection_is_closed(sqlite: sa.Engine, data_dir: Path, engine_name: str) -> None:
    impatient = {"engine": engine_name, "network_timeout_seconds": 0.3}
    with receiver(sqlite, data_dir, receive=impatient) as node, RawSender(node.port, associate=False) as sender:
        assert sender.read_pdu() is None  # waits
        wait_until(lambda: not node.associations())


def test_an_idle_association_ends_at_once_when_the_server_stops(
    sqlite: sa.Engine, data_dir: Path, engine_name: str
) -> None:
    settings = {"engine": engine_name}
    with receiver(sqlite, data_dir, receive=settings) as node, RawSender(node.port, CT_CONTEXT) as sender:
        node.server.stop(0.5)
        assert sender.read_pdu() == (ABORT, bytes((0, 0, USER, 0)))
        assert not node.associations()
