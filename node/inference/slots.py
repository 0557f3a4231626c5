"""Slots: room for the keys and values of a fixed number of replies of a fixed greatest length.

Every step works on all slots, used or not, in the same shapes: what is computed for one reply does not depend on the
others, and a device can be given the same compiled work each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from node.inference.prefill import Filled

SMALLEST = 256
"""Tokens; lengths are powers of two from here on."""


def length_for(tokens: int) -> int:
    """The length of the slots that take a question and its reply of so many tokens in all."""
    return max(SMALLEST, 1 << (tokens - 1).bit_length())


class Slots:
    """Keys and values by layer, (slots, heads, length, width), and ``at``, (slots,): the position written next.

    It is what a Gemma's decoder takes as ``past_key_values``.
    """

    def __init__(self, model: Any, slots: int, length: int) -> None:
        text = model.config.text_config
        shape = (slots, text.num_key_value_heads, length, text.head_dim)
        where = [layer.self_attn.k_proj.weight.device for layer in model.model.language_model.layers]
        self.count, self.length = slots, length
        self.keys = [torch.zeros(shape, device=device, dtype=model.dtype) for device in where]
        self.values = [torch.zeros(shape, device=device, dtype=model.dtype) for device in where]
        self.at = torch.zeros(slots, dtype=torch.long, device=model.device)
        self._window = text.sliding_window

    def place(self, slot: int, filled: Filled) -> None:
        """Take over what was computed of a question."""
        for own, given in zip((*self.keys, *self.values), (*filled.keys, *filled.values), strict=True):
            own[slot, :, : filled.tokens] = given[0]
        self.at[slot] = filled.tokens

    def move(self, steps: Sequence[int]) -> None:
        """Keep so many of the positions written last, per slot."""
        self.at += torch.tensor(steps, device=self.at.device)

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write (slots, heads, tokens, width) at each slot's position; everything there is of the layer."""
        own_keys, own_values = self.keys[layer], self.values[layer]
        index = self.positions(keys.shape[2]).to(own_keys.device)[:, None, :, None].expand_as(keys)
        own_keys.scatter_(2, index, keys)
        own_values.scatter_(2, index, values)
        return own_keys, own_values

    def positions(self, tokens: int) -> Tensor:
        """(slots, tokens) of the tokens that come next; past the end it is the last one, which nobody reads."""
        return (self.at[:, None] + torch.arange(tokens, device=self.at.device)).clamp(max=self.length - 1)

    def masks(self, tokens: int) -> dict[str, Tensor]:
        """Who may be attended to, by kind of layer: (slots, 1, tokens, length)."""
        positions = self.positions(tokens)[:, None, :, None]
        there = torch.arange(self.length, device=self.at.device)
        full = there <= positions
        return {"full_attention": full, "sliding_attention": full & (there > positions - self._window)}

    def get_seq_length(self, *_: Any) -> int:
        """Asked for by transformers where no positions are given; here they always are."""
        raise NotImplementedError("each slot has a position of its own")
