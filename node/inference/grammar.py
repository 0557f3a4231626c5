"""Grammars: JSON schemas compiled for a model's vocabulary, which takes seconds each and is done once."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import torch
import xgrammar

from node.domain import JSON
from node.errors import ModelUnavailable


class Grammars:
    """Compiled schemas of one tokenizer. Thread-safe."""

    def __init__(self, tokenizer: Any, vocabulary: int, stops: Sequence[int], name: str) -> None:
        """``vocabulary`` is the model's, which is larger than the tokenizer's. Raises ModelUnavailable."""
        self._name = name
        self._compiled: dict[str, Any] = {}
        self._lock = threading.Lock()
        try:
            info = xgrammar.TokenizerInfo.from_huggingface(
                tokenizer, vocab_size=vocabulary, stop_token_ids=list(stops))
            self._compiler = xgrammar.GrammarCompiler(info)
        except (RuntimeError, ValueError) as error:
            raise ModelUnavailable(f"{name}: its tokenizer cannot be held to a grammar ({error})") from error

    def compiled(self, schema: JSON) -> Any:
        """The grammar of ``schema``: compact JSON, its keys in order. Raises ModelUnavailable."""
        text = json.dumps(schema)
        with self._lock:
            if text not in self._compiled:
                self._compiled[text] = self._compile(text)
            return self._compiled[text]

    def _compile(self, text: str) -> Any:
        try:
            return self._compiler.compile_json_schema(text, any_whitespace=False, separators=(",", ":"))
        except (RuntimeError, ValueError) as error:
            raise ModelUnavailable(f"{self._name}: cannot be held to this JSON schema ({error})") from error


class Held:
    """One reply's way through a grammar."""

    def __init__(self, compiled: Any) -> None:
        self._matcher = xgrammar.GrammarMatcher(compiled)
        self._mask = xgrammar.allocate_token_bitmask(1, compiled.tokenizer_info.vocab_size)

    def mask(self, scores: torch.Tensor) -> None:
        """Take every token that may not come next out of ``scores``, (vocabulary,), in place."""
        if not self._matcher.is_terminated():
            self._matcher.fill_next_token_bitmask(self._mask, 0)
            xgrammar.apply_token_bitmask_inplace(scores.unsqueeze(0), self._mask.to(scores.device))

    def accept(self, token: int) -> None:
        """The token that came."""
        if not self._matcher.is_terminated():
            accepted = self._matcher.accept_token(token)
            assert accepted, f"token {token} was masked"
