"""How large a model wants its images."""

from __future__ import annotations

from dataclasses import dataclass

from node.interfaces import TriageModel

TILE_PIXELS = 448
"""Side of a slide's tiles for a model that does not say what it takes: that of MedSigLIP."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Squares of ``side`` pixels, 0 where whole images are wanted; tiles of a slide at ``microns`` micrometres per
    pixel, which is 1 for 10x."""

    side: int = 0
    microns: float = 1.0

    @classmethod
    def of(cls, model: TriageModel) -> Scale:
        """What a triage model takes, and what its prompt set asks for."""
        return cls(side=model.takes, microns=model.prompt_set.microns)

    @property
    def patch(self) -> int:
        """Side of a tile."""
        return self.side or TILE_PIXELS
