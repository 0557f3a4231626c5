"""What a peer asks to store, and the File Meta Information (PS3.10 section 7.1) its file begins with."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from node import __version__

IMPLEMENTATION_CLASS_UID = "2.25.137345907548142832098250754766118888656"
"""Names this software, whatever its version (PS3.7 D.3.3.2)."""
IMPLEMENTATION_VERSION_NAME = f"AINODE_{__version__}"[:16]


@dataclass(frozen=True, kw_only=True)
class StoreRequest:
    """The command of one C-STORE and the association it came on. UIDs are as the peer wrote them."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str
    called_ae_title: str
    source_host: str
    association_id: str
    #: Whether the peer is one of those who may store.
    may_store: bool
    #: Who asked for it by C-MOVE, where it is sent because of that (PS3.7 section 9.1.1).
    move_originator_ae_title: str = ""


def file_meta(request: StoreRequest) -> bytes:
    """Preamble, prefix and group 0002, always Explicit VR Little Endian; the data set follows as it was sent."""
    elements = struct.pack("<HH2sHI2s", 0x0002, 0x0001, b"OB", 0, 2, b"\x00\x01")
    for element, value in (
        (0x0002, request.sop_class_uid),
        (0x0003, request.sop_instance_uid),
        (0x0010, request.transfer_syntax_uid),
        (0x0012, IMPLEMENTATION_CLASS_UID),
    ):
        elements += _element(element, b"UI", value, b"\x00")
    elements += _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME, b" ")
    if request.calling_ae_title:
        elements += _element(0x0016, b"AE", request.calling_ae_title, b" ")
    return b"\x00" * 128 + b"DICM" + struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(elements)) + elements


def _element(element: int, vr: bytes, value: str, padding: bytes) -> bytes:
    encoded = value.encode("ascii", "replace")
    encoded += padding * (len(encoded) % 2)
    return struct.pack("<HH2sH", 0x0002, element, vr, len(encoded)) + encoded
