"""What a sender may propose: classes, contexts, and the items of extended negotiation (PS3.7 annex D.3)."""

from __future__ import annotations

import struct

import pytest
from pynetdicom.sop_class import _STORAGE_CLASSES

from node.server.contexts import RETIRED_STORAGE_CLASSES, TRANSFER_SYNTAXES
from tests.tools.raw_sender import ASSOCIATE_RJ, CT_CONTEXT, Context, RawSender, item, pdu
from tests.tools.receiver import CT, ENGINES, EXPLICIT_LITTLE, IMPLICIT_LITTLE, Receiver, made, receiver_in

SUCCESS = 0x0000
CLASSES = sorted({*map(str, _STORAGE_CLASSES.values()), *RETIRED_STORAGE_CLASSES})
MOST_CONTEXTS = 128
ACCEPTED, ABSTRACT_SYNTAX_NOT_SUPPORTED, TRANSFER_SYNTAXES_NOT_SUPPORTED = 0, 3, 4
MAXIMUM_LENGTH, ASYNCHRONOUS_OPERATIONS, ROLE_SELECTION = 0x51, 0x53, 0x54
EXTENDED, COMMON_EXTENDED, USER_IDENTITY, USER_IDENTITY_ANSWER = 0x56, 0x57, 0x58, 0x59


@pytest.mark.parametrize("begin", range(0, len(CLASSES), MOST_CONTEXTS))
def test_every_storage_class_is_stored_over_as_many_contexts_as_there_may_be(
    shared_node: Receiver, begin: int
) -> None:
    classes = CLASSES[begin:begin + MOST_CONTEXTS]
    with RawSender(shared_node.port, *((one, (EXPLICIT_LITTLE,)) for one in classes)) as sender:
        assert len(sender.accepted) == len(classes)
        for number, one in enumerate(classes):
            assert sender.store(made(f"1.2.3.{number}", sop_class=one)).status == SUCCESS
    assert [row.sop_class_uid for row in shared_node.rows()] == classes


def test_one_class_may_have_a_context_for_each_syntax(shared_node: Receiver) -> None:
    contexts: list[Context] = [(CT, (syntax,)) for syntax in TRANSFER_SYNTAXES]
    native = [syntax for syntax in TRANSFER_SYNTAXES if not syntax.endswith("1.2.1.99")]
    with RawSender(shared_node.port, *contexts) as sender:
        assert list(sender.accepted.values()) == list(TRANSFER_SYNTAXES)
        for number, syntax in enumerate(native):
            assert sender.store(made(f"1.2.3.{number}", transfer_syntax=syntax)).status == SUCCESS
    assert [row.transfer_syntax_uid for row in shared_node.rows()] == native
    assert shared_node.received() == [made(f"1.2.3.{number}").data for number in range(len(native))]


def test_128_contexts_with_every_syntax_are_answered(shared_node: Receiver) -> None:
    with RawSender(shared_node.port, *((one, TRANSFER_SYNTAXES) for one in CLASSES[:MOST_CONTEXTS])) as sender:
        assert set(sender.accepted.values()) == {EXPLICIT_LITTLE}
        assert len(sender.accepted) == MOST_CONTEXTS


def results(sender: RawSender) -> dict[int, int]:
    """Result by the number of the context."""
    return dict(sorted((content[0], content[2]) for kind, content in sender.items() if kind == 0x21))


def test_what_is_not_supported_is_declined_beside_what_is(shared_node: Receiver) -> None:
    contexts = [
        CT_CONTEXT, ("1.2.840.999.1", (EXPLICIT_LITTLE,)), (CT, ("1.2.840.999.2",)),
        (CT, ("1.2.840.10008.1.2.4.94",)),  # JPIP: the pixels are somewhere else
        ("1.2.840.10008.5.1.4.31", (EXPLICIT_LITTLE,)),  # Modality Worklist
        (CT, ("1.2.840.999.2", IMPLICIT_LITTLE)),
    ]
    with RawSender(shared_node.port, *contexts) as sender:
        assert list(results(sender).values()) == [
            ACCEPTED, ABSTRACT_SYNTAX_NOT_SUPPORTED, TRANSFER_SYNTAXES_NOT_SUPPORTED, TRANSFER_SYNTAXES_NOT_SUPPORTED,
            ABSTRACT_SYNTAX_NOT_SUPPORTED, ACCEPTED]
        assert sender.store(made(transfer_syntax=IMPLICIT_LITTLE), context_id=11).status == SUCCESS


def test_an_association_without_any_context_that_fits_is_accepted_and_released(shared_node: Receiver) -> None:
    with RawSender(shared_node.port, ("1.2.840.999.1", (EXPLICIT_LITTLE,))) as sender:
        assert sender.accepted == {}
        assert sender.release()


