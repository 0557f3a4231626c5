"""What the command of a C-STORE may say, and what is answered to one that cannot be followed."""

from __future__ import annotations

import struct

import pytest

from tests.tools.raw_sender import (
    C_ECHO_RQ,
    C_STORE_RSP,
    CLASS,
    CT_CONTEXT,
    DATA_SET_TYPE,
    FIELD,
    INSTANCE,
    MESSAGE_ID,
    NO_DATA_SET,
    VERIFICATION,
    RawSender,
    command_set,
    pdvs,
    short,
    store_command,
    uid,
)
from tests.tools.receiver import CT, IMPLICIT_LITTLE, Receiver, Sent, made

SUCCESS, NOT_SUPPORTED, CANNOT_UNDERSTAND = 0x0000, 0x0122, 0xC000
RESPONDED_TO = 0x0120
MR = "1.2.840.10008.5.1.4.1.1.4"

ELEMENTS: dict[str, dict[str, bytes | None]] = {
    "high priority": {"e0700": short(1)},
    "low priority": {"e0700": short(2)},
    "a priority that does not exist": {"e0700": short(9)},
    "no priority": {"e0700": None},
    "a move originator": {"e1030": b"ARCHIVE ", "e1031": short(12)},
    "a move originator of bytes": {"e1030": b"\xff\\\x00\x1b", "e1031": short(12)},
    "a move originator of 64 KB": {"e1030": b"A" * 65536, "e1031": short(12)},
    "half a move originator": {"e1030": b"ARCHIVE ", "e1031": b"\x01"},
    "message id 0": {"e0110": short(0)},
    "the largest message id": {"e0110": short(65535)},
    "a retired element": {"e0001": struct.pack("<I", 0)},
    "an unknown element": {"e5555": b"whatever"},
    "another mark of a data set": {"e0800": short(0xFEFE)},
    "a class with a space": {"e0002": uid(CT)[:-1] + b" "},
    "an instance with a space": {"e1000": b"1.2.3.4 "},
}


@pytest.mark.parametrize("name", ELEMENTS)
def test_an_unusual_command_is_followed(shared_node: Receiver, name: str) -> None:
    changed = ELEMENTS[name]
    with RawSender(shared_node.port, CT_CONTEXT) as sender:
        answer = sender.store(made(), **changed)
    assert answer.status == SUCCESS
    assert shared_node.received() == [made().data]


def test_an_answer_names_what_it_answers(shared_node: Receiver) -> None:
    with RawSender(shared_node.port, CT_CONTEXT) as sender:
        answer = sender.store(made(), message_id=4711)
    assert (answer.number(FIELD), answer.number(RESPONDED_TO)) == (C_STORE_RSP, 4711)
    assert (answer.elements[CLASS].rstrip(b"\0"), answer.elements[INSTANCE].rstrip(b"\0")) == (CT.encode(), b"1.2.3.4")


