"""Slices as they are hung: axial seen from the feet, coronal from the front, sagittal from the left."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from node.domain import Transform
from node.images.geometry import Turn
from node.images.planes import Plane, Vector

AXES = ("R", "L"), ("A", "P"), ("F", "H")
"""Letters of the patient's axes (PS3.3 C.7.6.1.1.1): where each points when it falls and when it rises."""
HANGING = {2: ("L", "P"), 1: ("L", "F"), 0: ("P", "F")}
"""By the axis of the normal, where rows and columns of the hung image point."""


def hung(pixels: NDArray[np.uint8], plane: Plane | None) -> tuple[NDArray[np.uint8], bool, Transform]:
    """The slice as it is hung, and if its sides are known; untouched where there is no plane.

    Oblique slices are turned as the nearest of the three. The sides of a sagittal slice are not in the image.
    """
    turn, across, down = _turn(plane)
    side_known = plane is not None and _main_axis(plane.normal) != 0
    parameters = {
        "patient_orientation": [across, down] if plane else [], "side_known": side_known,
        "transpose": turn.transpose, "flip_horizontal": turn.flip_horizontal, "flip_vertical": turn.flip_vertical,
        "rows": pixels.shape[0], "columns": pixels.shape[1],
    }
    return turn(pixels), side_known, Transform(name="orient", parameters=parameters)


def _turn(plane: Plane | None) -> tuple[Turn, str, str]:
    """What brings the slice to its hanging; and where rows and columns of the stored slice point."""
    if plane is None:
        return Turn(transpose=False, flip_horizontal=False, flip_vertical=False), "", ""
    across, down = _letters(plane)
    wanted_across, wanted_down = HANGING[_main_axis(plane.normal)]
    transpose = not _same_axis(across, wanted_across)
    after_across, after_down = (down, across) if transpose else (across, down)
    return Turn(transpose=transpose, flip_horizontal=after_across != wanted_across,
                flip_vertical=after_down != wanted_down), across, down


def _letters(plane: Plane) -> tuple[str, str]:
    """The nearest axes of row and column within the plane, never the same for both nor that of the normal."""
    normal = _main_axis(plane.normal)
    one, two = (axis for axis in range(3) if axis != normal)
    straight = abs(plane.row[one] * plane.column[two]) >= abs(plane.row[two] * plane.column[one])
    row, column = (one, two) if straight else (two, one)
    return AXES[row][plane.row[row] > 0], AXES[column][plane.column[column] > 0]


def _main_axis(vector: Vector) -> int:
    return max(range(3), key=lambda axis: abs(vector[axis]))


def _same_axis(one: str, two: str) -> bool:
    return any(one in axis and two in axis for axis in AXES)
