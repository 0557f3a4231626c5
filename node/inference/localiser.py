"""Localiser: asks a vision-language model that can give boxes where a finding is."""

from __future__ import annotations

import hashlib

from node.domain import Box, ModelIdentity, ModelImage
from node.errors import ModelOutputError
from node.inference import boxes
from node.interfaces import VisionLanguageModel

PROMPT_SHA256 = hashlib.sha256(boxes.INSTRUCTIONS.encode()).hexdigest()


class BoxLocaliser:
    """Implements ``interfaces.Localiser``. Thread-safe."""

    def __init__(self, model: VisionLanguageModel) -> None:
        self._model = model

    @property
    def identity(self) -> ModelIdentity:
        """Who speaks: the model with this question."""
        return self._model.identity(PROMPT_SHA256)

    def locate(self, image: ModelImage, name: str) -> tuple[Box, ...]:
        """See ``interfaces.Localiser``."""
        reply = self._model.ask(boxes.question(image, name))
        if reply.truncated:
            raise ModelOutputError(f"{self._model.name}: the boxes did not end within {boxes.MAX_NEW_TOKENS} tokens")
        return boxes.parse(reply.text, name)
