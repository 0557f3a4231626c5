"""Backends: where the findings model runs, by ``models.findings.backend``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from node.config import FindingsModelSection
from node.inference.gemma import Gemma
from node.inference.openai_chat import OpenAIChat
from node.interfaces import VisionLanguageModel


def opened(
    section: FindingsModelSection, cache_dir: Path | None, environment: Mapping[str, str]
) -> VisionLanguageModel:
    """The configured model; ``environment`` may hold the key of a server.

    Raises:
        ModelUnavailable: the checkpoint is missing or unusable.
        ConfigurationError: device, quantization, key or certificates cannot work.
    """
    if section.backend == "openai":
        return OpenAIChat.of(section, environment)
    return Gemma.load(section, cache_dir)
