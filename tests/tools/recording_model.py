"""A vision-language model that writes down what it is asked and replies what a test tells it to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from node.domain import JSON, Abilities, Likelihood, ModelIdentity, Question, Reply
from node.errors import ModelOutputError
from tests.tools.fakes import identity

WORD: JSON = {"presence": "present", "side": "left", "certainty": "probable"}

ABLE = Abilities(json_schema=True, logprobs=True, several_images=True)


def report(*present: str, **more: Any) -> str:
    """A reply in which these words of the vocabulary are present."""
    return json.dumps({"findings": [{"finding": word, **WORD} for word in present], "impression": "Seen.",
                       "recommendation": "", **more})


@dataclass
class RecordingModel:
    """Implements ``interfaces.VisionLanguageModel``."""

    replies: Callable[[Question], str] = lambda _question: report()
    yes: Mapping[str, float] = field(default_factory=dict)
    abilities: Abilities = field(default_factory=lambda: ABLE)
    demo: bool = False
    name: str = "recording"
    batch: int = 1
    prepared: list[Question] = field(default_factory=list)
    asked: list[Question] = field(default_factory=list)
    asked_for_yes: list[Question] = field(default_factory=list)

    def identity(self, prompt_sha256: str) -> ModelIdentity:
        return identity(f"{self.name}-{prompt_sha256[:8]}", demo=self.demo)

    def prepare(self, question: Question) -> None:
        self.prepared.append(question)

    def ask(self, question: Question) -> Reply:
        self.asked.append(question)
        return Reply(text=self.replies(question), truncated=False)

    def likelihood_of_yes(self, question: Question) -> Likelihood:
        if not self.abilities.logprobs:
            raise ModelOutputError(f"{self.name}: does not tell how likely a word is")
        self.asked_for_yes.append(question)
        text = question.content[-1]
        return Likelihood(yes=next((value for word, value in self.yes.items() if word in str(text)), 0.5))
