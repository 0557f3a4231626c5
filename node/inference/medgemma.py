"""MedGemma: describes the images of a study, held to the form of an answer while it writes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from node.config import FindingsModelSection
from node.domain import Findings, FindingsPrompt, ModelIdentity, ModelImage, OrderData, Question, Showing
from node.errors import ModelOutputError, ModelUnavailable, NotEvaluable
from node.inference import wording
from node.inference.answer import VOCABULARY, parse, schema
from node.inference.backends import opened
from node.interfaces import VisionLanguageModel

BLANK = ModelImage(pixels=np.zeros((8, 8, 3), np.uint8), sop_class_uid="", sop_instance_uid="",
                   series_instance_uid="", may_identify=False)

log = logging.getLogger(__name__)


class MedGemma:
    """Asks one prompt file's questions about images; implements ``interfaces.FindingsModel``. Thread-safe."""

    prompt: FindingsPrompt

    def __init__(self, model: VisionLanguageModel, prompt: FindingsPrompt) -> None:
        """Raises ModelUnavailable: the model cannot answer this prompt."""
        self.prompt, self.batch = prompt, model.batch
        self._model = model
        self._vocabulary = prompt.vocabulary or VOCABULARY
        self._schema = schema(self._vocabulary, prompt.answer)
        self.demo = model.identity(prompt.sha256).demo
        if reason := untaught(model.name, self.demo, prompt):
            raise ModelUnavailable(reason)
        model.prepare(self.question([BLANK] * prompt.images.at_most, prompt.max_new_tokens))

    @classmethod
    def load(
        cls, section: FindingsModelSection, prompt: FindingsPrompt, cache_dir: Path | None = None
    ) -> MedGemma:
        """One prompt with a model of its own. Raises as :func:`node.inference.backends.opened`."""
        return cls(opened(section, cache_dir, {}), prompt)

    @property
    def identity(self) -> ModelIdentity:
        """Who speaks: the model with this prompt."""
        return self._model.identity(self.prompt.sha256)

    def describe(self, images: Sequence[ModelImage], order: OrderData | None = None) -> Findings:
        """One validated answer about all images, in their order. A refused answer is asked for once more.

        Raises:
            ModelOutputError: both answers were empty, truncated or invalid.
            NotEvaluable: there is no image, or not as many as the prompt is about.
            Others: see ``interfaces.VisionLanguageModel.ask``.
        """
        self._check(images)
        budget = self.prompt.max_new_tokens
        try:
            return self._answer(images, budget, order)
        except ModelOutputError as error:
            log.warning("answer refused, asked again: %s", error, extra={"action": "findings.retry"})
            return self._answer(images, 2 * budget, order)

    def likelihoods(self, images: Sequence[ModelImage]) -> dict[str, float]:
        """See ``interfaces.FindingsModel``. What the images are is computed once for all questions."""
        self._check(images)
        if not self._model.abilities.logprobs:
            raise ModelOutputError(f"{self._model.name}: does not tell how likely a word is")
        asked = {key: wording.asked_for_yes(self.prompt, images, word) for word, key in self._vocabulary.items()}
        return {key: self._model.likelihood_of_yes(question).yes for key, question in asked.items()}

    def question(self, images: Sequence[ModelImage], budget: int) -> Question:
        """What is asked about ``images`` alone."""
        return wording.asked(self.prompt, images, self._schema, budget)

    def _answer(self, images: Sequence[ModelImage], budget: int, order: OrderData | None) -> Findings:
        reply = self._model.ask(
            self.question(images, budget) if order is None else
            wording.asked_with_order(self.prompt, images, self._schema, budget, order))
        if reply.truncated:
            raise ModelOutputError(f"{self._model.name}: the answer did not end within {budget} tokens")
        told = parse(reply.text, self._vocabulary, self.prompt.answer)
        return Findings(
            model=self.identity, prompt=self.prompt.name, findings=told.findings, impression=told.impression,
            recommendation=told.recommendation, urgency=told.urgency, changes=told.changes, criteria=told.criteria)

    def _check(self, images: Sequence[ModelImage]) -> None:
        shown = self.prompt.images
        if not images:
            raise NotEvaluable("no image for the findings model")
        if shown.shows is Showing.PAIR and len(images) != 2:
            raise NotEvaluable(f"prompt {self.prompt.name!r} compares an earlier image with the current one")
        if len(images) > shown.at_most:
            raise NotEvaluable(f"{len(images)} images for prompt {self.prompt.name!r}, which is about "
                               f"{shown.at_most} at most")
        if len(images) > 1 and not self._model.abilities.several_images:
            raise ModelOutputError(f"{self._model.name}: takes one image in a question, "
                                   f"prompt {self.prompt.name!r} has {len(images)}")


def untaught(name: str, demo: bool, prompt: FindingsPrompt) -> str:
    """Why a model is not asked a prompt, '' where it is: a demo model knows only what it was taught."""
    if prompt.demo or not demo:
        return ""
    return (f"{name} is a demo model, which was taught no other prompts than those with demo: true; "
            f"prompt {prompt.name!r} needs a real checkpoint in models.findings.checkpoint")