REFUSED: dict[str, tuple[dict[str, bytes | None], int]] = {
    "no instance": ({"e1000": None}, CANNOT_UNDERSTAND),
    "an empty instance": ({"e1000": b""}, CANNOT_UNDERSTAND),
    "a path for an instance": ({"e1000": b"../../etc/passwd"}, CANNOT_UNDERSTAND),
    "an instance of 64 KB": ({"e1000": b"1" * 65536}, CANNOT_UNDERSTAND),
    "an instance of bytes": ({"e1000": b"\xff\xfe\x00\x1b\\'"}, CANNOT_UNDERSTAND),
    "two instances": ({"e1000": b"1.2.3\\4.5.6 "}, CANNOT_UNDERSTAND),
    "no class": ({"e0002": None}, NOT_SUPPORTED),
    "an empty class": ({"e0002": b""}, NOT_SUPPORTED),
    "another class": ({"e0002": uid(MR)}, NOT_SUPPORTED),
    "no class of storage": ({"e0002": uid(VERIFICATION)}, NOT_SUPPORTED),
    "a class of 64 KB": ({"e0002": b"1" * 65536}, NOT_SUPPORTED),
    "a class of bytes": ({"e0002": b"\xff\xfe\x00\x1b\\'"}, NOT_SUPPORTED),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_command_that_cannot_be_followed_is_told_why(shared_node: Receiver, name: str) -> None:
    changed, status = REFUSED[name]
    with RawSender(shared_node.port, CT_CONTEXT) as sender:
        assert sender.store(made(), **changed).status == status
        assert sender.store(made("1.2.3.5")).status == SUCCESS
    assert shared_node.received() == [made("1.2.3.5").data]
    assert shared_node.files("quarantine") == []


def test_nothing_is_stored_on_a_context_of_another_service(shared_node: Receiver) -> None:
    with RawSender(shared_node.port, (VERIFICATION, (IMPLICIT_LITTLE,))) as sender:
        sent = Sent(VERIFICATION, "1.2.3.4", IMPLICIT_LITTLE, made().data)
        assert sender.store(sent).status == NOT_SUPPORTED
        echo = sender.echo(1)
        assert echo is not None
        assert echo.status == SUCCESS


def _other_context(sender: RawSender) -> None:
    sender.begin(made(), context_id=77)


def _command_without_message_id(sender: RawSender) -> None:
    sender.begin(made(), e0110=None)


def _unknown_command(sender: RawSender) -> None:
    sender.begin(made(), e0100=short(0x7777))


def _no_command_field(sender: RawSender) -> None:
    sender.begin(made(), e0100=None)


def _an_echo_on_a_context_of_storage(sender: RawSender) -> None:
    command = {CLASS: uid(CT), FIELD: short(C_ECHO_RQ), MESSAGE_ID: short(1), DATA_SET_TYPE: short(NO_DATA_SET)}
    sender.send_pdvs(pdvs(1, True, command_set(command), (500,)))


def _half_a_message_id(sender: RawSender) -> None:
    sender.begin(made(), e0110=b"\x01")


def _a_command_of_rubbish(sender: RawSender) -> None:
    sender.send_pdvs([*pdvs(1, True, b"\xff" * 100, (500,)), *pdvs(1, False, made().data, (500,))])


def _an_empty_command(sender: RawSender) -> None:
    sender.send_pdvs([*pdvs(1, True, b"", (500,)), *pdvs(1, False, made().data, (500,))])


def _a_data_set_first(sender: RawSender) -> None:
    sender.send_pdvs(pdvs(1, False, made().data, (500,)))


def _a_command_in_the_data_set(sender: RawSender) -> None:
    command = pdvs(1, True, command_set(store_command(made())), (500,))
    data = pdvs(1, False, made().data, (100,))
    sender.send_pdvs([*command, data[0], *command, *data])


def _a_data_set_on_another_context(sender: RawSender) -> None:
    command = pdvs(1, True, command_set(store_command(made())), (500,))
    sender.send_pdvs([*command, *pdvs(3, False, made().data, (500,))])


@pytest.mark.parametrize("breach", [
    _other_context, _command_without_message_id, _half_a_message_id, _unknown_command, _no_command_field,
    _a_command_of_rubbish, _an_empty_command, _an_echo_on_a_context_of_storage, _a_data_set_first,
    _a_command_in_the_data_set, _a_data_set_on_another_context,
], ids=lambda breach: breach.__name__.strip("_").replace("_", " "))
def test_a_breach_of_the_protocol_ends_the_association_and_keeps_nothing(shared_node: Receiver, breach: object) -> None:
    assert callable(breach)
    with RawSender(shared_node.port, CT_CONTEXT, (VERIFICATION, (IMPLICIT_LITTLE,))) as sender:
        sender.socket.settimeout(3)
        breach(sender)
        answer = sender.answer()
        assert answer is None or answer.status != SUCCESS
    assert (shared_node.rows(), shared_node.files(".")) == ([], [])
    with RawSender(shared_node.port, CT_CONTEXT) as sender:
        assert sender.store(made()).status == SUCCESS
