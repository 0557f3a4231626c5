"""MedGemma: describes the images of a study, held to the form of an answer while it writes."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import xgrammar
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
from xgrammar.contrib.hf import LogitsProcessor

from node.config import FindingsModelSection
from node.domain import Findings, FindingsPrompt, ModelIdentity, ModelImage
from node.errors import ModelOutputError, ModelUnavailable, NotEvaluable
from node.inference.answer import VOCABULARY, Answer, parse, schema
from node.inference.checkpoints import ModelKind, manifest, resolve_checkpoint
from node.inference.identity import model_identity, scorer_sha256
from node.inference.preprocessing import model_pixels, square_side
from node.inference.torch_runtime import choose_device, choose_dtype, load_weights, loading, working_device

_END_OF_TURN = "<end_of_turn>"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Generated:
    """What the model wrote. ``truncated``: it was cut off before it ended by itself."""

    text: str
    truncated: bool


class MedGemma:
    """A Gemma 3 with images; implements ``interfaces.FindingsModel``. One answer is written at a time."""

    prompt: FindingsPrompt
    identity: ModelIdentity

    def __init__(
        self, *, model: Any, processor: Any, prompt: FindingsPrompt, identity: ModelIdentity,
        vocabulary: Mapping[str, str],
    ) -> None:
        self.prompt = prompt
        self.identity = identity
        self.demo = identity.demo
        self._vocabulary = vocabulary
        self._model = model
        self._processor = processor
        self._side = square_side(processor.image_processor.size)
        self._stops = stop_tokens(model, processor.tokenizer)
        self._grammar = _compiled(model, processor.tokenizer, self._stops, vocabulary)
        self._one_at_a_time = threading.Lock()

    @classmethod
    def load(
        cls,
        section: FindingsModelSection,
        prompt: FindingsPrompt,
        vocabulary: Mapping[str, str] = VOCABULARY,
        cache_dir: Path | None = None,
    ) -> MedGemma:
        """The configured checkpoint, with the grammar of its answers compiled (seconds on a full vocabulary).

        Raises:
            ModelUnavailable: the checkpoint is missing or unusable.
            ConfigurationError: the device cannot work.
        """
        directory = resolve_checkpoint(section.checkpoint, ModelKind.FINDINGS)
        described = manifest(directory)
        device = choose_device(section.device, "models.findings.device")
        dtype = choose_dtype(section.dtype, device, directory)
        scorer = scorer_sha256(directory, prompt.sha256, cache_dir)
        with loading(directory):
            processor = AutoProcessor.from_pretrained(directory, backend="pil", local_files_only=True)
        return cls(
            model=load_weights(AutoModelForImageTextToText, directory, dtype, device),
            processor=processor,
            prompt=prompt,
            identity=model_identity(described, scorer, {}),
            vocabulary=vocabulary,
        )

    def describe(self, images: Sequence[ModelImage]) -> Findings:
        """One validated answer about all images, in their order. A refused answer is asked for once more.

        Raises:
            ModelOutputError: both answers were empty, truncated or invalid.
            NotEvaluable: there is no image.
            Undecodable: an image is not a uint8 RGB square.
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
        generated = self.generate(images, budget)
        if generated.truncated:
            raise ModelOutputError(f"{self.identity.name}: the answer did not end within {budget} tokens")
        return parse(generated.text, self._vocabulary)

    @torch.inference_mode()
    def generate(self, images: Sequence[ModelImage], budget: int) -> Generated:
        """Greedy text of at most ``budget`` tokens, held to the grammar, not yet validated."""
        inputs = self._inputs(images)
        asked = inputs["input_ids"].shape[1]
        with self._one_at_a_time, working_device(self.identity.name):
            written = self._model.generate(
                **inputs,
                max_new_tokens=budget,
                do_sample=False,
                eos_token_id=self._stops,
                pad_token_id=self._processor.tokenizer.pad_token_id,
                logits_processor=[LogitsProcessor(self._grammar)],  # stateful: a new one for every answer
            )[0, asked:]
        ended = int(written[-1]) in self._stops
        said = written[:-1] if ended else written  # a stop token need not be one that decoding skips
        text = self._processor.tokenizer.decode(said, skip_special_tokens=True)
        return Generated(text=text, truncated=not ended)

    def _inputs(self, images: Sequence[ModelImage]) -> Any:
        pictures = [Image.fromarray(model_pixels(image, self._side, "tf")) for image in images]
        content = [{"type": "image", "image": picture} for picture in pictures]
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": [*content, {"type": "text", "text": self.prompt.instruction}]}
        ]
        if self.prompt.system:
            messages.insert(0, {"role": "system", "content": [{"type": "text", "text": self.prompt.system}]})
        inputs = self._processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        return inputs.to(self._model.device, dtype=self._model.dtype)


def stop_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Ids that end an answer: the model's own, and the end of its turn."""
    configured = model.generation_config.eos_token_id
    own = configured if isinstance(configured, list) else [configured, tokenizer.eos_token_id]
    turn = tokenizer.convert_tokens_to_ids(_END_OF_TURN)
    return sorted({token for token in (*own, turn) if token is not None and token != tokenizer.unk_token_id})


def _compiled(model: Any, tokenizer: Any, stops: list[int], vocabulary: Mapping[str, str]) -> Any:
    """The grammar over the model's vocabulary, which is larger than the tokenizer's."""
    try:
        info = xgrammar.TokenizerInfo.from_huggingface(
            tokenizer, vocab_size=model.config.text_config.vocab_size, stop_token_ids=stops
        )
        return xgrammar.GrammarCompiler(info).compile_json_schema(
            json.dumps(schema(vocabulary)), any_whitespace=False, separators=(",", ":")
        )
    except (RuntimeError, ValueError) as error:
        raise ModelUnavailable(f"{model.name_or_path}: its tokenizer cannot be held to a grammar ({error})") from error
