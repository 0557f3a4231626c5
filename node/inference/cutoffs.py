"""Two cut-offs as a file states them, for the files that do: prompt sets and operating points."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from node.domain import OperatingPoint

Share = Annotated[float, Field(ge=0, le=1)]


class Cutoffs(BaseModel):
    """Present at or above the one, absent below the other, both in 0..1 and in this order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    present_above: Share
    absent_below: Share
    #: Who measured them on what, as a citation.
    source: str = ""

    @model_validator(mode="after")
    def in_order(self) -> Self:
        if self.present_above < self.absent_below:
            raise ValueError("present_above must not be below absent_below")
        return self

    def value(self) -> OperatingPoint:
        """As the domain has it."""
        return OperatingPoint(present_above=self.present_above, absent_below=self.absent_below)
