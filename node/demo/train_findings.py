"""Training of the tiny MedGemma stand-in: a real Gemma3ForConditionalGeneration that answers in JSON.

Two phases over the same drawn chests: first the decoder alone on top of the triage model's vision tower, then the
whole. The second phase is what teaches sides, which the frozen tower hardly carries into the pooled image tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Gemma3ForConditionalGeneration

from node.demo.answers_model import build_model, build_processor, build_tokenizer
from node.demo.dataset import CERTAINTY_CODE, SIDE_CODE, Examples
from node.demo.evaluate import prompt_set, to_pixels
from node.demo.evaluate_findings import answers, compare, prompt_ids
from node.demo.phantom import FINDINGS, Certainty, Side
from node.demo.train_triage import augmented, optimizer_of, rate_at
from node.demo.vocabulary import NAMES, NOTHING, RECOMMENDATIONS, Seen, answer

SEED = 20_002
BATCH = 32
IGNORED = -100

Log = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One stretch of training; the vision tower learns at `vision` times the rate, 0 is frozen."""

    name: str
    steps: int
    peak_rate: float
    vision: float


PHASES = (
    Phase(name="decoder", steps=400, peak_rate=1.5e-3, vision=0.0),
    Phase(name="whole", steps=1000, peak_rate=1.0e-3, vision=0.6),
)

_SIDES: dict[int, Side] = {code: side for side, code in SIDE_CODE.items()}
_CERTAINTIES: dict[int, Certainty] = {code: certainty for certainty, code in CERTAINTY_CODE.items()}


def truth_of(data: Examples, row: int) -> list[Seen]:
    """What an ideal reader would list of one example."""
    return [
        Seen(finding=f, side=_SIDES[int(data.sides[row, i])], certainty=_CERTAINTIES[int(data.certainty[row, i])])
        for i, f in enumerate(FINDINGS)
        if data.present[row, i]
    ]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Padded sequences (B, L): prompt, then answer; labels are IGNORED outside the answer."""

    ids: Tensor
    attention: Tensor
    labels: Tensor


def padded(prompt: list[int], told: list[list[int]]) -> Batch:
    """Prompt and answers as one batch, padded on the right."""
    length = len(prompt) + max(map(len, told))
    ids = torch.zeros(len(told), length, dtype=torch.long)
    attention, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for row, words in enumerate(told):
        end = len(prompt) + len(words)
        ids[row, :end] = torch.tensor(prompt + words)
        attention[row, :end] = 1
        labels[row, len(prompt) : end] = torch.tensor(words)
    return Batch(ids=ids, attention=attention, labels=labels)


def corpus(data: Examples, instruction: str) -> list[str]:
    """Text to learn the pieces from: every word of the answers, and of what may be asked."""
    words = [f" {name}" for names in NAMES.values() for name in names] + [name.capitalize() for name in NAMES]
    fixed = [instruction, "user\n", "model\n", NOTHING, *RECOMMENDATIONS.values(), *words, "Yes", "No"]
    fixed += ["present", "absent", "undetermined", "left", "right", "both", "none", "Left", "Right", "Bilateral"]
    return fixed * 30 + [answer(truth_of(data, row)) for row in range(min(2000, len(data)))]


def save(model: Any, processor: Any, folder: Path) -> None:
    """The model in fp16 with its processor, as transformers loads them."""
    half = Gemma3ForConditionalGeneration(model.config)
    half.load_state_dict(model.state_dict())
    half.generation_config = model.generation_config
    half.half().save_pretrained(folder)
    processor.save_pretrained(folder)


def _optimizer(model: Any, phase: Phase) -> tuple[torch.optim.AdamW, list[float]]:
    """The optimizer of a phase, and the share of the rate each of its groups takes."""
    tower, rest = model.model.vision_tower, [model.model.language_model, model.model.multi_modal_projector]
    tower.requires_grad_(phase.vision > 0)
    optimizer = optimizer_of(rest, decay=0.02)
    shares = [1.0] * len(optimizer.param_groups)
    if phase.vision > 0:
        for group in optimizer_of([tower], decay=0.02).param_groups:
            optimizer.add_param_group(group)
            shares.append(phase.vision)
    return optimizer, shares


def watch(model: Any, processor: Any, watched: Examples, prompts: dict[str, Any]) -> dict[str, Any]:
    """Agreement on examples as drawn, to follow the training."""
    model.eval()
    told = answers(model, processor, prompts["instruction"], to_pixels(watched.images), int(prompts["max_new_tokens"]))
    model.train()
    return compare(told, [truth_of(watched, row) for row in range(len(watched))]).summary()


def train(
    data: Examples, watched: Examples, triage: Path, folder: Path, log: Log, phases: tuple[Phase, ...] = PHASES
) -> dict[str, float]:
    """Train on top of the checkpoint `triage`, save into `folder`, return the CPU seconds of each phase."""
    torch.manual_seed(SEED)
    random, choice = torch.Generator().manual_seed(SEED), np.random.default_rng(SEED)
    prompts = prompt_set("demo-chest-findings")
    tokenizer = build_tokenizer(corpus(data, prompts["instruction"]))
    processor = build_processor(tokenizer)
    model = build_model(tokenizer, triage)
    model.set_attn_implementation("eager")  # on a CPU 40 % cheaper a step than sdpa with Gemma's masks
    prompt = prompt_ids(processor, prompts["instruction"])
    stop = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    known: dict[str, list[int]] = {}

    def spelled(row: int) -> list[int]:
        text = answer(truth_of(data, row))
        if text not in known:
            known[text] = [*tokenizer(text, add_special_tokens=False)["input_ids"], stop]
        return known[text]

    images = torch.from_numpy(data.images)
    spent = {}
    model.train()
    for phase in phases:
        optimizer, shares = _optimizer(model, phase)
        started = time.process_time()
        for step in range(phase.steps):
            rate = rate_at(step, phase.steps, phase.peak_rate, warm_up=100)
            for group, share in zip(optimizer.param_groups, shares, strict=True):
                group["lr"] = rate * share
            rows = choice.integers(0, len(data), BATCH)
            batch = padded(prompt, [spelled(int(row)) for row in rows])
            with torch.autocast("cpu", dtype=torch.bfloat16):
                out = model(
                    input_ids=batch.ids,
                    attention_mask=batch.attention,
                    token_type_ids=(batch.ids == tokenizer.image_token_id).long(),
                    pixel_values=augmented(images[torch.from_numpy(rows)], random),
                    labels=batch.labels,
                )
            optimizer.zero_grad()
            out.loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step % 50 == 49:
                cpu = time.process_time() - started
                log(f"{phase.name} step {step + 1} cpu {cpu:.0f} s loss {out.loss.item():.4f}")
            if step % 300 == 299 or step + 1 == phase.steps:
                log(f"{phase.name} step {step + 1} {watch(model, processor, watched, prompts)}")
                save(model, processor, folder)
        spent[phase.name] = round(time.process_time() - started, 1)
    return spent
