"""What a sender may put into a data set and how it may spread studies over associations: all is stored as sent."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Sequence
from contextlib import ExitStack

import pytest

from tests.tools.raw_sender import CT_CONTEXT, RawSender
from tests.tools.receiver import CT, EXPLICIT_LITTLE, IMPLICIT_LITTLE, Receiver, Sent, association, made, send, store

SUCCESS = 0x0000
BIG, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
UNDEFINED = b"\xff\xff\xff\xff"
ITEM, ITEM_END, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0"


def explicit(tag: int, vr: str, value: bytes) -> bytes:
    """An element in Explicit VR Little Endian."""
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    long = vr in ("OB", "OW", "SQ", "UN", "UT", "UC", "UR")
    return head + (struct.pack("<HI", 0, len(value)) if long else struct.pack("<H", len(value))) + value


def implicit(tag: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def open_sequence(tag: int, *contents: bytes, vr: str = "SQ") -> bytes:
    """A sequence of undefined length with items of undefined length."""
    inside = b"".join(ITEM + UNDEFINED + content + ITEM_END for content in contents)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), 0) + UNDEFINED + inside + SEQUENCE_END


def nested(depth: int) -> bytes:
    """Sequences in sequences."""
    inside = explicit(0x00080100, "SH", b"CODE")
    for _ in range(depth):
        inside = open_sequence(0x00081250, inside)
    return inside


UIDS = {0x00080016: CT, 0x00080018: "1.2.3.4", 0x0020000D: "1.2.3.1", 0x0020000E: "1.2.3.2"}
HEAD, TAIL = (b"".join(explicit(tag, "UI", uid.encode() + b"\0" * (len(uid) % 2)) for tag, uid in UIDS.items()
                       if (tag < 0x00200000) is early) for early in (True, False))
MIDDLE = explicit(0x00080060, "CS", b"CT")
PIXELS = explicit(0x7FE00010, "OW", b"pixels!!")


def in_big_endian() -> bytes:
    parts = b"".join(struct.pack(">HH2sH", tag >> 16, tag & 0xFFFF, b"UI", len(uid) + len(uid) % 2) + uid.encode()
                     + b"\0" * (len(uid) % 2) for tag, uid in UIDS.items())
    return parts + struct.pack(">HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 8) + b"pixels!!"


def in_implicit(order: str = "<") -> bytes:
    return b"".join(implicit(tag, uid.encode() + b"\0" * (len(uid) % 2), order) for tag, uid in UIDS.items())


def deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = stream.compress(data) + stream.flush()
    return packed + b"\0" * (len(packed) % 2)


PLAIN = HEAD + MIDDLE + TAIL + PIXELS
DATA_SETS: dict[str, tuple[bytes, str]] = {
    "group lengths": (explicit(0x00080000, "UL", struct.pack("<I", len(HEAD + MIDDLE))) + HEAD + MIDDLE
                      + explicit(0x00200000, "UL", struct.pack("<I", len(TAIL))) + TAIL + PIXELS, EXPLICIT_LITTLE),
    "wrong group lengths": (explicit(0x00080000, "UL", b"\xff\xff\xff\x7f") + HEAD + MIDDLE
                            + explicit(0x00200000, "UL", bytes(4)) + TAIL + PIXELS, EXPLICIT_LITTLE),
    "trailing padding": (PLAIN + explicit(0xFFFCFFFC, "OB", bytes(1000)), EXPLICIT_LITTLE),
    "bytes after the end": (PLAIN + b"\0" * 7, EXPLICIT_LITTLE),
    "open sequences before the UIDs": (
        HEAD + MIDDLE + open_sequence(0x00081115, TAIL, TAIL) + open_sequence(0x00081140) + TAIL + PIXELS,
        EXPLICIT_LITTLE),
    "a sequence of unknown VR": (
        HEAD + MIDDLE + open_sequence(0x00091010, implicit(0x0020000D, b"9.9.9\0"), vr="UN") + TAIL + PIXELS,
        EXPLICIT_LITTLE),
    "a thousand nested sequences": (HEAD + MIDDLE + nested(1000) + TAIL + PIXELS, EXPLICIT_LITTLE),
    "a private element of 3 MB before the UIDs": (
        HEAD + MIDDLE + explicit(0x00191010, "OB", bytes(3_000_000)) + TAIL + PIXELS, EXPLICIT_LITTLE),
    "2 MB of references before the UIDs": (
        HEAD + MIDDLE + open_sequence(0x00081140, *[explicit(0x00081155, "UI", b"1.2.3.4.5.67")] * 45_000) + TAIL
        + PIXELS, EXPLICIT_LITTLE),
    "texts of 64 KB": (
        HEAD + MIDDLE + explicit(0x00081030, "LO", b"D" * 65534) + explicit(0x00100010, "PN", b"N" * 65534) + TAIL
        + PIXELS, EXPLICIT_LITTLE),
    "values of odd lengths": (HEAD + explicit(0x00080060, "CS", b"CTX") + TAIL + PIXELS, EXPLICIT_LITTLE),
    "UIDs padded with spaces": (PLAIN.replace(b"1.2.3.4\0", b"1.2.3.4 ").replace(b"1.2.3.1\0", b"1.2.3.1 "),
                                EXPLICIT_LITTLE),
    "elements out of order": (TAIL + MIDDLE + HEAD + PIXELS, EXPLICIT_LITTLE),
    "file meta information in front": (
        explicit(0x00020010, "UI", EXPLICIT_LITTLE.encode() + b"\0") + PLAIN, EXPLICIT_LITTLE),
    "no pixels": (HEAD + TAIL, EXPLICIT_LITTLE),
    "implicit": (in_implicit(), IMPLICIT_LITTLE),
    "big endian": (in_big_endian(), BIG),
    "implicit, announced as explicit": (in_implicit(), EXPLICIT_LITTLE),
    "explicit, announced as implicit": (PLAIN, IMPLICIT_LITTLE),
    "big endian, announced as little": (in_big_endian(), EXPLICIT_LITTLE),
    "deflated": (deflated(PLAIN), DEFLATED),
    "deflated, with 2 MB before the UIDs": (
        deflated(HEAD + MIDDLE + explicit(0x00191010, "OB", bytes(2_000_000)) + TAIL + PIXELS), DEFLATED),
    "a deflated stream that breaks off": (deflated(PLAIN * 50)[:-30], DEFLATED),
}


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_data_set_is_stored_as_sent(shared_node: Receiver, name: str) -> None:
    data, syntax = DATA_SETS[name]
    with RawSender(shared_node.port, (CT, (syntax,))) as sender:
        assert sender.store(Sent(CT, "1.2.3.4", syntax, data)).status == SUCCESS
    row, = shared_node.rows()
    assert (row.study_instance_uid, row.series_instance_uid, row.sop_instance_uid) == ("1.2.3.1", "1.2.3.2", "1.2.3.4")
    assert shared_node.received() == [data]


def test_an_instance_is_known_by_the_uids_of_its_data_set(shared_node: Receiver) -> None:
    assert send(shared_node.port, made("1.2.3.4"), command_uid="9.8.7") == SUCCESS
    assert [row.sop_instance_uid for row in shared_node.rows()] == ["1.2.3.4"]


def by_study(node: Receiver) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in node.rows():
        found.setdefault(row.study_instance_uid, []).append(row.sop_instance_uid)
    return found


def test_studies_may_be_interleaved_on_one_association(shared_node: Receiver) -> None:
    with association(shared_node.port, (CT, EXPLICIT_LITTLE)) as made_one:
        for number in range(12):
            assert store(made_one, made(f"1.2.{number}", study=f"1.{number % 3}")) == SUCCESS
    assert by_study(shared_node) == {f"1.{one}": [f"1.2.{number}" for number in range(one, 12, 3)] for one in range(3)}


def test_each_image_may_come_on_an_association_of_its_own(shared_node: Receiver) -> None:
    for number in range(10):
        assert send(shared_node.port, made(f"1.2.{number}")) == SUCCESS
    assert by_study(shared_node) == {"1.2.3.1": [f"1.2.{number}" for number in range(10)]}


def test_a_study_may_come_over_several_associations_at_once(shared_node: Receiver) -> None:
    with ExitStack() as stack:
        senders = [stack.enter_context(RawSender(shared_node.port, CT_CONTEXT)) for _ in range(4)]
        for round_ in range(5):
            for number, sender in enumerate(senders):
                sender.begin(made(f"1.2.{round_}.{number}"))
            assert [answer.status for sender in senders if (answer := sender.answer())] == [SUCCESS] * 4
    assert {study: len(found) for study, found in by_study(shared_node).items()} == {"1.2.3.1": 20}


def test_data_sets_that_arrive_piece_by_piece_at_once_are_not_mixed_up(shared_node: Receiver) -> None:
    sent = [made(f"1.2.3.{number}", filling=30_000 + 2 * number) for number in range(6)]
    statuses: dict[str, int] = {}

    def one_by_one(one: Sent, sizes: Sequence[int]) -> None:
        with RawSender(shared_node.port, CT_CONTEXT) as sender:
            statuses[one.sop_instance_uid] = sender.store(one, sizes=sizes, per_pdu=2).status

    threads = [threading.Thread(target=one_by_one, args=(one, (701 + number,))) for number, one in enumerate(sent)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses.values()) == {SUCCESS}
    assert sorted(shared_node.received()) == sorted(one.data for one in sent)


def test_the_same_instance_at_the_same_time_is_stored_each_time(shared_node: Receiver) -> None:
    with RawSender(shared_node.port, CT_CONTEXT) as first, RawSender(shared_node.port, CT_CONTEXT) as second:
        for sender in (first, second):
            sender.begin(made())
        assert [answer.status for sender in (first, second) if (answer := sender.answer())] == [SUCCESS] * 2
    assert shared_node.received() == [made().data] * 2
