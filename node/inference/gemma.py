"""A Gemma 3 that takes images, in this process, on one device or on several."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForImageTextToText, AutoProcessor, LogitsProcessorList
from xgrammar.contrib.hf import LogitsProcessor

from node.config import FindingsModelSection
from node.domain import JSON, Abilities, Cost, Likelihood, ModelIdentity, Question, Reply
from node.inference.chat_prompt import ChatPrompt
from node.inference.checkpoints import Manifest, ModelKind, manifest, resolve_checkpoint
from node.inference.grammar import Grammars
from node.inference.identity import model_identity, scorer_sha256
from node.inference.quantization import quantized
from node.inference.torch_runtime import choose_device, choose_dtype, load_weights, loading, working_device

YES, NO = ("Yes", "yes"), ("No", "no")


class Gemma:
    """Implements ``interfaces.VisionLanguageModel``. One reply is written at a time."""

    abilities = Abilities(json_schema=True, logprobs=True, several_images=True)

    def __init__(
        self, *, model: Any, processor: Any, directory: Path, described: Manifest, engine: str,
        cache_dir: Path | None = None,
    ) -> None:
        self.name = described.name
        self.prompt = ChatPrompt(processor, model.generation_config)
        self._model, self._directory, self._described = model, directory, described
        self._engine, self._cache_dir = engine, cache_dir
        self._grammars = Grammars(
            processor.tokenizer, model.config.text_config.vocab_size, self.prompt.stops, str(directory))
        self._one_at_a_time = threading.Lock()

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
        words = [f"transformers {transformers.__version__}", str(dtype).removeprefix("torch.")]
        words += [section.quantization] if section.quantization != "none" else []
        return cls(model=load_weights(AutoModelForImageTextToText, directory, dtype, device, **options),
                   processor=processor, directory=directory, described=described, engine=", ".join(words),
                   cache_dir=cache_dir)

    def identity(self, prompt_sha256: str) -> ModelIdentity:
        """See ``interfaces.VisionLanguageModel``."""
        scorer = scorer_sha256(self._directory, prompt_sha256, self._cache_dir)
        return model_identity(self._described, scorer, {}, self._engine)

    def prepare(self, json_schema: JSON) -> None:
        """See ``interfaces.VisionLanguageModel``. Raises ModelUnavailable."""
        self._grammars.compiled(json_schema)

    def close(self) -> None:
        """Nothing is held but memory."""

    @torch.inference_mode()
    def ask(self, question: Question) -> Reply:
        """See ``interfaces.VisionLanguageModel``. Greedy: the most likely token, always."""
        begun = time.monotonic()
        inputs = self._inputs(question)
        asked = inputs["input_ids"].shape[1]
        held = [] if question.json_schema is None else [LogitsProcessor(self._grammars.compiled(question.json_schema))]
        with self._one_at_a_time, working_device(self.name):
            written = self._model.generate(
                **inputs, max_new_tokens=question.max_new_tokens, do_sample=False, eos_token_id=self.prompt.stops,
                pad_token_id=self.prompt.tokenizer.pad_token_id, logits_processor=LogitsProcessorList(held),
            )[0, asked:].tolist()
        return Reply(text=self.prompt.text(written), truncated=written[-1] not in self.prompt.stops,
                     cost=Cost(prompt=asked, written=len(written), seconds=time.monotonic() - begun))

    @torch.inference_mode()
    def likelihood_of_yes(self, question: Question) -> Likelihood:
        """See ``interfaces.VisionLanguageModel``."""
        begun = time.monotonic()
        inputs = self._inputs(question)
        with self._one_at_a_time, working_device(self.name):
            likely = self._model(**inputs, logits_to_keep=1).logits[0, -1].float().softmax(-1)
        said = [float(likely[self.prompt.ids_of(words)].sum()) for words in (YES, NO)]
        return Likelihood(yes=said[0] / sum(said), cost=Cost(
            prompt=inputs["input_ids"].shape[1], seconds=time.monotonic() - begun))

    def _inputs(self, question: Question) -> dict[str, torch.Tensor]:
        asked = self.prompt.of(question)
        inputs = {"input_ids": asked.ids, "token_type_ids": asked.kinds,
                  "attention_mask": torch.ones_like(asked.ids)}
        if asked.pixels is not None:
            inputs["pixel_values"] = asked.pixels.to(self._model.dtype)
        return {name: value.to(self._model.device) for name, value in inputs.items()}
