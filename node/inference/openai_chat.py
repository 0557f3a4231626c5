"""Any OpenAI-compatible server (vLLM, ``transformers serve``) as a vision-language model.

Only what all of them understand is sent: model, messages, max_tokens, temperature 0, and response_format and
logprobs where the server was seen to obey them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from node.config import FindingsModelSection
from node.domain import JSON, Abilities, Cost, Likelihood, ModelIdentity, ModelImage, Question, Reply
from node.errors import ModelOutputError, NotAuthorised
from node.hosts import is_loopback
from node.inference.api_key import api_key
from node.inference.chat_completion import (
    PATH,
    cost_of,
    first_choice,
    held_to,
    image_part,
    likely_words,
    text_part,
    yes_of,
)
from node.inference.checkpoints import ModelKind, Served, served
from node.inference.identity import served_identity
from node.inference.model_server import ModelServer, Patience
from node.inference.probe import probed

TOP = 20
"""Most likely next words that are asked for; most servers refuse to tell more."""
BATCH = 4
"""Servers batch by themselves what comes to them together."""
UNKNOWN = "not probed yet"


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """Which of a server's models is asked, and how. ``side`` in pixels is that of the images it gets."""

    served: Served
    side: int
    #: It runs on this machine.
    local: bool
    #: The site vouches for it: it may see pixels that name the patient, wherever it is.
    trusted: bool
    #: Questions on their way at a time.
    batch: int = 1


class OpenAIChat:
    """A model on a server; implements ``interfaces.VisionLanguageModel``. The server batches by itself."""

    def __init__(self, server: ModelServer, model: ServedModel) -> None:
        self.name = model.served.name
        self.batch = model.batch
        self.demo, self.local = model.served.demo, model.local
        self._server, self._model = server, model
        self._abilities: Abilities | None = None
        self._probing = threading.Lock()

    @classmethod
    def of(cls, section: FindingsModelSection, environment: Mapping[str, str]) -> OpenAIChat:
        """The configured server, not asked anything yet; it may be away.

        Raises:
            ConfigurationError: its key or its certificates cannot be read.
        """
        settings = section.server
        patience = Patience(seconds=settings.timeout_seconds, tries=settings.tries)
        server = ModelServer(section.url, patience, api_key(settings, environment), settings.ca)
        found = served(section.checkpoint, ModelKind.FINDINGS)
        local = is_loopback(urlsplit(section.url).hostname or "")
        return cls(server, ServedModel(
            served=found, side=settings.image_side or found.side, local=local, trusted=settings.trusted,
            batch=section.batch or BATCH))

    @property
    def abilities(self) -> Abilities:
        """What the server was seen to do; asked the first time. Raises ModelServerError."""
        with self._probing:
            if self._abilities is None:
                self._abilities = probed(self._server, self.name)
            return self._abilities

    def prepare(self, question: Question) -> None:
        """Nothing: the server may be away while the node starts."""

    def identity(self, prompt_sha256: str) -> ModelIdentity:
        """By its name; the weights are out of sight. The engine tells what the server was seen to do."""
        told = UNKNOWN if self._abilities is None else str(self._abilities)
        return served_identity(self._model.served, f"{self._server.url}: {told}", prompt_sha256)

    def ask(self, question: Question) -> Reply:
        """See ``interfaces.VisionLanguageModel``."""
        body = self._body(question)
        if question.json_schema is not None and self.abilities.json_schema:
            body |= held_to(question.json_schema)
        choice, cost = self._asked(body)
        text = choice["message"].get("content")
        if not isinstance(text, str):
            raise ModelOutputError(f"{self.name}: the reply has no text")
        return Reply(text=text, truncated=choice.get("finish_reason") != "stop", cost=cost)

    def likelihood_of_yes(self, question: Question) -> Likelihood:
        """See ``interfaces.VisionLanguageModel``."""
        body = self._body(question) | {"max_tokens": 1, "logprobs": True, "top_logprobs": TOP}
        if not self.abilities.logprobs:
            raise ModelOutputError(f"{self.name}: its server does not tell how likely a word is")
        choice, cost = self._asked(body)
        return Likelihood(yes=yes_of(likely_words(choice), self.name), cost=cost)

    def close(self) -> None:
        """Give back its connections."""
        self._server.close()

    def _asked(self, body: JSON) -> tuple[JSON, Cost]:
        begun = time.monotonic()
        answer = self._server.post(PATH, body)
        return first_choice(answer, self._server.url), cost_of(answer, time.monotonic() - begun)

    def _body(self, question: Question) -> JSON:
        messages: list[JSON] = [{"role": "user", "content": [self._part(part) for part in question.content]}]
        if question.system:
            messages.insert(0, {"role": "system", "content": question.system})
        return {"model": self.name, "messages": messages, "temperature": 0, "max_tokens": question.max_new_tokens}

    def _part(self, part: ModelImage | str) -> JSON:
        if isinstance(part, str):
            return text_part(part)
        if part.may_identify and not (self._model.local or self._model.trusted):
            raise NotAuthorised(
                f"instance {part.sop_instance_uid}: its pixels may name the patient (Burned In Annotation), and "
                f"{self._server.url} is on another machine; it is sent only with models.findings.server.trusted: true")
        return image_part(part, self._model.side)
