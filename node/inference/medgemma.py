"""MedGemma: describes the images of a study, held to the form of an answer while it writes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from node.config import FindingsModelSection
from node.domain import Findings, FindingsPrompt, ModelIdentity, ModelImage, Question
from node.errors import ModelOutputError, NotEvaluable
from node.inference.answer import VOCABULARY, Answer, parse, schema
from node.inference.backends import opened
from node.interfaces import VisionLanguageModel

BLANK = ModelImage(pixels=np.zeros((8, 8, 3), np.uint8), sop_class_uid="", sop_instance_uid="",
                   series_instance_uid="", may_identify=False)

log = logging.getLogger(__name__)


class MedGemma:
    """Asks one prompt file's question about images; implements ``interfaces.FindingsModel``. Thread-safe."""

    prompt: FindingsPrompt

    def __init__(
        self, model: VisionLanguageModel, prompt: FindingsPrompt, vocabulary: Mapping[str, str] = VOCABULARY
    ) -> None:
        self.prompt, self.batch = prompt, model.batch
        self._model = model
        self._vocabulary = vocabulary
        self._schema = schema(vocabulary)
        self.demo = model.identity(prompt.sha256).demo
        model.prepare(self.question([BLANK], prompt.max_new_tokens))

    @classmethod
    def load(
        cls,
        section: FindingsModelSection,
        prompt: FindingsPrompt,
        vocabulary: Mapping[str, str] = VOCABULARY,
        cache_dir: Path | None = None,
    ) -> MedGemma:
        """One prompt with a model of its own. Raises as :func:`node.inference.backends.opened`."""
        return cls(opened(section, cache_dir, {}), prompt, vocabulary)

    @property
    def identity(self) -> ModelIdentity:
        """Who speaks: the model with this prompt."""
        return self._model.identity(self.prompt.sha256)

    def describe(self, images: Sequence[ModelImage]) -> Findings:
        """One validated answer about all images, in their order. A refused answer is asked for once more.

        Raises:
            ModelOutputError: both answers were empty, truncated or invalid.
            NotEvaluable: there is no image.
            Others: see ``interfaces.VisionLanguageModel.ask``.
        """
        if not images:
            raise NotEvaluable("no image for the findings model")
        budget = self.prompt.max_new_tokens
        try:
            answer = self._answer(images, budget)
        except ModelOutputError as error:
            log.warning("answer refused, asked again: %s", error, extra={"action": "findings.retry"})
            answer = self._answer(images, 2 * budget)
        return Findings(
            model=self.identity,
            prompt=self.prompt.name,
            findings=tuple(statement.value(self._vocabulary) for statement in answer.findings),
            impression=answer.impression,
            recommendation=answer.recommendation,
        )

    def _answer(self, images: Sequence[ModelImage], budget: int) -> Answer:
        reply = self._model.ask(self.question(images, budget))
        if reply.truncated:
            raise ModelOutputError(f"{self._model.name}: the answer did not end within {budget} tokens")
        return parse(reply.text, self._vocabulary)

    def question(self, images: Sequence[ModelImage], budget: int) -> Question:
        """What is asked about ``images``: they come first, as in training."""
        return Question(content=(*images, self.prompt.instruction), system=self.prompt.system,
                        max_new_tokens=budget, json_schema=self._schema)
