"""Training of the tiny MedSigLIP stand-in: a real SiglipModel, on drawn chests, from nothing.

Two losses. The pooled one is SigLIP's: one sigmoid per image and prompt, over paired prompts (presence, absence), sides
and normal or abnormal. The region one teaches single patches: each patch alone through the pooling head must match the
positive prompt where the finding covers it. Without it the small findings take several times as many steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel, SiglipProcessor

from node.demo import vocabulary
from node.demo.dataset import PATCH, SIDE_CODE, SIZE, Examples
from node.demo.evaluate import PromptVectors, areas, prompt_set, to_pixels, triage_scores
from node.demo.phantom import FINDINGS, LATERALISED
from node.demo.train_tokenizers import siglip_tokenizer

WIDTH = 128
SEED = 20_001
STEPS = 2100
BATCH = 32
PEAK_RATE = 1.2e-3
WARM_UP = 150
LATERAL = [FINDINGS.index(f) for f in LATERALISED]

Log = Callable[[str], None]


def build_tokenizer(folder: Path) -> Any:
    """A sentencepiece vocabulary of our own phrases, about 200 pieces and 1 KB."""
    # SiglipTokenizer lower-cases and drops punctuation before the pieces are looked up.
    corpus = [phrase.lower().replace("-", "") for phrase in vocabulary.triage_corpus()]
    return siglip_tokenizer(folder, corpus * 3, 200)


def build_model(tokenizer: Any) -> Any:
    """1.5 M parameters: four vision layers over 12 x 12 patches, two text layers over 64 positions."""
    common = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": 4}
    text = common | {
        "vocab_size": len(tokenizer),
        "num_hidden_layers": 2,
        "max_position_embeddings": 64,
        "projection_size": WIDTH,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    vision = common | {"num_hidden_layers": 4, "image_size": SIZE, "patch_size": PATCH}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    with torch.no_grad():
        model.logit_scale.fill_(math.log(10.0))
        model.logit_bias.fill_(-2.0)
    return model


def augmented(images: Tensor, random: torch.Generator) -> Tensor:
    """Pixels (B, 3, H, W) in -1..1 of uint8 (B, H, W): another window setting, and borders a collimator cut off.

    Served images are zero-padded to a square, so a cut border comes back black on both opposite sides.
    """
    count = len(images)
    pixels = images.float() / 127.5 - 1
    gain = 1 + 0.08 * torch.randn(count, 1, 1, generator=random)
    pixels = (pixels * gain + 0.05 * torch.randn(count, 1, 1, generator=random)).clamp(-1, 1)
    border = torch.rand(count, 1, generator=random) * SIZE / 14
    cut = torch.rand(count, 1, generator=random)
    place = torch.arange(SIZE).expand(count, SIZE)
    outside = (place < border) | (place >= SIZE - border)
    columns, rows = outside & (cut < 0.35), outside & (cut > 0.85)
    pixels = pixels.masked_fill(columns[:, None, :] | rows[:, :, None], -1.0)
    return pixels.unsqueeze(1).expand(-1, 3, -1, -1)


@dataclass(frozen=True, kw_only=True)
class Question:
    """One prompt of a step and which images it is true of, (B,)."""

    prompt: str
    true_of: Tensor


def questions(present: Tensor, sides: Tensor, pick: Callable[[list[str]], str]) -> Iterator[Question]:
    """The prompts of a step: first the positive of every finding, then negatives, sides, normal and abnormal."""
    for i, finding in enumerate(FINDINGS):
        yield Question(prompt=pick(vocabulary.positive(finding)), true_of=present[:, i])
    for i, finding in enumerate(FINDINGS):
        yield Question(prompt=pick(vocabulary.negative(finding)), true_of=~present[:, i])
    words: tuple[Literal["left", "right"], ...] = ("left", "right")
    for i in LATERAL:
        for side in words:
            there = (sides[:, i] == SIDE_CODE[side]) | (sides[:, i] == SIDE_CODE["both"])
            yield Question(prompt=pick(vocabulary.sided(FINDINGS[i], side)), true_of=there)
    healthy = ~present.any(dim=1)
    yield Question(prompt=pick(list(vocabulary.NORMAL)), true_of=healthy)
    yield Question(prompt=pick(list(vocabulary.ABNORMAL)), true_of=~healthy)


def lone_patches(model: Any, tokens: Tensor) -> Tensor:
    """Each patch token (B, T, D) through the pooling head as if it were alone; L2-normalised."""
    head = model.vision_model.head
    attention = head.attention
    width = attention.embed_dim
    # Attention over one token is that token's value, whatever the query.
    value = functional.linear(tokens, attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :])
    mixed = attention.out_proj(value)
    return functional.normalize(mixed + head.mlp(head.layernorm(mixed)), dim=-1)


class RegionLoss(nn.Module):
    """Patches against positive prompts; scale and bias serve training only and are not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.3))
        self.bias = nn.Parameter(torch.tensor(-3.0))

    def forward(self, model: Any, tokens: Tensor, positive: Tensor, coverage: Tensor) -> Tensor:
        """Tokens (B, T, D), positive prompts (F, D), coverage uint8 (B, F, GRID, GRID)."""
        logits = lone_patches(model, tokens) @ positive.T * self.scale.exp() + self.bias
        area = coverage.flatten(2).transpose(1, 2).float() / 255
        # A small finding on the corner of four patches covers none of them well: its best patches count.
        enough = (0.5 * area.amax(dim=1, keepdim=True)).clamp(max=0.2)
        target = ((area >= enough) & (area > 0)).float()
        return functional.binary_cross_entropy_with_logits(logits.float(), target, pos_weight=torch.tensor(4.0))


