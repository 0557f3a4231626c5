"""All sections together, and what they ask of each other."""

from __future__ import annotations

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from node.config.analysis import ModelsSection, PipelineSection
from node.config.delivery import Callback, DeliverySection, Destination, ReportsSection
from node.config.installation import (
    AuditSection,
    DatabaseSection,
    NodeSection,
    RetentionSection,
    WebSection,
    WorklistSection,
)
from node.config.priors import NOBODY, PriorSource, PriorSources
from node.config.receiving import ReceiveSection, StudySection
from node.domain import IntendedUse, ReportProfile


class Config(BaseSettings):
    """All settings of one node."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="AINODE__", env_nested_delimiter="__"
    )

    node: NodeSection = NodeSection()
    database: DatabaseSection = DatabaseSection()
    receive: ReceiveSection = ReceiveSection()
    study: StudySection = StudySection()
    models: ModelsSection = ModelsSection()
    pipelines: tuple[PipelineSection, ...] = Field((PipelineSection(),), min_length=1)
    reports: ReportsSection = ReportsSection()
    destinations: tuple[Destination, ...] = ()
    peers: tuple[Callback, ...] = ()
    delivery: DeliverySection = DeliverySection()
    retention: RetentionSection = RetentionSection()
    priors: PriorSources = ()
    worklist: WorklistSection = WorklistSection()
    web: WebSection = WebSection()
    audit: AuditSection = AuditSection()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings

    @model_validator(mode="after")
    def names_are_known(self) -> Config:
        names = [destination.name for destination in self.destinations]
        sources = [source.name for source in self.priors]
        for section, used in (("destinations", names), ("priors", sources),
                              ("pipelines", [pipeline.name for pipeline in self.pipelines])):
            if len(set(used)) != len(used):
                raise ValueError(f"{section}: two have the same name in {used}")
        for pipeline in self.pipelines:
            unknown = set(pipeline.destinations) - set(names)
            if unknown:
                raise ValueError(f"pipelines.{pipeline.name}.destinations: {sorted(unknown)} not in destinations")
            if pipeline.priors not in ("", NOBODY, *sources):
                raise ValueError(f"pipelines.{pipeline.name}.priors: {pipeline.priors!r} not in priors, nor {NOBODY!r}")
        return self

    @model_validator(mode="after")
    def commitment_has_an_archive(self) -> Config:
        archive = self.receive.storage_commitment.archive
        if archive and archive not in {one.name for one in self.destinations}:
            raise ValueError(f"receive.storage_commitment.archive: {archive!r} is not in destinations")
        return self

    @model_validator(mode="after")
    def clinical_use_is_validated(self) -> Config:
        if self.models.allow_unvalidated and self.node.intended_use is IntendedUse.CLINICAL:
            raise ValueError("models.allow_unvalidated: true is for research only; node.intended_use is clinical")
        return self

    def prior_source(self, pipeline: PipelineSection) -> PriorSource | None:
        """Where earlier studies for a pipeline are asked for: the one it names, else the first; None for nobody."""
        named = (source for source in self.priors if pipeline.priors in ("", source.name))
        return next(named, None)

    @property
    def findings_prompts(self) -> frozenset[str]:
        """Every findings prompt that a pipeline names."""
        return frozenset(name for section in self.pipelines for name in section.findings_prompts)

    @property
    def profile(self) -> ReportProfile:
        """``reports.profile``, or its default: draft_report in research, triage_only in clinical use."""
        if self.reports.profile is not None:
            return self.reports.profile
        clinical = self.node.intended_use is IntendedUse.CLINICAL
        return ReportProfile.TRIAGE_ONLY if clinical else ReportProfile.DRAFT_REPORT
