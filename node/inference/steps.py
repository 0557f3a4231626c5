"""One step of all slots: from the tokens that came to the scores of those that come next."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from node.inference.forms import Form, quickest
from node.inference.slots import Slots

Step = Callable[[Tensor], Tensor]
"""Tokens (slots, tokens) to scores (slots, tokens, vocabulary); keys and values are written on the way."""

log = logging.getLogger(__name__)


def stepped(model: Any, slots: Slots, tokens: Tensor) -> Tensor:
    """The plain step."""
    count = tokens.shape[1]
    states = model.model.language_model(
        input_ids=tokens, attention_mask=slots.masks(count), position_ids=slots.positions(count),
        past_key_values=slots, use_cache=True).last_hidden_state
    scores: Tensor = model.lm_head(states)
    return scores


class Replayed:
    """A step as a CUDA graph: its shapes and addresses never change."""

    def __init__(self, step: Step, tokens: Tensor) -> None:
        self._tokens = tokens.clone()
        side: Any = torch.cuda.Stream(tokens.device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(tokens.device))
        with torch.cuda.stream(side):
            for _ in range(2):
                step(self._tokens)
        torch.cuda.current_stream(tokens.device).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._scores = step(self._tokens)

    def __call__(self, tokens: Tensor) -> Tensor:
        self._tokens.copy_(tokens)
        self._graph.replay()
        return self._scores


def step_for(model: Any, slots: Slots, width: int) -> Step:
    """The quickest way that the device has; ``width`` is how many tokens of each slot a step takes.

    On one CUDA device forms are tried, which takes a minute or more; elsewhere the plain one is the only one. The
    trial writes into empty slots.
    """
    plain = partial(stepped, model, slots)
    if slots.at.device.type != "cuda" or len({keys.device for keys in slots.keys}) > 1:
        return plain
    tokens = torch.zeros((slots.count, width), dtype=torch.long, device=slots.at.device)
    # Not dynamic: one shape is all there is. Graphs are captured here, so that the compiler need not.
    compiled = torch.compile(plain, dynamic=False)
    chosen = quickest(
        [Form("eager", lambda: plain), Form("compiled", lambda: compiled),
         Form("CUDA graph", lambda: Replayed(plain, tokens)),
         Form("compiled, CUDA graph", lambda: Replayed(compiled, tokens))],
        tokens, lambda: torch.cuda.synchronize(slots.at.device))
    log.info("decoding runs as %s, %.0f steps/s", chosen.name, chosen.rate / slots.count,
             extra={"action": "model.form", "form": chosen.name})
    return chosen.forward
