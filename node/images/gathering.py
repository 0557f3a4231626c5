"""A radiograph at the size of a model without rendering the pixels that the model never sees.

A bilinear resize without antialiasing reads four source pixels per target pixel. Tone is a function of the stored
value and of which values occur, so it gives the same on those pixels alone, once the others' values are told to it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node.domain import ModelImage, Transform
from node.images.aspect import SQUARE_ENOUGH, ratio_of
from node.images.geometry import Turn, turn_of
from node.images.measured import MONOCHROME
from node.images.picture import decoded_from
from node.images.pixels import load, masked, native, number, text, value
from node.images.plausibility import is_judged, judge, sampled
from node.images.projection import RADIOGRAPHS, patient_orientation, projection
from node.images.tone import grey
from node.resizing import Taps, bilinear, blended, taps

Index = NDArray[np.int64]
NO_TURN = Turn(transpose=False, flip_horizontal=False, flip_vertical=False)


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """Where a square of ``side`` lies around a picture of ``rows`` by ``columns``, as stored, after ``turn``."""

    rows: int
    columns: int
    turn: Turn

    @property
    def laid(self) -> tuple[int, int]:
        return (self.columns, self.rows) if self.turn.transpose else (self.rows, self.columns)

    @property
    def side(self) -> int:
        return max(self.rows, self.columns)

    def along(self, axis: int, positions: Index) -> tuple[Index, NDArray[np.bool_]]:
        """Positions in the square to positions in the turned picture before its flips, and which of them are in it."""
        length = self.laid[axis]
        inside = positions - (self.side - length) // 2
        within = (inside >= 0) & (inside < length)
        flipped = self.turn.flip_horizontal if axis else self.turn.flip_vertical
        kept = np.clip(inside, 0, length - 1)
        return (length - 1 - kept if flipped else kept), within


def resized(path: Path, side: int) -> ModelImage:
    """The first frame of a stored picture at ``side`` by ``side``: bit by bit what resizing ``projection`` gives.

    Transforms are those of ``projection``, as the resize is the model's own. Fast for uncompressed monochrome
    pictures with square pixels; all others are rendered whole.

    Raises:
        Undecodable: with the reason shown to the reader.
        NotEvaluable: a CR or DX that is blank, a page of text, or cut off in its exposure.
        StorageError: the file cannot be read.
    """
    with load(path) as file:
        head, stored = file.head, native(file) if _is_plain(file.head) else None
    if stored is not None and max(stored.shape) != side:
        return _gathered(stored, head, side)
    whole = projection(path)
    return whole if len(whole.pixels) == side else replace(whole, pixels=bilinear(whole.pixels, side))


def _is_plain(head: Dataset) -> bool:
    """Monochrome, square pixels, and nothing that a decoder would object to."""
    square = abs(ratio_of(head)[0] - 1.0) <= SQUARE_ENOUGH
    whole_bits = 0 < (number(head, "BitsStored") or 0) <= (number(head, "BitsAllocated") or 0)
    signs = number(head, "PixelRepresentation") in (0, 1)
    return square and whole_bits and signs and text(head, "PhotometricInterpretation") in MONOCHROME


def _gathered(stored: NDArray[Any], head: Dataset, side: int) -> ModelImage:
    orientation = patient_orientation(head)
    turn = turn_of(orientation)
    frame = _Frame(rows=stored.shape[0], columns=stored.shape[1], turn=turn or NO_TURN)
    grid = taps(frame.side, side)
    shades, tone = _shades(stored, head)
    if text(head, "SOPClassUID") in RADIOGRAPHS and is_judged(stored.shape):
        looked_at = sampled(stored)
        judge(masked(looked_at, head), shades[_bits_of(looked_at)], number(head, "BitsStored") or 0)
    corners = _corners(_bits_of(stored), shades, frame, grid)
    pixels = np.repeat(blended(corners, grid, grid)[:, :, np.newaxis], 3, axis=2)
    return ModelImage(
        pixels=pixels, sop_class_uid=text(head, "SOPClassUID"), sop_instance_uid=text(head, "SOPInstanceUID"),
        series_instance_uid=text(head, "SeriesInstanceUID"), frame=1, side_known=turn is not None,
        transforms=(decoded_from(head, stored.shape, 1), *tone, *_laid(frame, orientation, turn)))


def _corners(bits: NDArray[Any], shades: NDArray[np.uint8], frame: _Frame, grid: Taps) -> NDArray[np.uint8]:
    """The neighbours (2 side, 2 side) that ``grid`` asks for, rendered; black outside the picture."""
    (down, is_row), (across, is_column) = (frame.along(axis, grid.positions) for axis in (0, 1))
    rows, columns = (across, down) if frame.turn.transpose else (down, across)
    shown = shades.take(bits.take(rows, axis=0).take(columns, axis=1))
    corners: NDArray[np.uint8] = np.ascontiguousarray(shown.T) if frame.turn.transpose else shown
    corners[~is_row] = 0
    corners[:, ~is_column] = 0
    return corners


def _bits_of(stored: NDArray[Any]) -> NDArray[Any]:
    """Signed values as the unsigned ones of the same bits, which find their place in a table."""
    return stored.view(f"u{stored.dtype.itemsize}")


def _shades(stored: NDArray[Any], head: Dataset) -> tuple[NDArray[np.uint8], list[Transform]]:
    """The grey level of each value that occurs, by its bits, and the steps that made them."""
    levels = _levels(stored, head)
    table = np.zeros(1 << (8 * stored.dtype.itemsize), dtype=np.uint8)
    shown, tone = grey(masked(levels[np.newaxis], head), head)
    table[_bits_of(levels)] = shown[0]
    return table, tone


def _levels(stored: NDArray[Any], head: Dataset) -> NDArray[Any]:
    """The values that occur; where tone rises with the value, all between least and greatest, which tell the same."""
    ends = np.array([stored.min(), stored.max()], dtype=stored.dtype)
    if _rises(head) and (masked(ends, head) == ends).all():
        return np.arange(int(ends[0]), int(ends[1]) + 1, dtype=stored.dtype)
    bits = _bits_of(stored)
    occurs = np.zeros(1 << (8 * stored.dtype.itemsize), dtype=np.bool_)
    occurs[bits.ravel()] = True
    return np.flatnonzero(occurs).astype(bits.dtype).view(stored.dtype)


def _rises(head: Dataset) -> bool:
    """No padding to leave out, no table, and no bits below those that count: windows and rescale keep the order."""
    lowest_bit = (number(head, "HighBit") or 0) + 1 == number(head, "BitsStored")
    return lowest_bit and all(
        value(head, keyword) is None for keyword in ("PixelPaddingValue", "ModalityLUTSequence", "VOILUTSequence"))


def _laid(frame: _Frame, orientation: list[str], turn: Turn | None) -> tuple[Transform, Transform]:
    """The steps that ``geometry`` writes down for the same picture."""
    laid_rows, laid_columns = frame.laid
    orient = {
        "patient_orientation": orientation, "side_known": turn is not None, "transpose": frame.turn.transpose,
        "flip_horizontal": frame.turn.flip_horizontal, "flip_vertical": frame.turn.flip_vertical,
        "rows": frame.rows, "columns": frame.columns,
    }
    pad = {
        "top": (frame.side - laid_rows) // 2, "left": (frame.side - laid_columns) // 2, "side": frame.side,
        "rows": laid_rows, "columns": laid_columns,
    }
    return Transform(name="orient", parameters=orient), Transform(name="pad", parameters=pad)
