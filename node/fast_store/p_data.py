"""The stream of PDUs from a peer, parsed in the one buffer it is read into (PS3.8 section 9.3).

Data of P-DATA-TF is handed on piece by piece as it arrives, so neither a PDU nor a PDV has to fit into
the buffer. Every other PDU is short and rare; it is collected and handed on whole.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

P_DATA_TF = 4
PDU_TYPES = range(1, 8)
COMMAND, LAST = 1, 2
"""Bits of the message control header (PS3.8 annex E.2); the others mean nothing."""
BUFFER_BYTES = 1 << 19
LARGEST_REQUEST = 1 << 20
"""Bytes of the largest PDU that is collected; an A-ASSOCIATE-RQ of 128 contexts with every syntax takes a fifth."""

_PDU_HEADER = struct.Struct(">BxI")
_PDV_HEADER = struct.Struct(">IBB")
_LENGTH_FIELD = 4
"""The item length of a PDV does not count itself."""
_HEAD = 2
"""Presentation context ID and message control header, the least a PDV contains."""


class AbortReason(IntEnum):
    """Why the service provider aborts (PS3.8 section 9.3.8)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER_VALUE = 6


class InvalidPDU(Exception):
    """The peer's stream cannot be followed any further; the association has to be aborted for ``reason``."""

    def __init__(self, reason: AbortReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Fragment(NamedTuple):
    """What arrived of one PDV. ``data`` is good until the next :meth:`Parser.room`."""

    context_id: int
    is_command: bool
    #: Whether it ends the command set or data set that it belongs to.
    is_last: bool
    data: memoryview


class Parser:
    """Finds fragments and PDUs in what is read into :meth:`room`.

    ``max_pdu`` bounds P-DATA-TF in bytes, header not counted. P-DATA-TF is collected and handed on whole, as
    every other PDU, where ``streams`` says False at its beginning.
    """

    def __init__(self, max_pdu: int, streams: Callable[[], bool] = lambda: True, size: int = BUFFER_BYTES) -> None:
        self._max_pdu = max_pdu
        self._streams = streams
        self._buffer = memoryview(bytearray(size))
        self._low = self._high = 0
        self._collected: bytearray | None = None
        self._missing = 0
        """Bytes of the PDU being collected that are still to come."""
        self._left_of_pdu = 0
        self._left_of_pdv = 0
        self._pdv: tuple[int, int] | None = None
        """Context and control header of the PDV being handed on."""

    def room(self) -> memoryview:
        """Where to read to. What was handed out before is no longer good."""
        kept = self._high - self._low
        if self._low:
            self._buffer[:kept] = self._buffer[self._low:self._high]
            self._low, self._high = 0, kept
        return self._buffer[kept:]

    def filled(self, count: int) -> None:
        """So many bytes were read into :meth:`room`."""
        self._high += count

    def take(self) -> Fragment | bytearray | None:
        """The next fragment, or PDU as a whole with its header; None until more is read.

        Raises:
            InvalidPDU: with the reason to abort for.
        """
        while True:
            if self._collected is not None:
                return self._collect(self._collected)
            if self._pdv is not None:
                return self._fragment(*self._pdv)
            if not (self._begin_pdv() if self._left_of_pdu else self._begin_pdu()):
                return None

    def _collect(self, collected: bytearray) -> bytearray | None:
        count = min(self._missing, self._high - self._low)
        collected += self._buffer[self._low:self._low + count]
        self._low += count
        self._missing -= count
        if self._missing:
            return None
        self._collected = None
        return collected

    def _fragment(self, context_id: int, control: int) -> Fragment | None:
        begin, end = self._low, min(self._low + self._left_of_pdv, self._high)
        if begin == end and self._left_of_pdv:
            return None
        self._low = end
        self._left_of_pdv -= end - begin
        if not self._left_of_pdv:
            self._pdv = None
        is_last = self._pdv is None and control & LAST != 0
        return Fragment(context_id, control & COMMAND != 0, is_last, self._buffer[begin:end])

    def _begin_pdu(self) -> bool:
        if self._high - self._low < _PDU_HEADER.size:
            return False
        kind, length = _PDU_HEADER.unpack_from(self._buffer, self._low)
        self._require_pdu(kind, length)
        if kind == P_DATA_TF and self._streams():
            self._low += _PDU_HEADER.size
            self._left_of_pdu = length
        else:
            self._collected = bytearray()
            self._missing = _PDU_HEADER.size + length
        return True

    def _require_pdu(self, kind: int, length: int) -> None:
        if kind not in PDU_TYPES:
            raise InvalidPDU(AbortReason.UNRECOGNIZED_PDU, f"a PDU of type 0x{kind:02X}; there are types 1 to 7")
        limit = self._max_pdu if kind == P_DATA_TF else LARGEST_REQUEST
        if length > limit:
            raise InvalidPDU(
                AbortReason.INVALID_PARAMETER_VALUE,
                f"a PDU of type {kind} and {length} bytes; at most {limit} are read")

    def _begin_pdv(self) -> bool:
        if self._left_of_pdu < _PDV_HEADER.size:
            raise InvalidPDU(
                AbortReason.INVALID_PARAMETER_VALUE, f"{self._left_of_pdu} bytes of a P-DATA-TF PDU are no PDV")
        if self._high - self._low < _PDV_HEADER.size:
            return False
        length, context_id, control = _PDV_HEADER.unpack_from(self._buffer, self._low)
        if not _HEAD <= length <= self._left_of_pdu - _LENGTH_FIELD:
            raise InvalidPDU(
                AbortReason.INVALID_PARAMETER_VALUE,
                f"a PDV of {length} bytes where a P-DATA-TF PDU has {self._left_of_pdu - _LENGTH_FIELD} left")
        self._low += _PDV_HEADER.size
        self._left_of_pdu -= _LENGTH_FIELD + length
        self._left_of_pdv = length - _HEAD
        self._pdv = context_id, control
        return True


def encode_command(context_id: int, command_set: bytes, max_pdu: int) -> bytes:
    """P-DATA-TF PDUs that carry a command set, each no longer than the peer takes (0 is any length)."""
    step = max(1, max_pdu - _PDV_HEADER.size) if max_pdu else len(command_set)
    pdus = []
    for begin in range(0, len(command_set), step):
        piece = command_set[begin:begin + step]
        control = COMMAND | (LAST if begin + step >= len(command_set) else 0)
        pdv = _PDV_HEADER.pack(len(piece) + _HEAD, context_id, control) + piece
        pdus.append(_PDU_HEADER.pack(P_DATA_TF, len(pdv)) + pdv)
    return b"".join(pdus)
