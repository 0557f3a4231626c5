"""Section about earlier studies: where the node asks for them, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from node.config.delivery import Destination
from node.config.section import Section

NOBODY = "none"
"""Name that stands in a pipeline where nobody is to be asked."""


class PriorSource(Section):
    """An archive that is asked for earlier studies of a patient.

    ``single_issuer`` declares that all Patient IDs of the site come from one issuer, so that none has to name it.
    ``most`` studies at most are retrieved; ``time_limit_seconds`` after a study is complete its findings go on without.
    """

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    ae_title: str = Field(min_length=1, max_length=16)
    host: str
    port: int = Field(ge=1, le=65535)
    retrieve: Literal["move", "get"] = "move"
    single_issuer: bool = False
    most: int = Field(1, ge=1, le=5)
    time_limit_seconds: float = Field(30.0, gt=0, le=600)

    @field_validator("name")
    @classmethod
    def is_somebody(cls, value: str) -> str:
        if value == NOBODY:
            raise ValueError(f"{NOBODY!r} stands for nobody in a pipeline; take another name")
        return value

    @property
    def archive(self) -> Destination:
        """As a peer that is called."""
        return Destination(name=f"priors.{self.name}", ae_title=self.ae_title, host=self.host, port=self.port)


def _none(value: object) -> object:
    """Off is an empty list, however it is written; YAML reads ``off`` as false."""
    return () if not value or value == "off" else value


PriorSources = Annotated[tuple[PriorSource, ...], BeforeValidator(_none)]