def test_a_configured_private_class_is_stored(tmp_path_factory: pytest.TempPathFactory) -> None:
    private = "1.2.840.999.77.1"
    for engine in ENGINES:
        settings = {"engine": engine, "private_sop_classes": (private,)}
        with receiver_in(tmp_path_factory.mktemp(engine), receive=settings) as node:
            with RawSender(node.port, (private, (EXPLICIT_LITTLE, IMPLICIT_LITTLE))) as sender:
                assert sender.store(made(sop_class=private)).status == SUCCESS
            assert [row.sop_class_uid for row in node.rows()] == [private]


def uid_item(uid: str) -> bytes:
    return struct.pack(">H", len(uid)) + uid.encode()


ITEMS = {
    "asynchronous operations": item(ASYNCHRONOUS_OPERATIONS, struct.pack(">HH", 0, 0)),
    "sop class extended": item(EXTENDED, uid_item(CT) + bytes((2, 0, 3, 0, 1, 0))),
    "sop class common extended": item(COMMON_EXTENDED, uid_item(CT) + uid_item("1.2.840.10008.4.2")
                                      + struct.pack(">H", 0)),
    "a private class's common extended": item(
        COMMON_EXTENDED, uid_item("1.2.840.999.77.2") + uid_item("1.2.840.10008.4.2")
        + struct.pack(">H", len(uid_item(CT))) + uid_item(CT)),
    "user identity": item(USER_IDENTITY, bytes((1, 0)) + uid_item("someone") + struct.pack(">H", 0)),
    "user identity with an answer": item(USER_IDENTITY, bytes((2, 1)) + uid_item("someone") + uid_item("secret")),
    "role selection": item(ROLE_SELECTION, uid_item(CT) + bytes((1, 1))),
    "an implementation version of 16 letters": item(0x55, b"ABCDEFGHIJKLMNOP"),
}


@pytest.mark.parametrize("name", ITEMS)
def test_extended_negotiation_is_no_obstacle(shared_node: Receiver, name: str) -> None:
    with RawSender(shared_node.port, CT_CONTEXT, more=(ITEMS[name],)) as sender:
        assert sender.store(made()).status == SUCCESS
        assert sender.release()


def test_only_what_is_supported_is_answered(shared_node: Receiver) -> None:
    with RawSender(shared_node.port, CT_CONTEXT, more=list(ITEMS.values())) as sender:
        (length,) = sender.user_items(MAXIMUM_LENGTH)
        assert struct.unpack(">I", length) == (131072,)
        for declined in (EXTENDED, COMMON_EXTENDED, USER_IDENTITY, USER_IDENTITY_ANSWER):
            assert sender.user_items(declined) == []
        windows = sender.user_items(ASYNCHRONOUS_OPERATIONS)
        assert windows in ([], [struct.pack(">HH", 1, 1)])  # neither may more than one operation be outstanding
        for role in sender.user_items(ROLE_SELECTION):
            assert role == uid_item(CT) + bytes((1, 0))  # the sender is the SCU, and never the SCP


def test_operations_sent_without_waiting_are_answered_in_their_order(shared_node: Receiver) -> None:
    """A window of one was agreed upon. A sender that does not care loses nothing."""
    sent = [made(f"1.2.3.{number}") for number in range(5)]
    with RawSender(shared_node.port, CT_CONTEXT) as sender:
        for number, one in enumerate(sent):
            sender.begin(one, message_id=number + 1)
        answers = [sender.answer() for _ in sent]
    assert [(answer.number(0x0120), answer.status) for answer in answers if answer] == [
        (number + 1, SUCCESS) for number in range(5)]
    assert shared_node.received() == [one.data for one in sent]


def test_another_protocol_version_is_rejected(shared_node: Receiver) -> None:
    with RawSender(shared_node.port, CT_CONTEXT, associate=False) as sender:
        sender.send(sender.request().replace(b"\x00\x01\x00\x00", b"\x00\x02\x00\x00", 1))
        assert sender.read_pdu() == (ASSOCIATE_RJ, bytes((0, 1, 2, 2)))  # permanent, provider (ACSE), version


@pytest.mark.parametrize("user_items", [(), (item(0x51, b"\0\0"),), (item(0x99, b"?" * 100),), (b"\x58\x00\xff\xff",)],
                         ids=["nothing more", "half a length", "an unknown item", "an item longer than the rest"])
def test_odd_user_information_ends_nobody_elses_association(
    shared_node: Receiver, user_items: tuple[bytes, ...]
) -> None:
    with RawSender(shared_node.port, CT_CONTEXT, associate=False) as sender:
        sender.send(sender.request(more=user_items))
        sender.read_pdu()
    with RawSender(shared_node.port, associate=False) as sender:
        sender.send(pdu(1, b""))
        sender.read_pdu()
    with RawSender(shared_node.port, CT_CONTEXT) as sender:
        assert sender.store(made()).status == SUCCESS
