"""Sections about what goes out: reports, where they go, and how often that is tried."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from node.config.section import Section
from node.domain import ReportKind, ReportProfile


class ReportsSection(Section):
    """Which objects are written, and how much of the findings model they may carry."""

    profile: ReportProfile | None = None
    kinds: tuple[ReportKind, ...] = (ReportKind.MEASUREMENT, ReportKind.TEXT)
    language: Literal["en", "ko"] = "en"


class Destination(Section):
    """A PACS that receives the reports."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    kind: Literal["dicom"] = "dicom"
    ae_title: str = Field(min_length=1, max_length=16)
    host: str
    port: int = Field(ge=1, le=65535)
    tls: bool = False
    storage_commitment: bool = False

    @field_validator("tls")
    @classmethod
    def not_built(cls, value: bool) -> bool:
        if value:
            raise ValueError("TLS to a destination is not available in this version")
        return value


class Callback(Section):
    """An application entity the node may call: C-MOVE destinations, and who asked for storage commitment."""

    ae_title: str = Field(min_length=1, max_length=16)
    host: str
    port: int = Field(ge=1, le=65535)


class DeliverySection(Section):
    """When a failed delivery is tried again; the last value repeats ``last_repeats`` times."""

    retry_seconds: tuple[float, ...] = (2, 10, 60, 300, 900, 3600, 14400)
    last_repeats: int = Field(10, ge=0)
    commitment_timeout_seconds: float = Field(60.0, gt=0)
    historical: bool = False

    @field_validator("retry_seconds")
    @classmethod
    def positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or min(value) < 0:
            raise ValueError("needs at least one delay, none negative")
        return value
