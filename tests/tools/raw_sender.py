"""A storage SCU made of bytes: what a library would never send, it sends.

PDUs are those of PS3.8 section 9.3, commands those of PS3.7 annex E. A context has the number ``2 * index + 1``.
"""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from tests.tools.receiver import CT, EXPLICIT_LITTLE, Sent

Context = tuple[str, Sequence[str]]
"""A SOP class and the transfer syntaxes proposed for it."""

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
DATA, COMMAND, LAST_DATA, LAST_COMMAND = range(4)
"""Message control headers (PS3.8 annex E.2)."""
C_STORE_RQ, C_STORE_RSP, C_ECHO_RQ = 0x0001, 0x8001, 0x0030
WITH_DATA_SET, NO_DATA_SET = 0x0001, 0x0101
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
SECONDS = 30.0
ONE_PDU = (16000,)
CT_CONTEXT: Context = (CT, (EXPLICIT_LITTLE,))

CLASS, FIELD, MESSAGE_ID, PRIORITY, DATA_SET_TYPE, STATUS = 0x0002, 0x0100, 0x0110, 0x0700, 0x0800, 0x0900
INSTANCE, MOVE_ORIGINATOR, MOVE_MESSAGE_ID = 0x1000, 0x1030, 0x1031
"""Element numbers of group 0000."""


def item(kind: int, value: bytes) -> bytes:
    """A variable item of an A-ASSOCIATE PDU."""
    return struct.pack(">BBH", kind, 0, len(value)) + value


