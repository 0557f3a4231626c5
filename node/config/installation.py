"""Sections about the node itself: its name, its database, what it keeps, shows and tells."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from node.config.section import Off, Section
from node.domain import IntendedUse


class NodeSection(Section):
    """Who the node is and where it keeps what it received."""

    ae_title: str = Field("AINODE", min_length=1, max_length=16, pattern=r"^[^\\\x00-\x1f]+$")
    host: str = "127.0.0.1"
    port: int = Field(11112, ge=0, le=65535)
    data_dir: Path = Path("data")
    language: Literal["en", "ko"] = "en"
    intended_use: IntendedUse = IntendedUse.RESEARCH
    jurisdiction: str = ""
    authorisation_reference: str = ""

    @model_validator(mode="after")
    def clinical_needs_authorisation(self) -> NodeSection:
        if self.intended_use is IntendedUse.CLINICAL and not (self.jurisdiction and self.authorisation_reference):
            raise ValueError("clinical use needs jurisdiction and authorisation_reference")
        return self


class DatabaseSection(Section):
    """Where rows, jobs and audit live: one database for all of them."""

    url: str = Field("", pattern=r"^((sqlite|postgresql)(\+[a-z0-9]+)?://.*)?$")


class RetentionSection(Section):
    """When received instances are removed; 0 days keeps them for ever."""

    days: int = Field(0, ge=0)
    min_free_mb: int = Field(0, ge=0)


class WorklistSection(Section):
    """Who else is told about the order of the worklist; nobody in this version."""

    hl7: Off = None
    fhir: Off = None
    ups: Off = None
    webhook: Off = None


class WebSection(Section):
    """Where pages and API listen."""

    host: str = "127.0.0.1"
    port: int = Field(8042, ge=0, le=65535)


class AuditSection(Section):
    """How long audit events are kept (0 is for ever), and where else they go: nowhere in this version."""

    retention_days: int = Field(0, ge=0)
    syslog: Off = None
