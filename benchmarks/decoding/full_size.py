"""MedGemma 4B from its configuration, with random weights: speed does not depend on what they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from node.inference.chat_prompt import Prompt

LAYERS, VISION_LAYERS, SIDE = 34, 27, 896
SMALL_LAYERS, SMALL_VISION_LAYERS = 6, 1
"""Five layers that look back 1024 tokens and one that sees all, as in every six of the whole."""
VOCABULARY, IMAGE_TOKENS, BEGIN, END, IMAGE = 262208, 256, 255999, 256000, 262144


@dataclass(frozen=True)
class NoStops:
    """What the decoder asks of a prompt's processor: nothing ends a reply but its budget."""

    stops: tuple[int, ...] = ()

    def tokens(self, _text: str) -> list[int]:
        return []


def configuration(layers: int, vision_layers: int) -> Gemma3Config:
    """As published, but for the number of layers."""
    text = {
        "vocab_size": VOCABULARY, "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": layers,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "query_pre_attn_scalar": 256,
        "sliding_window": 1024, "sliding_window_pattern": 6, "max_position_embeddings": 131072,
    }
    vision = {
        "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": vision_layers, "num_attention_heads": 16,
        "image_size": SIDE, "patch_size": 14, "vision_use_head": False,
    }
    return Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=IMAGE_TOKENS,
                        boi_token_index=BEGIN, eoi_token_index=END, image_token_index=IMAGE)


def model(device: torch.device, dtype: torch.dtype, small: bool) -> Any:
    """Weights drawn on the device itself."""
    layers = (SMALL_LAYERS, SMALL_VISION_LAYERS) if small else (LAYERS, VISION_LAYERS)
    torch.manual_seed(1)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            built = Gemma3ForConditionalGeneration(configuration(*layers))
    finally:
        torch.set_default_dtype(before)
    return built.eval().requires_grad_(False)


def prompt(number: int) -> Prompt:
    """An image and some 40 words; each ``number`` another picture."""
    generator = torch.Generator().manual_seed(number)
    words = torch.randint(1000, 200_000, (48,), generator=generator).tolist()
    ids = [2, *words[:8], BEGIN, *[IMAGE] * IMAGE_TOKENS, END, *words[8:]]
    told = torch.tensor([ids])
    pixels = torch.rand((1, 3, SIDE, SIDE), generator=generator) * 2 - 1
    return Prompt(ids=told, kinds=(told == IMAGE).long(), pixels=pixels)


def bytes_per_step(built: Any, length: int) -> float:
    """What a step has to read at least: every weight of the decoder once, and one reply's keys and values."""
    text = built.config.text_config
    weights = sum(one.nbytes for one in built.model.language_model.parameters())  # the head is the embedding, tied
    cached = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * length * built.dtype.itemsize
    return float(weights + cached)
