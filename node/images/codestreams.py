"""What the head of a code stream says of its size, looked at before a decoder takes memory for it."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from node.errors import Undecodable

JPEG_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7})
"""Start of frame of JPEG (ITU-T T.81) and, last, JPEG-LS (T.87)."""
NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
SIZ = b"\xff\x4f\xff\x51"
"""Start of a JPEG 2000 code stream (ITU-T T.800), which always is followed by its size; JP2 has boxes before it."""


@dataclass(frozen=True, kw_only=True)
class FrameSize:
    """Rows, columns and components of one coded frame."""

    rows: int
    columns: int
    components: int


def size_of(code: bytes) -> FrameSize | None:
    """By the frame header of JPEG and JPEG-LS or the SIZ segment of JPEG 2000; None where neither is found."""
    try:
        return _jpeg_2000(code, code.index(SIZ)) if code[:2] != b"\xff\xd8" else _jpeg(code)
    except (ValueError, struct.error, IndexError):
        return None


def require_size(code: bytes, expected: FrameSize) -> None:
    """A code stream of another size than the image states is refused: a decoder would believe the stream.

    Raises:
        Undecodable: the sizes differ, or the stream has none.
    """
    found = size_of(code)
    if found is None:
        raise Undecodable(f"no frame header in {len(code)} compressed bytes")
    if found != expected:
        raise Undecodable(
            f"the code stream has {found.rows} rows, {found.columns} columns and {found.components} samples, "
            f"the image states {expected.rows}, {expected.columns} and {expected.components}")


def bare(code: bytes) -> bytes:
    """The JPEG 2000 code stream alone, as PS3.5 section A.4.4 wants it; pydicom never ends on broken JP2 boxes."""
    at = code.find(SIZ)
    return code[at:] if at > 0 else code


def _jpeg(code: bytes) -> FrameSize | None:
    at = 2
    while code[at] == 0xFF:
        marker = code[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in NO_LENGTH:
            at += 2
        elif marker in JPEG_FRAMES:
            rows, columns, components = struct.unpack_from(">HHB", code, at + 5)
            return FrameSize(rows=rows, columns=columns, components=components)
        else:
            at += 2 + max(2, struct.unpack_from(">H", code, at + 2)[0])
    return None


def _jpeg_2000(code: bytes, at: int) -> FrameSize:
    right, bottom, left, top = struct.unpack_from(">4I", code, at + 8)
    components = struct.unpack_from(">H", code, at + 40)[0]
    return FrameSize(rows=bottom - top, columns=right - left, components=components)
