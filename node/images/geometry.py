"""Head up, patient's left on image right, and square."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.domain import Transform

Pixels = NDArray[np.uint8]
AXES = {"L": "side", "R": "side", "H": "length", "F": "length"}
_DIRECTION = re.compile(r"[LR][AP]?[HF]?|[HF][AP]?[LR]?|[LR][HF][AP]|[HF][LR][AP]")


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One of the eight ways to lay a rectangle: transposed first, then flipped."""

    transpose: bool
    flip_horizontal: bool
    flip_vertical: bool

    def __call__(self, pixels: Pixels) -> Pixels:
        """Shape (rows, columns, 3); transposing exchanges the first two."""
        laid = pixels.swapaxes(0, 1) if self.transpose else pixels
        laid = laid[:, ::-1] if self.flip_horizontal else laid
        return laid[::-1] if self.flip_vertical else laid


def turn_of(patient_orientation: Sequence[str]) -> Turn | None:
    r"""What brings an image with this Patient Orientation (PS3.3 C.7.6.1.1.1) to L\F.

    The first value is where the rows point, the second where the columns point. None where it is missing or
    cannot be a frontal view of a person: one value, twice the same axis, front and back, or an animal's terms.
    """
    if len(patient_orientation) != 2 or not all(_DIRECTION.fullmatch(text) for text in patient_orientation):
        return None
    row, column = (text[0] for text in patient_orientation)
    if AXES[row] == AXES[column]:
        return None
    transpose = AXES[row] == "length"
    across, down = (column, row) if transpose else (row, column)
    return Turn(transpose=transpose, flip_horizontal=across == "R", flip_vertical=down == "H")


def upright(pixels: Pixels, patient_orientation: Sequence[str]) -> tuple[Pixels, bool, Transform]:
    """The image as a radiologist hangs it, and if its sides are known; untouched where they are not."""
    turn = turn_of(patient_orientation)
    known = turn is not None
    turn = turn or Turn(transpose=False, flip_horizontal=False, flip_vertical=False)
    parameters = {
        "patient_orientation": list(patient_orientation), "side_known": known, "transpose": turn.transpose,
        "flip_horizontal": turn.flip_horizontal, "flip_vertical": turn.flip_vertical,
        "rows": pixels.shape[0], "columns": pixels.shape[1],
    }
    return turn(pixels), known, Transform(name="orient", parameters=parameters)


def square(pixels: Pixels) -> tuple[Pixels, Transform]:
    """Zeros on both sides of the shorter axis; the odd one goes to the bottom or the right."""
    rows, columns = pixels.shape[:2]
    side = max(rows, columns)
    top, left = (side - rows) // 2, (side - columns) // 2
    padded = np.zeros((side, side, 3), dtype=np.uint8)
    padded[top : top + rows, left : left + columns] = pixels
    parameters = {"top": top, "left": left, "side": side, "rows": rows, "columns": columns}
    return padded, Transform(name="pad", parameters=parameters)
