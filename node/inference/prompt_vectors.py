"""Prompt vectors: the directions in which a SigLIP model's text tower sees each finding.

They depend on checkpoint and prompt set alone, so they are computed once and kept on disk with the
model's logit scale and bias; serving then needs no text tower (half of MedSigLIP's weights).
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoTokenizer, SiglipModel

from node.domain import PromptSet
from node.errors import PromptSetRefused
from node.inference import self_test
from node.inference.torch_runtime import load_weights, loading

_BATCH = 32

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PromptVectors:
    """L2-normalised mean directions (F, D), float32 on the CPU, in the order of ``keys``."""

    keys: tuple[str, ...]
    positive: Tensor
    negative: Tensor
    #: Natural logarithm, as the checkpoint stores it.
    logit_scale: float
    logit_bias: float
    #: Kinds of picture of the gate, and their directions (G, D); none without a gate.
    gate_keys: tuple[str, ...] = ()
    gate: Tensor | None = None

    @property
    def contrast(self) -> Tensor:
        """(D, F): a normalised image vector times this is logit(positive) - logit(negative); the bias cancels."""
        return (self.positive - self.negative).T * float(np.exp(self.logit_scale))

    @property
    def gate_logits(self) -> Tensor:
        """(D, G): a normalised image vector times this is one logit per kind of picture; the bias is the same in all.

        Only where there is a gate.
        """
        if self.gate is None:
            raise ValueError("the prompt set has no gate")
        return self.gate.T * float(np.exp(self.logit_scale))


def prompt_vectors(
    directory: Path, prompt_set: PromptSet, scorer: str, cache_dir: Path, device: torch.device
) -> PromptVectors:
    """Vectors of a checkpoint and prompt set, from the cache where ``scorer`` (their digest, hex) has been seen.

    Raises:
        ModelUnavailable: the checkpoint cannot be loaded.
        PromptSetRefused: a prompt is too long, or the model fails the self-test on the prompts.
    """
    file = cache_dir / "prompt_vectors" / f"{scorer}.npz"
    keys = tuple(finding.key for finding in prompt_set.findings)
    vectors = _read(file, keys)
    if vectors is None:
        log.info("prompts are embedded", extra={"action": "model.embed_prompts", "prompt_set": prompt_set.name})
        vectors = _embed(directory, prompt_set, device)
        _write(file, vectors)
    return vectors


def _embed(directory: Path, prompt_set: PromptSet, device: torch.device) -> PromptVectors:
    with loading(directory):
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    model = load_weights(SiglipModel, directory, torch.float32, device)
    domains = prompt_set.gate.domains if prompt_set.gate else ()
    vectors = PromptVectors(
        keys=tuple(finding.key for finding in prompt_set.findings),
        positive=_means(model, tokenizer, [finding.positive for finding in prompt_set.findings]),
        negative=_means(model, tokenizer, [finding.negative for finding in prompt_set.findings]),
        logit_scale=float(model.logit_scale),
        logit_bias=float(model.logit_bias),
        gate_keys=tuple(domain.key for domain in domains),
        gate=_means(model, tokenizer, [domain.prompts for domain in domains]) if domains else None,
    )
    _self_test(model, tokenizer, vectors, prompt_set)
    return vectors


@torch.inference_mode()
def _means(model: Any, tokenizer: Any, ensembles: Sequence[Sequence[str]]) -> Tensor:
    """(len(ensembles), D): each the normalised mean of its prompts' normalised vectors."""
    tokens = _tokens(tokenizer, [p for e in ensembles for p in e], model.config.text_config.max_position_embeddings)
    rows = [
        functional.normalize(model.get_text_features(input_ids=part.to(model.device)).pooler_output.float(), dim=-1)
        for part in torch.split(tokens, _BATCH)
    ]
    parts = torch.split(torch.cat(rows).cpu(), [len(ensemble) for ensemble in ensembles])
    return functional.normalize(torch.stack([part.mean(dim=0) for part in parts]), dim=-1)


def _tokens(tokenizer: Any, prompts: Sequence[str], length: int) -> Tensor:
    """Input ids (N, length). SigLIP pools the last position, so padding to the full length is part of the model."""
    ids = tokenizer(list(prompts), truncation=False)["input_ids"]
    for prompt, row in zip(prompts, ids, strict=True):
        if len(row) > length:
            raise PromptSetRefused(f"prompt {prompt!r}: {len(row)} tokens, the model reads {length}; shorten it")
    padded = tokenizer(
        list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    )
    ids_tensor: Tensor = padded["input_ids"]
    return ids_tensor


def _self_test(model: Any, tokenizer: Any, vectors: PromptVectors, prompt_set: PromptSet) -> None:
    """Refuse what the text tower alone shows to be wrong, before anything is kept."""
    self_test.check_contrasts(prompt_set, vectors.positive.numpy(), vectors.negative.numpy())
    said = [each for each in prompt_set.findings if each.paraphrase_positive and each.paraphrase_negative]
    if not said:
        return
    other = _means(model, tokenizer, [each.paraphrase_positive for each in said]) - _means(
        model, tokenizer, [each.paraphrase_negative for each in said])
    own = dict(zip(vectors.keys, (vectors.positive - vectors.negative).numpy(), strict=True))
    for finding, contrast in zip(said, other.numpy(), strict=True):
        self_test.check_paraphrase(prompt_set, finding.key, own[finding.key], contrast)


def _read(file: Path, keys: tuple[str, ...]) -> PromptVectors | None:
    try:
        with np.load(file, allow_pickle=False) as stored:
            if tuple(stored["keys"].tolist()) != keys:
                return None
            return PromptVectors(
                keys=keys,
                positive=torch.from_numpy(stored["positive"]),
                negative=torch.from_numpy(stored["negative"]),
                logit_scale=float(stored["logit_scale"]),
                logit_bias=float(stored["logit_bias"]),
                gate_keys=tuple(stored["gate_keys"].tolist()),
                gate=torch.from_numpy(stored["gate"]) if stored["gate_keys"].size else None,
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # not there, or damaged: computed again


def _write(file: Path, vectors: PromptVectors) -> None:
    part = file.with_suffix(".part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            np.savez(
                stream,
                keys=np.array(vectors.keys),
                positive=vectors.positive.numpy(),
                negative=vectors.negative.numpy(),
                logit_scale=vectors.logit_scale,
                logit_bias=vectors.logit_bias,
                gate_keys=np.array(vectors.gate_keys, dtype=np.str_),
                gate=np.zeros((0, 0), np.float32) if vectors.gate is None else vectors.gate.numpy(),
            )
        part.replace(file)
    except OSError as error:
        log.warning("prompt vectors are not kept: %s", error.strerror, extra={"action": "model.prompt_cache"})
