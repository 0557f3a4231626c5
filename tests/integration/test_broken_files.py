"""Files that were made to break readers, and headers as careless senders write them: answered, booked, survived."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from tests.tools.bad_headers import BAD_HEADERS, BadHeader, raw
from tests.tools.desk_of_clerk import ClerksDesk
from tests.tools.raw_sender import RawSender
from tests.tools.receiver import CT, EXPLICIT_LITTLE, Receiver, Sent, made, sent

BROKEN = Path(__file__).parents[1] / "data" / "broken"
SUCCESS, CLASS_MISMATCH, CANNOT_UNDERSTAND = 0x0000, 0xA900, 0xC000

OUTCOMES: dict[str, tuple[int, str]] = {
    "TC0293_buf_one_byte.dcm": (SUCCESS, "accepted"),
    "TC0297_cols_zero.dcm": (SUCCESS, "accepted"),
    "TC0345_deflate_corrupt.dcm": (CANNOT_UNDERSTAND, ""),
    "TC0463_uid_uid_double_dot.dcm": (SUCCESS, "accepted"),
    "TC0711_encap_frag_len_maxuint_minus1.dcm": (SUCCESS, "accepted"),
    "TC0727_encap_no_delim.dcm": (SUCCESS, "conflict"),  # it bears the UID of the one before
    "TC0847_rle_seg_offset_oob.dcm": (SUCCESS, "accepted"),
    "TC0851_rle_seg_expand_bomb.dcm": (SUCCESS, "conflict"),
    "TC0901_truncated_meta_group.dcm": (CANNOT_UNDERSTAND, ""),
    "TC0951_ect_0_frames_0pfg.dcm": (CLASS_MISMATCH, ""),  # Legacy Converted Enhanced CT, announced as CT
    "TC0961_jpegls_truncated.dcm": (SUCCESS, "accepted"),
    "TC0965_cmd_group_in_dataset.dcm": (SUCCESS, "accepted"),
    "TC0969_midvalue_truncation.dcm": (CANNOT_UNDERSTAND, ""),
}
"""Status, and what the clerk takes it for, in the order of sending."""


def as_sent(name: str) -> Sent:
    """What a sender makes of a file: where its group 0002 says nothing usable, a CT."""
    try:
        read = sent(BROKEN / name)
    except AttributeError:
        return Sent(CT, "1.2.3.4", EXPLICIT_LITTLE, (BROKEN / name).read_bytes()[132:])
    return replace(read, transfer_syntax_uid=DeflatedExplicitVRLittleEndian) if "deflate" in name else read


def send(node: Receiver, one: Sent) -> int:
    with RawSender(node.port, (one.sop_class_uid, (one.transfer_syntax_uid,))) as sender:
        return sender.store(one).status


def book(node: Receiver) -> None:
    desk = ClerksDesk(node.engine, node.data_dir)
    while desk.clerk.book():
        pass


def test_every_broken_file_has_its_outcome(shared_node: Receiver) -> None:
    statuses = {path.name: send(shared_node, as_sent(path.name)) for path in sorted(BROKEN.glob("*.dcm"))}
    assert statuses == {name: status for name, (status, _) in OUTCOMES.items()}
    book(shared_node)
    assert [row.state for row in shared_node.rows()] == [state for _, state in OUTCOMES.values() if state]
    assert shared_node.received() == [as_sent(name).data for name, (status, _) in OUTCOMES.items() if status == SUCCESS]
    assert send(shared_node, made()) == SUCCESS


def test_every_bad_header_is_stored_and_booked(shared_node: Receiver) -> None:
    for bad in BAD_HEADERS:
        head = bad.source()
        assert send(shared_node, Sent(head.SOPClassUID, "1.2.3.4", EXPLICIT_LITTLE, bad.data())) == SUCCESS, bad.name
    assert len(shared_node.rows()) == len(BAD_HEADERS)
    book(shared_node)
    assert {row.state for row in shared_node.rows()} <= {"accepted", "superseded", "duplicate", "conflict"}


TEXTS = {
    "64 KB": b"N" * 65534, "zeros": bytes(64), "a path": b"../../../../etc/passwd",
    "SQL": b"x'); DROP TABLE instance;--", "a script": b"<script>alert(1)</script>", "escapes": b"\x1b[2J\x1b]0;x\x07",
    "format signs": b"%s%n{0.__class__}", "line breaks": b"a\r\nb\nc", "no character set": b"\xff\xfe\x80\x81",
}


@pytest.mark.parametrize("name", TEXTS)
def test_hostile_texts_are_stored_as_they_are(shared_node: Receiver, name: str) -> None:
    texts = dict.fromkeys(("PatientName", "PatientID", "StudyDescription", "AccessionNumber"), TEXTS[name])
    hostile = BadHeader(name, raw(**texts))
    head = hostile.source()
    assert send(shared_node, Sent(head.SOPClassUID, head.SOPInstanceUID, EXPLICIT_LITTLE, hostile.data())) == SUCCESS
    book(shared_node)
    row, = shared_node.rows()
    assert (row.state, shared_node.received()) == ("accepted", [hostile.data()])