def rate_at(step: int, steps: int, peak: float, warm_up: int = WARM_UP) -> float:
    """Linear warm-up, then half a cosine down to 2 % of the peak."""
    return peak * min(1.0, (step + 1) / warm_up) * (0.49 * (1 + math.cos(math.pi * step / steps)) + 0.02)


def optimizer_of(modules: list[nn.Module], decay: float) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves biases, norms and scales alone."""
    weights = [p for m in modules for p in m.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in weights if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in weights if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98))


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """The model in fp16 with its processor, as transformers loads them."""
    half = SiglipModel(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(folder)
    image_processor = SiglipImageProcessorPil(
        size={"height": SIZE, "width": SIZE}, image_mean=[0.5] * 3, image_std=[0.5] * 3, resample=2, do_convert_rgb=True
    )
    SiglipProcessor(image_processor=image_processor, tokenizer=tokenizer).save_pretrained(folder)


def watch(model: Any, tokenizer: Any, examples: Examples) -> dict[str, float]:
    """AUCs on examples as drawn, to follow the training."""
    model.eval()
    vectors = PromptVectors.of(model, tokenizer, prompt_set())
    told = areas(triage_scores(model, vectors, to_pixels(examples.images)), examples.present)
    model.train()
    return told


def train(data: Examples, watched: Examples, folder: Path, log: Log, steps: int = STEPS) -> float:
    """Train, save into `folder`, and return the CPU seconds spent."""
    torch.manual_seed(SEED)
    random, choice = torch.Generator().manual_seed(SEED), np.random.default_rng(SEED)
    tokenizer = build_tokenizer(folder)
    model, region = build_model(tokenizer), RegionLoss()
    optimizer = optimizer_of([model, region], decay=0.05)
    images, present = torch.from_numpy(data.images), torch.from_numpy(data.present)
    sides, coverage = torch.from_numpy(data.sides), torch.from_numpy(data.coverage)
    started = time.process_time()
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps, PEAK_RATE)
        rows = torch.from_numpy(choice.integers(0, len(data), BATCH))
        asked = list(questions(present[rows], sides[rows], lambda many: many[choice.integers(len(many))]))
        tokens = tokenizer(
            [q.prompt for q in asked], padding="max_length", max_length=64, truncation=True, return_tensors="pt"
        )
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model(input_ids=tokens["input_ids"], pixel_values=augmented(images[rows], random))
            positive = functional.normalize(out.text_embeds[: len(FINDINGS)], dim=-1)
            patches = out.vision_model_output.last_hidden_state
            by_region = region(model, patches, positive, coverage[rows])
        truth = torch.stack([q.true_of for q in asked], dim=1).float()
        pooled = functional.binary_cross_entropy_with_logits(out.logits_per_image.float(), truth)
        loss = pooled + (1.0 - 0.6 * step / steps) * by_region
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 99:
            spent = time.process_time() - started
            log(f"triage step {step + 1} cpu {spent:.0f} s pooled {pooled.item():.3f} region {by_region.item():.3f}")
        if step % 300 == 299 or step + 1 == steps:
            log(f"triage step {step + 1} {watch(model, tokenizer, watched)}")
            save(model, tokenizer, folder)
    return time.process_time() - started
