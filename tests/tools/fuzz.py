"""Associations as a client sent them, changed in every way, played to a receiver; and what must hold afterwards.

For longer than the test suite has time for: ``python -m tests.tools.fuzz --seconds 600 --engine fast``.
"""

from __future__ import annotations

import argparse
import logging
import select
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import strategies as st
from pynetdicom import evt
from pynetdicom.sop_class import Verification

from tests.tools.raw_sender import (
    ASSOCIATE_RQ,
    C_STORE_RQ,
    COMMAND,
    DATA_SET_TYPE,
    FIELD,
    LAST_COMMAND,
    LAST_DATA,
    NO_DATA_SET,
    P_DATA_TF,
    RELEASE_RQ,
    STATUS,
    WITH_DATA_SET,
    command_set,
    pdu,
    pdv,
    short,
)
from tests.tools.receiver import (
    CT,
    ENGINES,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    Receiver,
    association,
    made,
    receiver_in,
    send,
    store,
    stored_data_set,
)
from tests.tools.waiting import wait_until

SUCCESS = 0x0000
SECONDS = 30.0
"""At most so long until an association that was broken in any way has ended."""
SETTINGS = {"max_pdu": 4096, "network_timeout_seconds": 10.0}
PATIENCE = 0.15
"""Seconds that an answer is waited for; where one does not come, none is waited for any more."""
PIECES = 50
"""Writes to the connection before an answer is waited for, at most."""
WITHOUT_DATA_SET = struct.pack("<HHIH", 0, DATA_SET_TYPE, 2, NO_DATA_SET)
GOOD_EVERY = 10
"""A sender that does nothing wrong is tried after so many that may."""


class Ending(Enum):
    """How a client leaves."""

    #: It sends no more, and reads to the end.
    HALF = "half"
    #: It is gone at once.
    CLOSED = "closed"
    #: Its machine is gone: the connection is reset.
    RESET = "reset"


