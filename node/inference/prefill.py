"""Prefill: what a Gemma computes of a question before it writes, the images' part once for all their questions.

The part up to the last image and the rest are always computed one after the other, so that a reply is the same
whether the first part was there already or not.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from node.inference.chat_prompt import Prompt

KEPT = 8
"""Parts with images, at most: those of the studies that are being asked about."""
KEPT_BYTES = 4 << 30
"""Of keys and values; a radiograph has 40 MB of them on the 4B model, a volume of 85 slices 3 GB."""


@dataclass(frozen=True, kw_only=True)
class Filled:
    """Keys and values by layer, (1, heads, tokens, width)."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    tokens: int

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(one.nbytes for one in (*self.keys, *self.values))


@dataclass(frozen=True, kw_only=True)
class Opening:
    """A question as it stands before the reply: the scores of the first token, (vocabulary,)."""

    filled: Filled
    scores: Tensor
    reused: int


class Prefill:
    """Computes questions, and keeps the parts with images, the last used ones. Not thread-safe."""

    def __init__(self, model: Any, kept_bytes: int = KEPT_BYTES) -> None:
        self._model, self._kept_bytes = model, kept_bytes
        self._kept: OrderedDict[bytes, Filled] = OrderedDict()

    def open(self, prompt: Prompt) -> Opening:
        """The whole question; its last token is never part of what is reused."""
        shared = shared_tokens(prompt)
        prefix, reused = self._prefix(prompt, shared) if shared else (None, 0)
        cache = DynamicCache() if prefix is None else DynamicCache(list(zip(prefix.keys, prefix.values, strict=True)))
        device = self._model.device
        logits = self._model(
            input_ids=prompt.ids[:, shared:].to(device), past_key_values=cache, use_cache=True, logits_to_keep=1,
            attention_mask=torch.ones_like(prompt.ids, device=device)).logits
        return Opening(filled=_filled(cache), scores=logits[0, -1].float(), reused=reused)

    def _prefix(self, prompt: Prompt, shared: int) -> tuple[Filled, int]:
        key = _key(prompt, shared)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found, shared
        found = self._read(prompt, shared)
        self._keep(key, found)
        return found, 0

    def _read(self, prompt: Prompt, shared: int) -> Filled:
        device, cache = self._model.device, DynamicCache()
        pixels = None if prompt.pixels is None else prompt.pixels.to(device, self._model.dtype)
        self._model.model(
            input_ids=prompt.ids[:, :shared].to(device), token_type_ids=prompt.kinds[:, :shared].to(device),
            pixel_values=pixels, attention_mask=torch.ones((1, shared), dtype=torch.long, device=device),
            past_key_values=cache, use_cache=True)
        return _filled(cache)

    def _keep(self, key: bytes, found: Filled) -> None:
        self._kept[key] = found
        while len(self._kept) > KEPT or (
                len(self._kept) > 1 and sum(one.size for one in self._kept.values()) > self._kept_bytes):
            self._kept.popitem(last=False)


def shared_tokens(prompt: Prompt) -> int:
    """How many tokens there are up to and with the one that closes the last image; 0 without an image."""
    images = prompt.kinds[0].nonzero()
    return 0 if not len(images) else int(images[-1]) + 2


def _key(prompt: Prompt, shared: int) -> bytes:
    digest = hashlib.sha256(prompt.ids[0, :shared].numpy().tobytes())
    if prompt.pixels is not None:
        digest.update(prompt.pixels.numpy().tobytes())
    return digest.digest()


def _filled(cache: DynamicCache) -> Filled:
    keys, values = (tuple(getattr(layer, name) for layer in cache.layers) for name in ("keys", "values"))
    return Filled(keys=keys, values=values, tokens=keys[0].shape[2])
