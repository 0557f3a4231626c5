"""Palette Color Lookup Tables (PS3.3 C.7.6.3.1.5, C.7.6.3.1.6) whole or in segments (C.7.9.2), as colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node.errors import Undecodable
from node.images.pixels import border, value

COLOURS = ("Red", "Green", "Blue")
SIGNED_FROM = 1 << 15
LARGEST_TABLE = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Palette:
    """``colours`` has shape (entries, 3), uint8, for the stored values ``first``, ``first + 1`` and so on."""

    first: int
    bits: int
    segmented: bool
    colours: NDArray[np.uint8]

    def __call__(self, stored: NDArray[Any]) -> NDArray[np.uint8]:
        """Shape (rows, columns, 3); outside the table the nearest end counts."""
        index = np.clip(stored.astype(np.int64) - self.first, 0, len(self.colours) - 1)
        found: NDArray[np.uint8] = self.colours[index]
        return found


def palette_of(image: Dataset) -> Palette:
    """The palette of an image whose Photometric Interpretation is PALETTE COLOR; an alpha table is left aside.

    Raises:
        Undecodable: a table is missing or cannot be read.
    """
    with border("the palette cannot be applied"):
        described = value(image, "RedPaletteColorLookupTableDescriptor")
        if described is None:
            raise Undecodable("no Palette Color Lookup Table Descriptor")
        count, first, bits = (int(part) & 0xFFFF for part in described)
        count, wide = count or LARGEST_TABLE, bits > 8
        segmented = value(image, "RedPaletteColorLookupTableData") is None
        tables = [_table(image, colour, segmented, count, wide) for colour in COLOURS]
        colours = np.stack([table[:count] for table in tables], axis=1)
        # Tables of 16 bits whose entries never pass 255 were meant as 8 bits.
        scaled = colours >> 8 if wide and int(colours.max()) > 255 else colours
    if value(image, "PixelRepresentation") == 1 and first >= SIGNED_FROM:
        first -= 1 << 16
    return Palette(first=first, bits=bits, segmented=segmented, colours=scaled.astype(np.uint8))


def _table(image: Dataset, colour: str, segmented: bool, count: int, wide: bool) -> NDArray[np.int64]:
    keyword = f"{'Segmented' if segmented else ''}{colour}PaletteColorLookupTableData"
    data = value(image, keyword)
    if not data:
        raise Undecodable(f"{keyword} is missing")
    order = "<" if image.original_encoding[1] is not False else ">"
    words = np.frombuffer(data[: len(data) // 2 * 2], dtype=f"{order}u2").astype(np.int64)
    if segmented:
        entries = _expanded(words if wide else np.frombuffer(words.astype("<u2").tobytes(), np.uint8), wide)
    elif len(data) >= 2 * count:
        # 8 bits each in a word of its own, the high byte is no part of it (PS3.3 C.7.6.3.1.6).
        entries = words if wide else words & 0xFF
    else:
        # Two entries of 8 bits in a word, the first in its low byte.
        entries = np.frombuffer(words.astype("<u2").tobytes(), np.uint8).astype(np.int64)
    if len(entries) < count:
        raise Undecodable(f"{keyword} holds {len(entries)} of {count} entries")
    return entries


def _expanded(data: NDArray[Any], wide: bool) -> NDArray[np.int64]:
    """Entries of a segmented table: discrete, linear and indirect segments, the last written out where they are met."""
    entries: list[int] = []
    _expand(data.astype(np.int64).tolist(), 0, None, wide, entries)
    return np.array(entries, dtype=np.int64)


def _expand(data: Sequence[int], at: int, segments: int | None, wide: bool, entries: list[int]) -> None:
    """Append the entries of ``segments`` segments from ``at``, or of all there are."""
    done = 0
    while at + 2 < len(data) and (segments is None or done < segments) and len(entries) <= LARGEST_TABLE:
        kind, length, at = data[at], data[at + 1], at + 2
        if kind == 0:
            entries.extend(data[at : at + length])
            at += length
        elif kind == 1 and entries:
            entries.extend(_line(entries[-1], data[at], length))
            at += 1
        elif kind == 2 and segments is None:
            offset = _offset(data[at : at + (2 if wide else 4)], 16 if wide else 8)
            _expand(data, offset // (2 if wide else 1), length, wide, entries)
            at += 2 if wide else 4
        else:
            raise Undecodable(f"segment {kind} of a segmented palette is out of place")
        done += 1


def _line(start: int, end: int, length: int) -> list[int]:
    """``length`` entries after ``start``, the last of which is ``end``."""
    steps = np.arange(1, length + 1, dtype=np.int64)
    return [int(entry) for entry in np.rint(start + (end - start) * steps / max(length, 1))]


def _offset(parts: Sequence[int], bits: int) -> int:
    """A byte offset, least significant part first."""
    return sum(part << (bits * place) for place, part in enumerate(parts))
