"""A question as a Gemma reads it: token ids and pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from node.domain import ModelImage, Question
from node.errors import ModelOutputError
from node.inference.preprocessing import model_pixels, square_side

_START_OF_TURN, _END_OF_TURN = "<start_of_turn>", "<end_of_turn>"


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """``ids`` and ``kinds`` (1 at the tokens of an image) are (1, tokens), ``pixels`` (images, 3, side, side)."""

    ids: torch.Tensor
    kinds: torch.Tensor
    pixels: torch.Tensor | None


class ChatPrompt:
    """The processor of a checkpoint: chat template, tokenizer and image normalisation."""

    def __init__(self, processor: Any, generation_config: Any) -> None:
        self.tokenizer = processor.tokenizer
        self.stops = stop_tokens(generation_config, processor.tokenizer)
        self._processor = processor
        self._controls = control_tokens(processor.tokenizer)
        self._side = square_side(processor.image_processor.size)

    def of(self, question: Question) -> Prompt:
        """The question with the beginning of the model's turn. Raises Undecodable, ModelOutputError."""
        inputs = self._processor.apply_chat_template(
            self._messages(question, [self._part(part) for part in question.content]),
            add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt")
        return Prompt(ids=inputs["input_ids"], kinds=inputs["token_type_ids"], pixels=inputs.get("pixel_values"))

    def length(self, question: Question) -> int:
        """How many tokens :meth:`of` would have; no pixel is touched. Raises ModelOutputError."""
        parts = [self._text(part) if isinstance(part, str) else {"type": "image"} for part in question.content]
        text = self._processor.apply_chat_template(
            self._messages(question, parts), add_generation_prompt=True, tokenize=False)
        return len(self.tokens(text.replace(self._processor.boi_token, self._processor.full_image_sequence)))

    def _messages(self, question: Question, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        messages = [{"role": "user", "content": parts}]
        if question.system:
            messages.insert(0, {"role": "system", "content": [self._text(question.system)]})
        return messages

    def text(self, tokens: list[int]) -> str:
        """What was written, without the token that ended it, which decoding need not skip."""
        said = tokens[:-1] if tokens and tokens[-1] in self.stops else tokens
        text: str = self.tokenizer.decode(said, skip_special_tokens=True)
        return text

    def tokens(self, text: str) -> list[int]:
        """A part of a reply as it would be written."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def ids_of(self, words: tuple[str, ...]) -> list[int]:
        """Ids of those words that are one token each."""
        found = [self.tokens(word) for word in words]
        return sorted({ids[0] for ids in found if len(ids) == 1})

    def _part(self, part: ModelImage | str) -> dict[str, Any]:
        if isinstance(part, str):
            return self._text(part)
        return {"type": "image", "image": Image.fromarray(model_pixels(part, self._side, "tf"))}

    def _text(self, text: str) -> dict[str, Any]:
        """Text is never a control token: it would end a turn, or count as an image."""
        if found := next((token for token in self._controls if token in text), ""):
            raise ModelOutputError(f"a text of the question holds the control token {found!r}; it cannot be asked")
        return {"type": "text", "text": text}


def control_tokens(tokenizer: Any) -> tuple[str, ...]:
    """Those by which it tells turns and images apart, also where its files do not mark them as special."""
    added = tokenizer.added_tokens_decoder.values()
    special = {token.content for token in added if token.special} | set(tokenizer.all_special_tokens)
    return tuple(sorted(special | {_START_OF_TURN, _END_OF_TURN}))


def stop_tokens(generation_config: Any, tokenizer: Any) -> list[int]:
    """Ids that end an answer: the model's own, and the end of its turn."""
    configured = generation_config.eos_token_id
    own = configured if isinstance(configured, list) else [configured, tokenizer.eos_token_id]
    turn = tokenizer.convert_tokens_to_ids(_END_OF_TURN)
    return sorted({token for token in (*own, turn) if token is not None and token != tokenizer.unk_token_id})
