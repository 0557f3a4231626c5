"""A Gemma 3 that takes images, in this process, on one device or on several."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoModelForImageTextToText, AutoProcessor

from node.config import FindingsModelSection
from node.domain import Abilities, Cost, Likelihood, ModelIdentity, Question, Reply
from node.errors import ModelOutputError, ModelUnavailable
from node.inference.chat_prompt import ChatPrompt, Prompt
from node.inference.checkpoints import Manifest, ModelKind, manifest, resolve_checkpoint
from node.inference.decoder import Decoder
from node.inference.grammar import Grammars, Held
from node.inference.identity import model_identity, scorer_sha256
from node.inference.quantization import NONE, quantized
from node.inference.torch_runtime import choose_device, choose_dtype, load_weights, loading

YES, NO = ("Yes", "yes"), ("No", "no")
LONGEST = 32768
"""Tokens of question and reply: what MedGemma was trained with."""
BATCH = {True: 4, False: 1}
"""Replies at a time on a CUDA device and on a CPU, which gains nothing from more."""
DRAFTS = {True: 0, False: 4}
"""Tokens checked ahead in a step; whether that pays on a CUDA device nobody measured yet."""


class Gemma:
    """Implements ``interfaces.VisionLanguageModel``. Replies that are waited for at a time share the device."""

    abilities = Abilities(json_schema=True, logprobs=True, several_images=True)

    def __init__(
        self, *, model: Any, processor: Any, directory: Path, described: Manifest, quantization: str = NONE,
        cache_dir: Path | None = None, batch: int = 1, drafts: int = 0,
    ) -> None:
        """Writes up to ``batch`` replies at a time; ``drafts`` tokens are checked ahead in each step."""
        self.name, self.batch = described.name, batch
        self.prompt = ChatPrompt(processor, model.generation_config)
        self._model, self._directory, self._described = model, directory, described
        self._cache_dir, self._quantization = cache_dir, quantization
        self._engine = engine_of(model, quantization)
        self._identities: dict[str, ModelIdentity] = {}
        self._grammars = Grammars(
            processor.tokenizer, model.config.text_config.vocab_size, self.prompt.stops, str(directory))
        self._longest = min(LONGEST, model.config.text_config.max_position_embeddings)
        self._decoder = Decoder(model, self.prompt, self.name, batch=batch, drafts=drafts)

    @classmethod
    def load(cls, section: FindingsModelSection, cache_dir: Path | None = None) -> Gemma:
        """The configured checkpoint.

        Raises:
            ModelUnavailable: it is missing or unusable.
            ConfigurationError: device or quantization cannot work.
        """
        directory = resolve_checkpoint(section.checkpoint, ModelKind.FINDINGS)
        described = manifest(directory)
        spread = section.device == "balanced"
        device = choose_device("cuda" if spread else section.device, "models.findings.device")
        dtype = choose_dtype(section.dtype, device, directory)
        options = quantized(section.quantization, device, dtype)
        if spread or options:
            options["device_map"] = "balanced" if spread else {"": device}
        with loading(directory):
            processor = AutoProcessor.from_pretrained(directory, backend="pil", local_files_only=True)
        cuda = device.type == "cuda"
        return cls(model=load_weights(AutoModelForImageTextToText, directory, dtype, device, **options),
                   processor=processor, directory=directory, described=described, quantization=section.quantization,
                   cache_dir=cache_dir, batch=section.batch or BATCH[cuda], drafts=DRAFTS[cuda])

    def identity(self, prompt_sha256: str) -> ModelIdentity:
        """See ``interfaces.VisionLanguageModel``."""
        if prompt_sha256 not in self._identities:
            scorer = scorer_sha256(self._directory, prompt_sha256, self._cache_dir)
            if self._quantization != NONE:
                scorer = hashlib.sha256(f"{scorer} {self._quantization}".encode()).hexdigest()
            self._identities[prompt_sha256] = model_identity(self._described, scorer, {}, self._engine)
        return self._identities[prompt_sha256]

    def prepare(self, question: Question) -> None:
        """See ``interfaces.VisionLanguageModel``. Raises ModelUnavailable."""
        if question.json_schema is not None:
            self._grammars.compiled(question.json_schema)
        try:
            tokens = self._read(self.prompt.length(question), question.max_new_tokens)
        except ModelOutputError as error:
            raise ModelUnavailable(
                f"{error}; lower max_new_tokens or images.at_most of the findings prompt") from error
        self._decoder.prepare(tokens)

    def ask(self, question: Question) -> Reply:
        """See ``interfaces.VisionLanguageModel``. Greedy: the most likely token, always."""
        begun = time.monotonic()
        prompt = self._prompt_of(question)
        held = None if question.json_schema is None else Held(self._grammars.compiled(question.json_schema))
        written = self._decoder.submit(prompt, question.max_new_tokens, held).result()
        return Reply(text=self.prompt.text(written.tokens), truncated=written.tokens[-1] not in self.prompt.stops,
                     cost=Cost(prompt=prompt.ids.shape[1], reused=written.reused, written=len(written.tokens),
                               seconds=time.monotonic() - begun))

    def likelihood_of_yes(self, question: Question) -> Likelihood:
        """See ``interfaces.VisionLanguageModel``."""
        begun = time.monotonic()
        ids = [self.prompt.ids_of(words) for words in (YES, NO)]
        if not all(ids):
            raise ModelOutputError(f"{self.name}: yes and no are not one token each: it tells no likelihoods")
        prompt = self._prompt_of(question)
        scores, reused = self._decoder.first_scores(prompt)
        yes, no = (scores[found].logsumexp(0) for found in ids)
        return Likelihood(yes=float((yes - no).sigmoid()), cost=Cost(
            prompt=prompt.ids.shape[1], reused=reused, seconds=time.monotonic() - begun))

    def close(self) -> None:
        """Finish what is asked, and stop."""
        self._decoder.close()

    def _prompt_of(self, question: Question) -> Prompt:
        prompt = self.prompt.of(question)
        self._read(prompt.ids.shape[1], question.max_new_tokens)
        return prompt

    def _read(self, asked: int, budget: int) -> int:
        """Tokens of question and reply, if it can read so many."""
        if asked + budget > self._longest:
            raise ModelOutputError(
                f"{self.name}: question and reply need {asked + budget} tokens, it reads {self._longest}")
        return asked + budget


def engine_of(model: Any, quantization: str) -> str:
    """What runs it, in words."""
    words = [f"transformers {transformers.__version__}", str(model.dtype).removeprefix("torch.")]
    return ", ".join(words if quantization == NONE else [*words, quantization])
