"""Where in an image something is said to be."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle: ``top`` and ``left`` inclusive, ``bottom`` and ``right`` exclusive, in whatever unit is said."""

    top: float
    left: float
    bottom: float
    right: float

    @property
    def area(self) -> float:
        """0 where it is degenerate."""
        return max(0.0, self.bottom - self.top) * max(0.0, self.right - self.left)

    def holds(self, row: float, column: float) -> bool:
        """If a point is inside."""
        return self.top <= row < self.bottom and self.left <= column < self.right


class Localisation(Enum):
    """What a box of the findings model is worth."""

    #: It lies where the score comes from.
    AGREES = "agrees"
    #: Nothing else says so.
    UNCONFIRMED = "unconfirmed"
    #: The model was asked and gave none that can be read.
    FAILED = "failed"
