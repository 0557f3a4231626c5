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

    def accept(self, token: int) -> None:
        """The token that came."""
        if not self._matcher.is_terminated():
            accepted = self._matcher.accept_token(token)
            assert accepted, f"token {token} was masked"

    def forced(self) -> str:
        """Text that has to follow; '' where there is a choice."""
        found: str = "" if self._matcher.is_terminated() else self._matcher.find_jump_forward_string()
        return found

    def masks(self, drafts: Sequence[int], into: torch.Tensor, row: int) -> list[int]:
        """Write which tokens may come next, and after each of ``drafts``, into rows from ``row`` on; the drafts that
        the grammar allows."""
        allowed: list[int] = []
        for draft in (*drafts, None):
            if self._matcher.is_terminated():
                break
            self._matcher.fill_next_token_bitmask(into, row + len(allowed))
            if draft is None or not self._matcher.accept_token(draft):
                break
            allowed.append(draft)
        if allowed:
            self._matcher.rollback(len(allowed))
        return allowed


def anything(rows: int, vocabulary: int) -> torch.Tensor:
    """A mask of so many rows that forbids nothing."""
    mask: torch.Tensor = xgrammar.allocate_token_bitmask(rows, vocabulary)
    return mask


def forbid(scores: torch.Tensor, mask: torch.Tensor) -> None:
    """Take what ``mask`` forbids out of ``scores``, (rows, vocabulary), in place."""
    xgrammar.apply_token_bitmask_inplace(scores, mask.to(scores.device))
