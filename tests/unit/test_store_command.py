"""C-STORE commands as bytes, beside what pynetdicom makes of them."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode, encode

from handlers.c_store import StoreCommand
from node.fast_store.command import read_store
from tests.tools.raw_sender import (
    C_ECHO_RQ,
    CLASS,
    DATA_SET_TYPE,
    FIELD,
    INSTANCE,
    MESSAGE_ID,
    MOVE_ORIGINATOR,
    NO_DATA_SET,
    command_set,
    short,
    store_command,
    uid,
)
from tests.tools.receiver import CT, made


def test_a_command_is_read() -> None:
    elements = store_command(made(), 77, e1030=b"PACS  ", e1031=short(4))
    message = read_store(3, command_set(elements))
    assert message is not None
    assert message.message_id == 77
    assert message.command == StoreCommand(
        context_id=3, sop_class_uid=CT, sop_instance_uid="1.2.3.4", move_originator_ae_title="PACS", has_data_set=True)


def test_a_command_without_a_data_set_says_so() -> None:
    message = read_store(1, command_set(store_command(made()) | {DATA_SET_TYPE: short(NO_DATA_SET)}))
    assert message is not None
    assert not message.command.has_data_set


@pytest.mark.parametrize("missing", [CLASS, INSTANCE, MOVE_ORIGINATOR])
def test_a_text_that_is_missing_is_empty(missing: int) -> None:
    elements = store_command(made())
    elements.pop(missing, None)
    assert read_store(1, command_set(elements)) is not None


@pytest.mark.parametrize("command", [
    b"",
    b"\x00" * 7,
    command_set({FIELD: short(C_ECHO_RQ), MESSAGE_ID: short(1)}),
    command_set({number: value for number, value in store_command(made()).items() if number != MESSAGE_ID}),
    command_set({number: value for number, value in store_command(made()).items() if number != DATA_SET_TYPE}),
    command_set(store_command(made()) | {MESSAGE_ID: b"1"}),
    command_set(store_command(made()))[:-1],
    command_set(store_command(made())) + b"\x08\x00\x16\x00\x00\x00\x00\x00",
], ids=["nothing", "short", "C-ECHO", "no ID", "no type", "odd ID", "cut", "another group"])
def test_what_is_no_c_store_that_can_be_answered_is_left_to_pynetdicom(command: bytes) -> None:
    assert read_store(1, command) is None


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=400))
def test_any_bytes_are_a_command_or_none(command: bytes) -> None:
    read_store(1, command)


@pytest.mark.parametrize("status", [0x0000, 0x0122, 0xA700, 0xC000])
@pytest.mark.parametrize("instance_uid", ["1.2.3.4", "1.2.3", "9" * 64])
def test_the_answer_is_what_pynetdicom_would_send(instance_uid: str, status: int) -> None:
    message = read_store(1, command_set(store_command(made(), 9) | {INSTANCE: uid(instance_uid)}))
    assert message is not None
    primitive = C_STORE()
    primitive.MessageIDBeingRespondedTo, primitive.Status = 9, status
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CT, instance_uid
    theirs = C_STORE_RSP()
    theirs.primitive_to_message(primitive)
    assert message.response(status) == encode(theirs.command_set, True, True)


@pytest.mark.parametrize("instance_uid", ["9" * 65536, "../../etc/passwd", "\xff\xfe", ""])
def test_the_answer_to_an_absurd_uid_can_be_read(instance_uid: str) -> None:
    message = read_store(1, command_set(store_command(made()) | {INSTANCE: instance_uid.encode("latin-1")}))
    assert message is not None
    assert message.command.sop_instance_uid == instance_uid
    read = decode(BytesIO(message.response(0xC000)), True, True)
    assert str(read.AffectedSOPInstanceUID) == instance_uid[:64]
