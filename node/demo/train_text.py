"""The triage model's text tower, taught many ways to say what the image tower already sees.

The image tower is not touched: a prompt is trained towards the direction of its meaning
(node.demo.train_directions), so that scores of known prompts stay what they were and unknown wordings land near them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import SiglipModel

from node.demo import vocabulary
from node.demo.evaluate import text_vectors
from node.demo.meanings import MEANINGS, Claim, Meaning
from node.demo.phantom import FINDINGS
from node.demo.phrases import corpus, phrase
from node.demo.train_tokenizers import siglip_tokenizer
from node.demo.train_triage import optimizer_of, rate_at

SEED = 20_003
STEPS = 950
BATCH = 112
PEAK_RATE = 1.5e-3
PIECES = 900
#: Sharpness of telling one meaning from all others, against the plain pull towards its own direction.
SHARPNESS = 12.0

Log = Callable[[str], None]


def build_tokenizer(folder: Path) -> Any:
    """Sentencepiece over the trained language; letters and bytes are pieces too, so that no word is unreadable."""
    # SiglipTokenizer lower-cases and drops punctuation before the pieces are looked up.
    phrases = [text.lower().replace("-", "").replace("'", "") for text in corpus(np.random.default_rng(SEED))]
    return siglip_tokenizer(folder, phrases, PIECES, byte_fallback=True,
                            required_chars="abcdefghijklmnopqrstuvwxyz0123456789")


def with_vocabulary(model: Any, tokenizer: Any) -> Any:
    """The same model, with an untrained embedding for every piece of another tokenizer."""
    config = model.config
    config.text_config.vocab_size = len(tokenizer)
    config.text_config.pad_token_id = tokenizer.pad_token_id
    config.text_config.eos_token_id = tokenizer.eos_token_id
    renewed = SiglipModel(config)
    name = "text_model.embeddings.token_embedding.weight"
    kept = {key: value for key, value in model.state_dict().items() if key != name}
    renewed.load_state_dict(kept, strict=False)
    nn.init.normal_(renewed.get_parameter(name), std=0.3)
    return renewed


def core_directions(model: Any, tokenizer: Any) -> dict[Meaning, Tensor]:
    """Unit means of the vocabulary's phrases for presence, absence, normal and abnormal, by a trained text tower."""
    said: dict[Meaning, Sequence[str]] = {
        Meaning(Claim.NORMAL): vocabulary.NORMAL,
        Meaning(Claim.ABNORMAL): vocabulary.ABNORMAL,
    }
    for finding in FINDINGS:
        said[Meaning(Claim.PRESENT, finding)] = vocabulary.positive(finding)
        said[Meaning(Claim.ABSENT, finding)] = vocabulary.negative(finding)
    means = {meaning: text_vectors(model, tokenizer, phrases).mean(dim=0) for meaning, phrases in said.items()}
    return {meaning: functional.normalize(mean, dim=0) for meaning, mean in means.items()}


def train(model: Any, tokenizer: Any, directions: Tensor, log: Log, steps: int = STEPS) -> float:
    """Teach `model` prompts of `tokenizer` towards `directions` (len(MEANINGS), D); returns the CPU seconds spent."""
    torch.manual_seed(SEED)
    choice = np.random.default_rng(SEED)
    model.requires_grad_(False)
    model.text_model.requires_grad_(True)
    model.train()
    optimizer = optimizer_of([model.text_model], decay=0.02)
    started = time.process_time()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps, PEAK_RATE, warm_up=60)
        meant = torch.from_numpy(choice.integers(0, len(MEANINGS), BATCH))
        asked = [phrase(MEANINGS[int(index)], choice) for index in meant]
        tokens = tokenizer(asked, padding="max_length", max_length=64, truncation=True, return_tensors="pt")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            pooled = model.get_text_features(input_ids=tokens["input_ids"]).pooler_output
        cosines = functional.normalize(pooled.float(), dim=-1) @ directions.T
        pull = (1 - cosines[torch.arange(BATCH), meant]).mean()
        told_apart = functional.cross_entropy(cosines * SHARPNESS, meant)
        loss = 3 * pull + told_apart
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.text_model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 49:
            right = float((cosines.argmax(dim=1) == meant).float().mean())
            spent = time.process_time() - started
            log(f"text step {step + 1} cpu {spent:.0f} s pull {pull.item():.3f} right {right:.3f}")
    return time.process_time() - started
