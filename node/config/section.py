"""What every section is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict


def _off(value: object) -> None:
    """The only value of a setting that is agreed on and not built; YAML reads ``off`` as false."""
    if value and value != "off":
        raise ValueError("this is not in this version; leave it null or off")


Off = Annotated[None, BeforeValidator(_off)]


class Section(BaseModel):
    """Base of every section: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
