"""C-STORE command sets as bytes: group 0000 in Implicit VR Little Endian (PS3.7 section 6.3.1, 9.3.1, E.1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from handlers.commands import StoreCommand, echoed

C_STORE_RQ, C_STORE_RSP = 0x0001, 0x8001
NO_DATA_SET = 0x0101

AFFECTED_SOP_CLASS_UID, COMMAND_FIELD, MESSAGE_ID, MESSAGE_ID_BEING_RESPONDED_TO = 0x0002, 0x0100, 0x0110, 0x0120
COMMAND_DATA_SET_TYPE, STATUS = 0x0800, 0x0900
AFFECTED_SOP_INSTANCE_UID, MOVE_ORIGINATOR_AE_TITLE = 0x1000, 0x1030
"""Element numbers."""

_ELEMENT = struct.Struct("<HHI")
_US = struct.Struct("<H")


@dataclass(frozen=True, kw_only=True)
class StoreMessage:
    """A C-STORE-RQ and what is needed to answer it."""

    message_id: int
    command: StoreCommand

    def response(self, status: int) -> bytes:
        """The command set of its C-STORE-RSP."""
        elements = b"".join((
            _uid(AFFECTED_SOP_CLASS_UID, echoed(self.command.sop_class_uid)),
            _short(COMMAND_FIELD, C_STORE_RSP),
            _short(MESSAGE_ID_BEING_RESPONDED_TO, self.message_id),
            _short(COMMAND_DATA_SET_TYPE, NO_DATA_SET),
            _short(STATUS, status),
            _uid(AFFECTED_SOP_INSTANCE_UID, echoed(self.command.sop_instance_uid)),
        ))
        return struct.pack("<HHII", 0, 0, 4, len(elements)) + elements


def read_store(context_id: int, command_set: bytes | memoryview) -> StoreMessage | None:
    """What a command set asks, or None where it is no well-formed C-STORE-RQ that can be answered."""
    elements = _elements(bytes(command_set))
    if elements is None or _number(elements, COMMAND_FIELD) != C_STORE_RQ:
        return None
    message_id, data_set_type = _number(elements, MESSAGE_ID), _number(elements, COMMAND_DATA_SET_TYPE)
    if message_id is None or data_set_type is None:
        return None
    return StoreMessage(message_id=message_id, command=StoreCommand(
        context_id=context_id,
        sop_class_uid=_text(elements, AFFECTED_SOP_CLASS_UID),
        sop_instance_uid=_text(elements, AFFECTED_SOP_INSTANCE_UID),
        move_originator_ae_title=_text(elements, MOVE_ORIGINATOR_AE_TITLE).strip(),
        has_data_set=data_set_type != NO_DATA_SET,
    ))


def _elements(command_set: bytes) -> dict[int, bytes] | None:
    """Values by element number; None where there is another group, or one ends beyond the end."""
    found: dict[int, bytes] = {}
    position, end = 0, len(command_set)
    while position < end:
        if position + _ELEMENT.size > end:
            return None
        group, element, length = _ELEMENT.unpack_from(command_set, position)
        position += _ELEMENT.size + length
        if group or position > end:
            return None
        found[element] = command_set[position - length:position]
    return found


def _number(elements: dict[int, bytes], element: int) -> int | None:
    value = elements.get(element, b"")
    return int.from_bytes(value, "little") if len(value) == _US.size else None


def _text(elements: dict[int, bytes], element: int) -> str:
    return elements.get(element, b"").decode("latin-1").rstrip("\0 ")


def _short(element: int, value: int) -> bytes:
    return _ELEMENT.pack(0, element, _US.size) + _US.pack(value)


def _uid(element: int, value: str) -> bytes:
    encoded = value.encode("latin-1")
    encoded += b"\0" * (len(encoded) % 2)
    return _ELEMENT.pack(0, element, len(encoded)) + encoded
