"""Sections about what comes in: from whom, how it is received, and when a study is complete."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from node.config.section import Section


class Peer(Section):
    """A sender that may associate. ``*`` is any AE title; an empty host is any address.

    ``host`` is a name, an address or a network (``10.1.0.0/16``). With ``certificate`` the peer may come over
    TLS only, with a certificate that bears this name. 0 associations is ``receive.max_associations_per_peer``.
    """

    ae_title: str = Field("*", min_length=1, max_length=16)
    host: str = ""
    certificate: str = ""
    max_associations: int = Field(0, ge=0)

    @field_validator("host")
    @classmethod
    def network_is_one(cls, value: str) -> str:
        if "/" in value:
            ip_network(value)  # its ValueError says what is wrong
        return value


class ReceiveTLS(Section):
    """A second, encrypted port; 0 is off. Certificates are PEM files."""

    port: int = Field(0, ge=0, le=65535)
    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    min_version: Literal["1.2", "1.3"] = "1.2"
    expiry_warning_days: int = Field(30, ge=0)


class CommitmentSCP(Section):
    """Storage commitment for senders, relayed to ``archive``, the name of a destination; empty refuses it."""

    archive: str = ""
    timeout_seconds: float = Field(3600.0, gt=0)


class ReceiveSection(Section):
    """How instances are taken in."""

    engine: Literal["fast", "standard"] = "fast"
    processes: int = Field(1, ge=1, le=16)
    allowed_peers: tuple[Peer, ...] = (Peer(),)
    require_called_ae_title: bool = False
    max_associations: int = Field(50, ge=1)
    max_associations_per_peer: int = Field(30, ge=1)
    max_pdu: int = Field(131072, ge=4096)
    network_timeout_seconds: float = Field(60.0, gt=0)
    min_free_disk_mb: int = Field(1024, ge=0)
    low_disk_mb: int | None = Field(None, ge=0)
    private_sop_classes: tuple[str, ...] = ()
    query_retrieve: bool = True
    storage_commitment: CommitmentSCP = CommitmentSCP()
    tls: ReceiveTLS = ReceiveTLS()

    @property
    def low_disk_watermark_mb(self) -> int:
        """``low_disk_mb``, or its default: twice ``min_free_disk_mb``."""
        return 2 * self.min_free_disk_mb if self.low_disk_mb is None else self.low_disk_mb


class StudySource(Section):
    """The archive that is asked with C-FIND how many instances a study has; an empty AE title asks nobody."""

    ae_title: str = Field("", max_length=16)
    host: str = ""
    port: int = Field(0, ge=0, le=65535)
    ask_again_seconds: float = Field(10.0, gt=0)

    @model_validator(mode="after")
    def can_be_called(self) -> StudySource:
        if self.ae_title and not (self.host and self.port):
            raise ValueError("needs host and port to be asked at")
        return self


class StudySection(Section):
    """When a study is complete, and what it is worth."""

    quiet_seconds: float = Field(5.0, gt=0)
    series_quiet_seconds: float = Field(1.0, gt=0)
    forced_seconds: float = Field(600.0, gt=0)
    historical_hours: float = Field(48.0, gt=0)
    max_versions_per_day: int = Field(10, ge=1)
    source: StudySource = StudySource()
