"""The stream of PDUs, however it is cut: the same content comes out, or it is refused with a reason."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.fast_store.p_data import AbortReason, Fragment, InvalidPDU, Parser, encode_command
from tests.tools.raw_sender import ABORT, ASSOCIATE_RQ, LAST_COMMAND, P_DATA_TF, RELEASE_RQ, pdu, pdv

MAX_PDU = 4096
BUFFER = 64
"""Far smaller than a PDU may be, so that its end is met in every place."""

Value = tuple[int, int, bytes]
"""Presentation context ID, the two bits of the message control header, content."""
Token = tuple[int, bool, int | str] | bytes
"""A byte of a message or its end, with context and kind; or a PDU that was handed on whole."""

values = st.tuples(st.integers(0, 255), st.integers(0, 3), st.binary(max_size=200))
others = st.tuples(st.sampled_from([1, 2, 3, 5, 6, 7]), st.binary(max_size=100)).map(lambda made: pdu(*made))
streams = st.lists(st.one_of(st.lists(values, max_size=5), others), max_size=8)
cuts = st.lists(st.integers(1, BUFFER), min_size=1, max_size=10)


def encoded(values: Sequence[Value]) -> bytes:
    return pdu(P_DATA_TF, b"".join(pdv(*value) for value in values))


def tokens(context_id: int, is_command: bool, is_last: bool, content: bytes | memoryview) -> Iterator[Token]:
    for byte in content:
        yield context_id, is_command, byte
    if is_last:
        yield context_id, is_command, "last"


def meant(stream: Sequence[list[Value] | bytes]) -> Iterator[Token]:
    for one in stream:
        if isinstance(one, bytes):
            yield one
        else:
            for context_id, control, content in one:
                yield from tokens(context_id, control & 1 != 0, control & 2 != 0, content)


def parsed(parser: Parser, stream: bytes, cuts: Sequence[int] = (BUFFER,)) -> Iterator[Token]:
    """What comes out of reads of ``cuts`` bytes, over and over."""
    position = count = 0
    while position < len(stream):
        room = parser.room()
        piece = stream[position:position + min(cuts[count % len(cuts)], len(room))]
        assert piece, "no room to read to"
        room[:len(piece)] = piece
        parser.filled(len(piece))
        position, count = position + len(piece), count + 1
        while (found := parser.take()) is not None:
            if isinstance(found, Fragment):
                yield from tokens(*found)
            else:
                yield bytes(found)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(streams, cuts)
def test_any_cut_of_a_stream_has_the_same_content(stream: list[list[Value] | bytes], cuts: list[int]) -> None:
    whole = b"".join(one if isinstance(one, bytes) else encoded(one) for one in stream)
    assert list(parsed(Parser(MAX_PDU, size=BUFFER), whole, cuts)) == list(meant(stream))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.binary(max_size=300), cuts)
def test_any_bytes_are_parsed_or_refused(stream: bytes, cuts: list[int]) -> None:
    try:
        list(parsed(Parser(MAX_PDU, size=BUFFER), stream, cuts))
    except InvalidPDU as error:
        assert error.reason in AbortReason


@settings(max_examples=100, deadline=None, derandomize=True)
@given(streams, cuts, st.data())
def test_a_changed_byte_is_parsed_or_refused(
    stream: list[list[Value] | bytes], cuts: list[int], data: st.DataObject
) -> None:
    whole = bytearray(b"".join(one if isinstance(one, bytes) else encoded(one) for one in stream) or bytes(6))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        list(parsed(Parser(MAX_PDU, size=BUFFER), bytes(whole), cuts))
    except InvalidPDU as error:
        assert error.reason in AbortReason


def test_p_data_is_handed_on_whole_where_it_does_not_stream() -> None:
    stream = encoded([(1, 3, b"command")]) + encoded([(1, 2, b"data")])
    seen = list(parsed(Parser(MAX_PDU, lambda: False, size=BUFFER), stream, (5,)))
    assert seen == [encoded([(1, 3, b"command")]), encoded([(1, 2, b"data")])]


@pytest.mark.parametrize(("stream", "reason"), [
    (pdu(0, b""), AbortReason.UNRECOGNIZED_PDU),
    (pdu(8, b""), AbortReason.UNRECOGNIZED_PDU),
    (struct.pack(">BBI", P_DATA_TF, 0, MAX_PDU + 1), AbortReason.INVALID_PARAMETER_VALUE),
    (struct.pack(">BBI", ASSOCIATE_RQ, 0, 0xFFFFFFFF), AbortReason.INVALID_PARAMETER_VALUE),
    (pdu(P_DATA_TF, bytes(5)), AbortReason.INVALID_PARAMETER_VALUE),
    (pdu(P_DATA_TF, struct.pack(">IBB", 1, 1, 0)), AbortReason.INVALID_PARAMETER_VALUE),
    (pdu(P_DATA_TF, struct.pack(">IBB", 3, 1, 0)), AbortReason.INVALID_PARAMETER_VALUE),
    (pdu(P_DATA_TF, pdv(1, 3, b"fits") + b"and more"), AbortReason.INVALID_PARAMETER_VALUE),
], ids=["type 0", "type 8", "long", "absurd", "no head", "too short", "beyond its PDU", "a rest"])
def test_what_cannot_be_followed_is_refused_for_its_reason(stream: bytes, reason: AbortReason) -> None:
    with pytest.raises(InvalidPDU) as refused:
        list(parsed(Parser(MAX_PDU, size=BUFFER), stream))
    assert refused.value.reason is reason


def test_a_pdu_of_the_largest_size_is_read() -> None:
    content = bytes(MAX_PDU - 6)
    assert len(list(parsed(Parser(MAX_PDU, size=BUFFER), pdu(P_DATA_TF, pdv(1, 2, content))))) == len(content) + 1


def test_empty_ones_are_nothing() -> None:
    stream = pdu(P_DATA_TF, b"") + encoded([(1, 0, b""), (1, 2, b"")]) + pdu(RELEASE_RQ, bytes(4)) + pdu(ABORT, b"")
    assert list(parsed(Parser(MAX_PDU, size=BUFFER), stream, (1,))) == [
        (1, False, "last"), pdu(RELEASE_RQ, bytes(4)), pdu(ABORT, b"")]


@pytest.mark.parametrize("max_pdu", [0, 7, 8, 100, 16384])
def test_a_command_is_cut_to_what_the_peer_takes(max_pdu: int) -> None:
    command = bytes(range(200))
    stream = encode_command(5, command, max_pdu)
    lengths = [len(whole) - 6 for whole in parsed(Parser(MAX_PDU, lambda: False), stream) if isinstance(whole, bytes)]
    assert max(lengths) <= (max_pdu or MAX_PDU)
    assert list(parsed(Parser(MAX_PDU), stream)) == list(meant([[(5, LAST_COMMAND, command)]]))
