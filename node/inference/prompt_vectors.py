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
from node.errors import ConfigurationError
from node.inference.torch_runtime import load_weights, loading

_BATCH = 32
#: Cosine from which a finding's positive and negative prompts are the same to the model.
_SAME = 0.9999

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

    @property
    def contrast(self) -> Tensor:
        """(D, F): a normalised image vector times this is logit(positive) - logit(negative); the bias cancels."""
        return (self.positive - self.negative).T * float(np.exp(self.logit_scale))


def prompt_vectors(
    directory: Path, prompt_set: PromptSet, scorer: str, cache_dir: Path, device: torch.device
) -> PromptVectors:
    """Vectors of a checkpoint and prompt set, from the cache where ``scorer`` (their digest, hex) has been seen.

    Raises:
        ModelUnavailable: the checkpoint cannot be loaded.
        ConfigurationError: a prompt is too long, or the model cannot tell presence from absence by the prompts.
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
    vectors = PromptVectors(
        keys=tuple(finding.key for finding in prompt_set.findings),
        positive=_means(model, tokenizer, [finding.positive for finding in prompt_set.findings]),
        negative=_means(model, tokenizer, [finding.negative for finding in prompt_set.findings]),
        logit_scale=float(model.logit_scale),
        logit_bias=float(model.logit_bias),
    )
    _refuse_blind(vectors, prompt_set)
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
            raise ConfigurationError(f"prompt {prompt!r}: {len(row)} tokens, the model reads {length}; shorten it")
    padded = tokenizer(
        list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    )
    ids_tensor: Tensor = padded["input_ids"]
    return ids_tensor


def _refuse_blind(vectors: PromptVectors, prompt_set: PromptSet) -> None:
    cosines = (vectors.positive * vectors.negative).sum(dim=-1).tolist()
    for key, cosine in zip(vectors.keys, cosines, strict=True):
        if not cosine < _SAME:
            raise ConfigurationError(
                f"prompt set {prompt_set.name!r}, finding {key!r}: positive and negative prompts are the same to this "
                f"checkpoint (cosine {cosine:.5f}); use words it was trained on"
            )


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
            )
        part.replace(file)
    except OSError as error:
        log.warning("prompt vectors are not kept: %s", error.strerror, extra={"action": "model.prompt_cache"})