def pdu(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBI", kind, 0, len(value)) + value


def pdv(context_id: int, control: int, value: bytes) -> bytes:
    return struct.pack(">IBB", len(value) + 2, context_id, control) + value


def associate_request(
    contexts: Sequence[Context], *, calling: str = "MODALITY", called: str = "AINODE", max_length: int = 16384,
    more: Sequence[bytes] = (),
) -> bytes:
    """An A-ASSOCIATE-RQ; ``more`` are further items of the user information."""
    proposed = b"".join(
        item(0x20, bytes((2 * number + 1, 0, 0, 0)) + item(0x30, sop_class.encode())
             + b"".join(item(0x40, syntax.encode()) for syntax in syntaxes))
        for number, (sop_class, syntaxes) in enumerate(contexts))
    user = item(0x51, struct.pack(">I", max_length)) + item(0x52, b"1.2.3.99") + b"".join(more)
    titles = called.encode().ljust(16) + calling.encode().ljust(16)
    fixed = struct.pack(">HH", 1, 0) + titles + bytes(32)
    return pdu(ASSOCIATE_RQ, fixed + item(0x10, APPLICATION_CONTEXT.encode()) + proposed + item(0x50, user))


def command_set(elements: Mapping[int, bytes]) -> bytes:
    """Group 0000 with its length, Implicit VR Little Endian."""
    values = b"".join(struct.pack("<HHI", 0, number, len(value)) + value for number, value in sorted(elements.items()))
    return struct.pack("<HHII", 0, 0, 4, len(values)) + values


def store_command(sent: Sent, message_id: int = 1, **changed: bytes | None) -> dict[int, bytes]:
    """The elements of a C-STORE-RQ by their number; ``changed`` are named like ``e1030``, and None leaves one out."""
    elements: dict[int, bytes] = {
        CLASS: uid(sent.sop_class_uid), FIELD: short(C_STORE_RQ), MESSAGE_ID: short(message_id), PRIORITY: short(0),
        DATA_SET_TYPE: short(WITH_DATA_SET), INSTANCE: uid(sent.sop_instance_uid),
    }
    for name, value in changed.items():
        elements.pop(int(name[1:], 16), None)
        if value is not None:
            elements[int(name[1:], 16)] = value
    return elements


def short(value: int) -> bytes:
    return struct.pack("<H", value)


def uid(value: str) -> bytes:
    return value.encode() + b"\0" * (len(value) % 2)


def cut(value: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """Pieces of these sizes, over and over; 0 is an empty piece. At least one piece."""
    position = 0
    for size in itertools.cycle(sizes):
        yield value[position:position + size]
        position += size
        if position >= len(value):
            return


def pdvs(context_id: int, command: bool, value: bytes, sizes: Sequence[int]) -> list[bytes]:
    """``value`` as PDVs of these sizes, the last one marked so."""
    pieces = list(cut(value, sizes))
    return [
        pdv(context_id, (COMMAND if command else DATA) | (LAST_DATA if number == len(pieces) - 1 else 0), piece)
        for number, piece in enumerate(pieces)]


@dataclass(frozen=True)
class Answer:
    """A command set that came back."""

    elements: Mapping[int, bytes]

    def number(self, element: int) -> int:
        return int.from_bytes(self.elements[element], "little")

    @property
    def status(self) -> int:
        return self.number(STATUS)


class RawSender:
    """One connection; the association is asked for at once unless ``associate`` is False."""

    def __init__(self, port: int, *contexts: Context, associate: bool = True, **request: Any) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._contexts = contexts
        #: The answer to the association request: type and content of the PDU, None where the connection was closed.
        self.answered: tuple[int, bytes] | None = None
        if associate:
            self.send(self.request(**request))
            self.answered = self.read_pdu()

    def request(self, **how: Any) -> bytes:
        """The association request, as :func:`associate_request` makes it."""
        return associate_request(self._contexts, **how)

    @property
    def accepted(self) -> dict[int, str]:
        """Transfer syntax by the number of the context, of those accepted."""
        return {content[0]: content[8:].decode() for kind, content in self.items() if kind == 0x21 and content[2] == 0}

    def items(self) -> Iterator[tuple[int, bytes]]:
        """Type and content of the items of the A-ASSOCIATE-AC."""
        assert self.answered is not None, "the connection was closed"
        kind, value = self.answered
        assert kind == ASSOCIATE_AC, f"answered with PDU type {kind}: {value.hex()}"
        return _items(value[68:])

    def user_items(self, kind: int) -> list[bytes]:
        """Items of this type in the user information that came back."""
        user = next(content for number, content in self.items() if number == 0x50)
        return [content for number, content in _items(user) if number == kind]

    def send(self, value: bytes) -> None:
        self.socket.sendall(value)

    def store(self, sent: Sent, **how: Any) -> Answer:
        """C-STORE as :meth:`begin` sends it; the answer."""
        self.begin(sent, **how)
        answer = self.answer()
        assert answer is not None, "the association ended instead of an answer"
        return answer

    def begin(
        self, sent: Sent, *, context_id: int = 0, sizes: Sequence[int] = ONE_PDU,
        command_sizes: Sequence[int] = ONE_PDU, per_pdu: int = 1, message_id: int = 1, **changed: bytes | None,
    ) -> None:
        """A C-STORE-RQ in PDVs of ``sizes`` bytes, ``per_pdu`` of them in each P-DATA-TF.

        ``changed`` are elements of the command as :func:`store_command` takes them.
        """
        number = context_id or self.context_of(sent)
        parts = pdvs(number, True, command_set(store_command(sent, message_id, **changed)), command_sizes)
        parts += pdvs(number, False, sent.data, sizes)
        self.send_pdvs(parts, per_pdu)

    def send_pdvs(self, parts: Sequence[bytes], per_pdu: int = 1) -> None:
        self.send(b"".join(
            pdu(P_DATA_TF, b"".join(parts[number:number + per_pdu])) for number in range(0, len(parts), per_pdu)))

    def context_of(self, sent: Sent) -> int:
        """Number of the context that was proposed for this class and accepted in this syntax."""
        return next(number for number, syntax in self.accepted.items()
                    if syntax == sent.transfer_syntax_uid and self._contexts[number // 2][0] == sent.sop_class_uid)

    def echo(self, context_id: int) -> Answer | None:
        elements = {CLASS: uid(VERIFICATION), FIELD: short(C_ECHO_RQ), MESSAGE_ID: short(7),
                    DATA_SET_TYPE: short(NO_DATA_SET)}
        self.send_pdvs(pdvs(context_id, True, command_set(elements), ONE_PDU))
        return self.answer()

    def answer(self) -> Answer | None:
        """The next command set; None where the association ended instead."""
        command = b""
        while (found := self.read_pdu()) is not None and found[0] == P_DATA_TF:
            for control, value in _values(found[1]):
                command += value if control & COMMAND else b""
                if control == LAST_COMMAND:
                    return Answer(dict(_elements(command)))
        return None

    def read_pdu(self) -> tuple[int, bytes] | None:
        """Type and content of the next PDU; None where the connection was closed or reset."""
        try:
            head = self._read(6)
            return (head[0], self._read(struct.unpack(">I", head[2:])[0])) if head else None
        except (ConnectionError, EOFError):
            return None

    def _read(self, count: int) -> bytes:
        """Exactly ``count`` bytes, or none at the end. Raises EOFError in the middle."""
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                if data:
                    raise EOFError
                return b""
            data += part
        return data

    def release(self) -> bool:
        """Whether the release was answered."""
        self.send(pdu(RELEASE_RQ, bytes(4)))
        return (found := self.read_pdu()) is not None and found[0] == RELEASE_RP

    def abort(self) -> None:
        self.send(pdu(ABORT, bytes(4)))

    def reset(self) -> None:
        """End the connection with RST, as a killed machine's router does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """End the connection with FIN and no word."""
        self.socket.close()

    def __enter__(self) -> RawSender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            if error is None and self.socket.fileno() >= 0:
                self.release()
        self.socket.close()


def _items(value: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + 4 <= len(value):
        kind, length = value[position], struct.unpack_from(">H", value, position + 2)[0]
        yield kind, value[position + 4:position + 4 + length]
        position += 4 + length


def _values(value: bytes) -> Iterator[tuple[int, bytes]]:
    """Control header and content of every PDV."""
    position = 0
    while position < len(value):
        length = struct.unpack_from(">I", value, position)[0]
        yield value[position + 5], value[position + 6:position + 4 + length]
        position += 4 + length


def _elements(command: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(command):
        number, length = struct.unpack_from("<HI", command, position + 2)
        yield number, command[position + 8:position + 8 + length]
        position += 8 + length
