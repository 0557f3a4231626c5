"""UIDs, Modality and Study Date from the first bytes of a data set, while the rest is still on its way."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from node.errors import UnusableIdentity
from node.header.elements import DEFLATED, ITEM, Buffer, encoding_of, walk

LIMIT = 1 << 22
"""Bytes that are looked at, also after inflating. Series Instance UID stands in the first kilobytes;
references to some ten thousand images, or a private group before it, may take megabytes."""
LONGEST = 256
"""Bytes kept of one value; more than a UID or a code string may have, so that too long stays too long."""
LAST = 0x0020000E
FIELDS = {
    0x00080016: "sop_class_uid",
    0x00080018: "sop_instance_uid",
    0x00080020: "study_date",
    0x00080030: "study_time",
    0x00080060: "modality",
    0x0020000D: "study_instance_uid",
    LAST: "series_instance_uid",
}
IDENTITY = {"sop_instance_uid", "study_instance_uid"}
_USABLE = re.compile(r"[0-9A-Za-z.]{1,64}")


@dataclass(frozen=True, kw_only=True)
class ScannedHead:
    """What was found so far. ``complete`` says that more bytes cannot change it."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_date: str = ""
    study_time: str = ""
    modality: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    complete: bool = False


def scan(data: Buffer, transfer_syntax_uid: str, *, last: bool = False) -> ScannedHead:
    """Look through the beginning of an encoded data set (no file meta information). Never raises.

    Call again with a longer buffer until ``complete``; ``last`` says that no more will come. Waiting
    for the buffer to double between calls keeps the whole cost linear.
    """
    head, whole = (data[:LIMIT], last) if transfer_syntax_uid not in DEFLATED else inflated(data, LIMIT)
    found: dict[str, str] = {}
    passed = False
    for element in walk(head, encoding_of(head, transfer_syntax_uid)):
        is_whole = element.end <= len(head)
        name = FIELDS.get(element.tag)
        if name is not None and is_whole:
            found.setdefault(name, _latin(head[element.start : min(element.end, element.start + LONGEST)]))
        beyond = element.tag > LAST and element.tag != ITEM  # an item that stands in no sequence is no place to stop
        if beyond or (element.tag == LAST and is_whole and found.keys() >= IDENTITY):
            passed = True
            break
    return ScannedHead(**found, complete=passed or whole or last or len(head) >= LIMIT)


def require_usable(study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> None:
    """Refuse what cannot identify an instance.

    Raises:
        UnusableIdentity: one of the three is not 1 to 64 characters of ``[0-9A-Za-z.]``.
    """
    named = {
        "Study Instance UID": study_instance_uid,
        "Series Instance UID": series_instance_uid,
        "SOP Instance UID": sop_instance_uid,
    }
    for name, value in named.items():
        if not _USABLE.fullmatch(value):
            raise UnusableIdentity(f"{name} {value[:80]!r} is not 1 to 64 characters of [0-9A-Za-z.]")


def inflated(data: Buffer, limit: int) -> tuple[bytes, bool]:
    """At most ``limit`` bytes of a deflated data set (PS3.5 A.5), and whether that is all of it.

    A broken stream gives what came before the break.
    """
    stream = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    parts: list[bytes] = []
    room = limit
    try:
        for begin in range(0, len(data), 4096):
            chunk = bytes(data[begin : begin + 4096])
            while chunk and room and not stream.eof:
                parts.append(stream.decompress(chunk, room))
                room -= len(parts[-1])
                chunk = stream.unconsumed_tail
            if stream.eof or not room:
                break
    except zlib.error:
        return b"".join(parts), True
    return b"".join(parts), stream.eof


def _latin(value: Buffer) -> str:
    return bytes(value).decode("latin-1").rstrip("\x00 ")
