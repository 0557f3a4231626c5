"""Sections about what is done with a study: the models, and the pipelines that use them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

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


class FindingsModelSection(Section):
    """The MedGemma checkpoint; ``none`` turns findings off."""

    backend: Literal["transformers", "none"] = "transformers"
    checkpoint: str = "demo"
    url: str = ""
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"


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
    reports: tuple[ReportKind, ...] = ()
    destinations: tuple[str, ...] = ()