@dataclass(frozen=True)
class Change:
    """One change to a list of PDUs; what the numbers mean, ``kind`` says. They are taken modulo what there is."""

    kind: str
    at: int
    offset: int
    number: int
    blob: bytes

    def apply(self, pdus: list[bytes]) -> list[bytes]:
        """The list with the change."""
        if not pdus:
            return pdus
        at = self.at % len(pdus)
        return [*pdus[:at], *getattr(self, f"_{self.kind}")(pdus[at], pdus), *pdus[at + 1:]]

    def _flip(self, one: bytes, _: list[bytes]) -> list[bytes]:
        offset = self.offset % len(one)
        return [one[:offset] + bytes((one[offset] ^ (self.number % 255 + 1),)) + one[offset + 1:]]

    def _insert(self, one: bytes, _: list[bytes]) -> list[bytes]:
        offset = self.offset % len(one)
        return [one[:offset] + self.blob + one[offset:]]

    def _delete(self, one: bytes, _: list[bytes]) -> list[bytes]:
        offset = self.offset % len(one)
        return [one[:offset] + one[offset + self.number % 64 + 1:] or b"\0"]

    def _truncate(self, one: bytes, _: list[bytes]) -> list[bytes]:
        return [one[:self.offset % len(one) + 1]]

    def _repeat(self, one: bytes, _: list[bytes]) -> list[bytes]:
        return [one] * (self.number % 3 + 2)

    def _drop(self, _one: bytes, _: list[bytes]) -> list[bytes]:
        return []

    def _swap(self, one: bytes, pdus: list[bytes]) -> list[bytes]:
        return [pdus[self.number % len(pdus)], one]

    def _length(self, one: bytes, _: list[bytes]) -> list[bytes]:
        return [one[:2] + struct.pack(">I", self.number) + one[6:]]

    def _value_length(self, one: bytes, _: list[bytes]) -> list[bytes]:
        return [one[:6] + struct.pack(">I", self.number) + one[10:]]

    def _value_head(self, one: bytes, _: list[bytes]) -> list[bytes]:
        return [one[:10] + bytes((self.number % 8, self.offset % 4)) + one[12:]]

    def _pdu(self, one: bytes, _: list[bytes]) -> list[bytes]:
        return [pdu(self.number % 10, self.blob), one]

    def _value(self, one: bytes, _: list[bytes]) -> list[bytes]:
        return [pdu(P_DATA_TF, pdv(self.number % 8, self.offset % 4, self.blob)), one]

    def _command(self, one: bytes, _: list[bytes]) -> list[bytes]:
        elements = {FIELD: short(FIELDS[self.number % len(FIELDS)]), self.offset % 0x1100: self.blob,
                    DATA_SET_TYPE: short(NO_DATA_SET if self.offset & 1 else WITH_DATA_SET)}
        return [pdu(P_DATA_TF, pdv(self.number // 16 % 4 * 2 + 1, LAST_COMMAND, command_set(elements))), one]


FIELDS = (0x0001, 0x8001, 0x0010, 0x0020, 0x0021, 0x0030, 0x0FFF, 0x0100, 0x0110, 0x0120, 0x0130, 0x0140, 0x0150)
"""Values of Command Field: a store and its response, and a request of every other kind (PS3.7 E.1)."""
KINDS = sorted(name[1:] for name in vars(Change) if name.startswith("_") and not name.startswith("__"))


@dataclass(frozen=True)
class Plan:
    """One association to play: what is changed, in what pieces it is sent, and how it ends."""

    changes: tuple[Change, ...]
    cuts: tuple[int, ...]
    ending: Ending


_numbers = st.one_of(st.integers(0, 40), st.integers(0, 5000), st.integers(0, 0xFFFFFFFF))


def changes(kinds: Sequence[str] = KINDS) -> st.SearchStrategy[Change]:
    """Changes of these kinds."""
    return st.builds(Change, kind=st.sampled_from(kinds), at=st.integers(0, 60), offset=_numbers, number=_numbers,
                     blob=st.binary(max_size=60))


plans = st.builds(
    Plan, changes=st.lists(changes(), max_size=4).map(tuple),
    cuts=st.lists(st.one_of(st.integers(1, 20), st.integers(1, 9000)), min_size=1, max_size=6).map(tuple),
    ending=st.sampled_from(Ending))


def captured(port: int) -> list[bytes]:
    """What pynetdicom sends for an association with C-STOREs of several PDUs, a C-ECHO and a release; PDU by PDU."""
    pieces: list[bytes] = []

    def keep(event: evt.Event) -> None:
        pieces.append(event.data)

    contexts = ((CT, EXPLICIT_LITTLE), (Verification, IMPLICIT_LITTLE))
    with association(port, *contexts, evt_handlers=[(evt.EVT_DATA_SENT, keep)]) as made_one:
        for number, filling in enumerate((10_000, 0, 500)):
            assert store(made_one, made(f"1.2.{number}", filling=filling)) == SUCCESS
        made_one.send_c_echo()
        assert store(made_one, made("1.2.9", filling=5_000)) == SUCCESS
    return pieces


def data_sets(stream: bytes) -> Iterator[bytes]:
    """Data sets of the C-STORE requests in ``stream``, as the most lenient reader would put them together."""
    command, data, field_and_type = b"", b"", None
    for context_and_control, content in _values(stream):
        if context_and_control & COMMAND:
            command += content
            if context_and_control & LAST_DATA:
                begins, field_and_type = field_and_type is None, _field_and_type(command)
                data = b"" if begins else data
                if field_and_type[1] == NO_DATA_SET:
                    command, data, field_and_type = b"", b"", None
        else:
            data += content
            if context_and_control & LAST_DATA:
                if field_and_type is not None and field_and_type[0] == C_STORE_RQ:
                    yield data
                command, data, field_and_type = b"", b"", None


def _values(stream: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + 6 <= len(stream):
        kind, length = struct.unpack_from(">BxI", stream, position)
        content = stream[position + 6:position + 6 + length]
        position += 6 + length
        inner = 0
        while kind == P_DATA_TF and inner + 6 <= len(content):
            size, = struct.unpack_from(">I", content, inner)
            yield content[inner + 5], content[inner + 6:inner + 4 + size]
            inner += 4 + max(size, 2)


def _field_and_type(command: bytes) -> tuple[int, int]:
    found = {}
    position = 0
    while position + 8 <= len(command):
        group, element, length = struct.unpack_from("<HHI", command, position)
        if group == 0:
            found[element] = command[position + 8:position + 8 + length]
        position += 8 + length
    return tuple(int.from_bytes(found.get(element, b""), "little") for element in (FIELD, DATA_SET_TYPE))  # type: ignore[return-value]


def successes(answers: bytes) -> int:
    """C-STORE responses with status Success."""
    command, count = b"", 0
    for control, content in _values(answers):
        command += content
        if control == LAST_COMMAND:
            count += b"\x00\x00\x00\x01\x02\x00\x00\x00\x01\x80" in command and _status(command) == SUCCESS
            command = b""
    return count


def _status(command: bytes) -> int:
    at = command.find(struct.pack("<HHI", 0, STATUS, 2))
    return int.from_bytes(command[at + 8:at + 10], "little") if at >= 0 else -1


@dataclass
class Fuzz:
    """Plays plans to one receiver."""

    node: Receiver
    pdus: list[bytes]
    threads: int
    played: int = 0
    acknowledged: int = 0
    seen: int = 0
    opened: int = 0
    """Connections that the receiver has taken."""

    def __post_init__(self) -> None:
        self.node.server._listeners[0].bind(evt.EVT_CONN_OPEN, self._note)

    def _note(self, _: evt.Event) -> None:
        self.opened += 1

    def play(self, plan: Plan) -> None:
        """Send it and look at what the receiver did. Raises AssertionError."""
        pdus = self.pdus
        for change in plan.changes:
            pdus = change.apply(list(pdus))
        self._new_rows()  # of a plan that failed
        before = self.opened
        acknowledged = successes(exchange(self.node.port, pdus, plan))
        wait_until(lambda: self.opened > before, SECONDS, "the connection to be taken")
        wait_until(lambda: not self.node.associations(), SECONDS, "the end of the association")
        wait_until(lambda: threading.active_count() <= self.threads, SECONDS, "the end of its threads")
        self._check(list(data_sets(b"".join(pdus))), acknowledged)
        self.played += 1
        self.acknowledged += acknowledged
        if self.played % GOOD_EVERY == 0:
            self.try_a_good_one()

    def try_a_good_one(self) -> None:
        """A sender that does nothing wrong is served."""
        assert send(self.node.port, made("1.2.77")) == SUCCESS
        wait_until(lambda: not self.node.associations(), SECONDS, "the end of a good association")
        self._check([made("1.2.77").data], 1)

    def _check(self, sent: Sequence[bytes], acknowledged: int) -> None:
        rows = self._new_rows()
        kept = [stored_data_set(self.node.data_dir / row.path) for row in rows]
        assert self.node.files("incoming") == [], "a partial file is left"
        assert len(kept) >= acknowledged, f"{acknowledged} were acknowledged, {len(kept)} are recorded"
        rest = iter(sent)
        assert all(any(one == other for other in rest) for one in kept), "what is kept is not what was sent"

    def _new_rows(self) -> Sequence[Any]:
        rows = self.node.rows()[self.seen:]
        self.seen += len(rows)
        return rows


def exchange(port: int, pdus: Sequence[bytes], plan: Plan) -> bytes:
    """Send ``pdus`` in pieces, wait for answers as long as there are any, and leave; everything that came back."""
    answers = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection, suppress(ConnectionError):
        patience = PATIENCE
        for turn in turns(pdus):
            for piece in pieces(turn, plan.cuts):
                connection.sendall(piece)
            if select.select([connection], [], [], patience)[0]:
                answers += connection.recv(65536)
            else:
                patience = 0.0
        if plan.ending is Ending.HALF:
            with suppress(OSError):  # it may be gone already
                connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                answers += piece
        elif plan.ending is Ending.RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return bytes(answers)


def turns(pdus: Sequence[bytes]) -> Iterator[bytes]:
    """What is sent before an answer is waited for."""
    turn = b""
    for one in pdus:
        turn += one
        if asks(one):
            yield turn
            turn = b""
    yield turn


def asks(one: bytes) -> bool:
    """Whether a PDU with at most one PDV looks like one that is answered."""
    if one[0] in (ASSOCIATE_RQ, RELEASE_RQ):
        return True
    is_last_data = len(one) >= 12 and one[11] & 3 == LAST_DATA
    return one[0] == P_DATA_TF and (is_last_data or WITHOUT_DATA_SET in one)


def pieces(stream: bytes, cuts: Sequence[int]) -> Iterator[bytes]:
    """Of these lengths, over and over; after some time the rest in one."""
    position = 0
    for count in range(PIECES):
        if position >= len(stream):
            return
        yield stream[position:position + cuts[count % len(cuts)]]
        position += cuts[count % len(cuts)]
    yield stream[position:]


@contextmanager
def fuzzing(folder: Path, engine: str) -> Iterator[Fuzz]:
    """A receiver in ``folder``, ready to be played to; a good association is served in the end."""
    with receiver_in(folder, receive={"engine": engine, **SETTINGS}) as node:
        pdus = captured(node.port)
        wait_until(lambda: not node.associations())
        fuzz = Fuzz(node, pdus, threading.active_count(), seen=len(node.rows()))
        yield fuzz
        fuzz.try_a_good_one()


def main() -> None:
    """Play random plans for some time and say how many there were."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--engine", choices=ENGINES, default=ENGINES[-1])
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    logging.disable(logging.ERROR)
    threading.excepthook = lambda _: None
    end, seed = time.monotonic() + asked.seconds, asked.seed
    with tempfile.TemporaryDirectory() as folder, fuzzing(Path(folder), asked.engine) as fuzz:
        while time.monotonic() < end:
            _round(fuzz, seed, end)
            seed += 1
            print(f"{asked.engine}: seed {seed}, {fuzz.played} associations, {fuzz.acknowledged} instances "
                  f"acknowledged, {fuzz.seen} recorded", flush=True)


def _round(fuzz: Fuzz, seed: int, end: float) -> None:
    @hypothesis.seed(seed)
    @hypothesis.settings(max_examples=100, deadline=None, database=None,
                         suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(plans)
    def play(plan: Plan) -> None:
        if time.monotonic() < end:
            fuzz.play(plan)

    play()


if __name__ == "__main__":
    main()
