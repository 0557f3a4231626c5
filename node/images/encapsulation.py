"""Where each frame lies in encapsulated pixel data (PS3.5 section A.4), found without reading the frames."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO

ITEM = 0xFFFEE000
END_OF_IMAGE = b"\xff\xd9"
"""JPEG, JPEG-LS, JPEG 2000 and HTJ2K code streams all end with it."""
TAIL = 10


def frame_starts(pixels: BinaryIO, number_of_frames: int, extended: bytes = b"") -> list[int]:
    """Offset of each frame's first item; fewer than ``number_of_frames`` where the data end too soon.

    By the Extended Offset Table where there is one, else by a Basic Offset Table that fits, else by walking
    from item to item.

    Raises:
        ValueError: the value does not begin with an item.
    """
    pixels.seek(0)
    table = _item_length(pixels)
    if table is None:
        raise ValueError("encapsulated pixel data do not begin with a Basic Offset Table")
    first = 8 + table
    for size, data in (("Q", extended), ("L", pixels.read(table))):
        offsets = struct.unpack(f"<{len(data) // struct.calcsize(f'<{size}')}{size}", data)
        starts = [first + offset for offset in offsets]
        if len(starts) == number_of_frames and _fit(pixels, starts):
            return starts
    return [first] if number_of_frames == 1 else _walked(pixels, first, number_of_frames)


def fragments(pixels: BinaryIO, start: int, end: int | None, largest: int) -> Iterator[bytes]:
    """The items from ``start`` to ``end``, or to the delimiter; the last is short where the file is cut off.

    Raises:
        ValueError: together they would be more than ``largest`` bytes.
    """
    at = start
    while end is None or at < end:
        pixels.seek(at)
        length = _item_length(pixels)
        if length is None:
            return
        at += 8 + length
        if at - start > largest:
            raise ValueError(f"one compressed frame takes more than {largest} bytes")
        yield pixels.read(length)


def encapsulated(frame: bytes) -> bytes:
    """One frame as pixel data of its own: an empty Basic Offset Table and one item."""
    even = frame + b"\x00" * (len(frame) % 2)
    return struct.pack("<HHLHHL", 0xFFFE, 0xE000, 0, 0xFFFE, 0xE000, len(even)) + even


def _item_length(pixels: BinaryIO) -> int | None:
    """Length of the item here; None at the delimiter, at the end and at anything else."""
    head = pixels.read(8)
    if len(head) < 8:
        return None
    group, element, length = struct.unpack("<HHL", head)
    return int(length) if group << 16 | element == ITEM else None


def _fit(pixels: BinaryIO, starts: list[int]) -> bool:
    """If the offsets rise and each leads to an item."""
    if any(later <= earlier for earlier, later in pairwise(starts)):
        return False
    for start in starts:
        pixels.seek(start)
        if _item_length(pixels) is None:
            return False
    return True


def _walked(pixels: BinaryIO, first: int, number_of_frames: int) -> list[int]:
    """One item per frame, or as many as it takes to the end of a code stream."""
    items: list[tuple[int, int]] = []
    at = first
    pixels.seek(at)
    while (length := _item_length(pixels)) is not None:
        items.append((at, length))
        at += 8 + length
        pixels.seek(at)
    if len(items) <= number_of_frames:
        return [start for start, _ in items]
    starts, ended = [], True
    for start, length in items:
        if ended:
            starts.append(start)
        tail = min(TAIL, length)
        pixels.seek(start + 8 + length - tail)
        ended = END_OF_IMAGE in pixels.read(tail)
    return starts
