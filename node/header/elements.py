"""Where the elements of an encoded data set lie (PS3.5 section 7), found without recursion and without decoding.

Every function takes any bytes at all and ends: a length that runs past the data ends the walk,
an undefined length is followed with a counter, and each step moves forward by at least eight bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from typing import NamedTuple

Buffer = bytes | bytearray | memoryview | mmap

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
"""VRs whose length takes four bytes (PS3.5 table 7.1-1)."""
SHORT = frozenset({
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT",
    b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
})
_VRS = LONG | SHORT


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How the elements of a data set are written."""

    explicit: bool
    little_endian: bool



IMPLICIT_LITTLE = Encoding(explicit=False, little_endian=True)
EXPLICIT_LITTLE = Encoding(explicit=True, little_endian=True)
EXPLICIT_BIG = Encoding(explicit=True, little_endian=False)
DECLARED = {
    "1.2.840.10008.1.2": IMPLICIT_LITTLE,
    "1.2.840.10008.1.2.2": EXPLICIT_BIG,
    "1.2.840.113619.5.2": Encoding(explicit=False, little_endian=False),
}
"""Every other transfer syntax encodes its data set as Explicit VR Little Endian (PS3.5 annex A)."""
DEFLATED = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})


class Element(NamedTuple):
    """One top-level element: ``data[start:end]`` is its value; ``undefined`` length values keep their delimiters."""

    tag: int
    vr: bytes
    start: int
    end: int
    undefined: bool


class _Layout(NamedTuple):
    """Elements in one byte order: a header with a short length, and a long length."""

    short: struct.Struct
    length: struct.Struct


_LITTLE = _Layout(struct.Struct("<HH2sH"), struct.Struct("<I"))
_BIG = _Layout(struct.Struct(">HH2sH"), struct.Struct(">I"))


class _Header(NamedTuple):
    tag: int
    vr: bytes
    start: int
    length: int


def encoding_of(data: Buffer, transfer_syntax_uid: str) -> Encoding:
    """The declared encoding, or the one in which the first element makes sense: senders do mislabel."""
    declared = DECLARED.get(transfer_syntax_uid, EXPLICIT_LITTLE)
    if len(data) < 8:
        return declared
    first, second = data[0], data[1]
    little = declared.little_endian if bool(first) == bool(second) else bool(first)
    return Encoding(explicit=bytes(data[4:6]) in _VRS, little_endian=little)


def walk(data: Buffer, encoding: Encoding, start: int = 0, end: int | None = None) -> Iterator[Element]:
    """The elements of ``data[start:end]`` in their order, as far as they are whole.

    The last one may have an ``end`` beyond the data: its header was there, its value was cut off.
    """
    limit = len(data) if end is None else end
    position = start
    while (header := _header(data, position, limit, encoding)) is not None:
        if header.tag in (ITEM_END, SEQUENCE_END):
            return
        undefined = header.length == UNDEFINED
        stop = _end_of_undefined(data, header, limit, encoding) if undefined else header.start + header.length
        yield Element(header.tag, header.vr, header.start, stop, undefined)
        if stop > limit:
            return
        position = stop


def items(data: Buffer, sequence: Element, encoding: Encoding) -> Iterator[tuple[int, int]]:
    """Begin and end of the content of every item of ``sequence``."""
    inner, limit = item_encoding(sequence, encoding), min(sequence.end, len(data))
    position = sequence.start
    while (header := _header(data, position, limit, inner)) is not None and header.tag == ITEM:
        if header.length == UNDEFINED:
            stop = _end_of_undefined(data, header, limit, inner)
            yield header.start, min(stop, limit)
        else:
            stop = header.start + header.length
            yield header.start, min(stop, limit)
        position = stop


def item_encoding(sequence: Element, encoding: Encoding) -> Encoding:
    """How items are written: those of an unknown VR are Implicit VR Little Endian (PS3.5 section 6.2.2)."""
    return IMPLICIT_LITTLE if sequence.vr == b"UN" and encoding.explicit else encoding


def _header(data: Buffer, position: int, limit: int, encoding: Encoding) -> _Header | None:
    """Tag, VR, begin of the value and its length at ``position``; None where no whole header is left."""
    if position + 8 > limit:
        return None
    layout = _LITTLE if encoding.little_endian else _BIG
    group, number, vr, length = layout.short.unpack_from(data, position)
    tag = group << 16 | number
    if group == 0xFFFE or not encoding.explicit or not _is_vr(vr):
        return _Header(tag, b"", position + 8, layout.length.unpack_from(data, position + 4)[0])
    if vr not in LONG:
        return _Header(tag, vr, position + 8, length)
    if position + 12 > limit:
        return None
    return _Header(tag, vr, position + 12, layout.length.unpack_from(data, position + 8)[0])


def _is_vr(vr: bytes) -> bool:
    """Two capital letters; some writers turn to implicit VR inside a sequence."""
    return vr.isalpha() and vr.isupper()


def _end_of_undefined(data: Buffer, opened: _Header, limit: int, encoding: Encoding) -> int:
    """Position after the delimiter that closes ``opened``; beyond ``limit`` where it is not there.

    Depth is a number, so nesting costs no stack. Inside an unknown VR everything is implicit.
    """
    depth, position = 1, opened.start
    implicit_from = 1 if opened.vr == b"UN" else 0
    while depth:
        now = IMPLICIT_LITTLE if implicit_from else encoding
        header = _header(data, position, limit, now)
        if header is None:
            return limit + 1
        position = header.start
        if header.tag in (ITEM_END, SEQUENCE_END):
            depth -= 1
            implicit_from = 0 if depth < implicit_from else implicit_from
        elif header.length == UNDEFINED:
            depth += 1
            implicit_from = implicit_from or (depth if header.vr == b"UN" else 0)
        else:
            position += header.length
            if position > limit:
                return limit + 1
    return position
