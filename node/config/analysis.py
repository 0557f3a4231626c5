"""Sections about what is done with a study: the models, and the pipelines that use them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from node.config.section import Section
from node.domain import ReportKind


class TriageModelSection(Section):
    """The MedSigLIP checkpoint: ``demo``, a local directory, or a hub id."""

    checkpoint: str = "demo"
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    threads: int = Field(1, ge=1)
    max_images: int = Field(32, ge=1)
    early_images: int = Field(8, ge=1)
    operating_points: Path | None = None
    heat_maps: Literal["auto", "always", "never"] = "auto"


class ModelServer(Section):
    """How the model server of ``models.findings.url`` is used. A key is never written here, only where it lies."""

    trusted: bool = False
    api_key_env: str = Field("", pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")
    api_key_file: Path | None = None
    ca: Path | None = None
    image_side: int = Field(0, ge=0, le=4096)
    timeout_seconds: float = Field(120.0, gt=0)
    tries: int = Field(3, ge=1, le=10)

    @model_validator(mode="after")
    def one_key(self) -> ModelServer:
        if self.api_key_env and self.api_key_file:
            raise ValueError("api_key_env and api_key_file cannot both be set")
        return self


class FindingsModelSection(Section):
    """The MedGemma checkpoint, in this process or on a server; ``none`` turns findings off."""

    backend: Literal["transformers", "openai", "none"] = "transformers"
    checkpoint: str = "demo"
    url: str = Field("", pattern=r"^(https?://[^/?#@\s]+(/[^?#@\s]*)?)?$")
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantization: Literal["none", "8bit", "4bit"] = "none"
    batch: int = Field(0, ge=0, le=64)
    context: bool = False
    server: ModelServer = ModelServer()

    @model_validator(mode="after")
    def server_is_named(self) -> FindingsModelSection:
        if self.backend == "openai" and not self.url:
            raise ValueError("backend openai needs url, such as http://127.0.0.1:8000/v1")
        return self


class ModelsSection(Section):
    """Checkpoints and what an unvalidated or demo one may do."""

    triage: TriageModelSection = TriageModelSection()
    findings: FindingsModelSection = FindingsModelSection()
    allow_demo_delivery: bool = False
    allow_unvalidated: bool = False


class Match(Section):
    """Which studies a pipeline takes; an empty list matches anything."""

    modalities: tuple[str, ...] = ("CR", "DX")
    body_parts: tuple[str, ...] = ("CHEST", "THORAX")
    calling_ae_titles: tuple[str, ...] = ()


class PipelineSection(Section):
    """What is done with matching studies. Empty ``reports`` and ``destinations`` mean all configured."""

    name: str = "chest-xray"
    match: Match = Match()
    prompt_set: str = "demo-chest"
    findings_prompt: str = "demo-chest-findings"
    comparison_prompt: str = ""
    reports: tuple[ReportKind, ...] = ()
    destinations: tuple[str, ...] = ()
    priors: str = ""

    @property
    def findings_prompts(self) -> tuple[str, ...]:
        """Every prompt that its findings model is asked with."""
        return tuple(filter(None, (self.findings_prompt, self.comparison_prompt)))
