"""Where a slice lies in the patient: Image Position and Image Orientation (Patient), PS3.3 C.7.6.2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from node.images.pixels import value

Vector = tuple[float, float, float]
UNIT_TOLERANCE = 0.02
"""How far a cosine may be off: about one degree. Files state them with four digits, some with two."""


@dataclass(frozen=True, kw_only=True)
class Plane:
    """The centre of the first voxel in millimetres, and the directions in which columns and rows count up."""

    position: Vector
    row: Vector
    column: Vector

    @property
    def normal(self) -> Vector:
        (a, b, c), (d, e, f) = self.row, self.column
        return b * f - c * e, c * d - a * f, a * e - b * d

    @property
    def depth(self) -> float:
        """The position projected on the normal, in millimetres: what orders parallel slices."""
        return dot(self.position, self.normal)

    def parallel(self, other: Plane) -> bool:
        """Laid the same way, as far as headers can tell."""
        pairs = zip((*self.row, *self.column), (*other.row, *other.column), strict=True)
        return all(abs(one - two) <= UNIT_TOLERANCE for one, two in pairs)

    def orthogonal(self, other: Plane) -> bool:
        """At right angles, give or take some ten degrees."""
        return abs(dot(self.normal, other.normal)) < 0.2


def dot(one: Vector, two: Vector) -> float:
    return sum(a * b for a, b in zip(one, two, strict=True))


def plane_of(head: Dataset) -> Plane | None:
    """The plane of a frame; None where position or orientation is missing or cannot be."""
    position = _numbers(value(head, "ImagePositionPatient"), 3)
    orientation = _numbers(value(head, "ImageOrientationPatient"), 6)
    if position is None or orientation is None:
        return None
    a, b, c, d, e, f = orientation
    row, column = (a, b, c), (d, e, f)
    lengths = math.sqrt(dot(row, row)), math.sqrt(dot(column, column))
    if any(abs(length - 1) > UNIT_TOLERANCE for length in lengths) or abs(dot(row, column)) > UNIT_TOLERANCE:
        return None
    x, y, z = position
    return Plane(position=(x, y, z), row=row, column=column)


def _numbers(found: object, count: int) -> list[float] | None:
    if not isinstance(found, Sequence) or isinstance(found, str | bytes) or len(found) != count:
        return None
    try:
        numbers = [float(part) for part in found]
    except (TypeError, ValueError):
        return None
    return numbers if all(map(math.isfinite, numbers)) else None
