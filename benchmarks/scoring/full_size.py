"""MedSigLIP-448 from its configuration, with random weights: speed does not depend on what they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

from node.domain import ModelIdentity
from node.inference.medsiglip import MedSigLIP
from node.inference.operating_points import Calibration
from node.inference.prompt_sets import load_prompt_set
from node.inference.prompt_vectors import PromptVectors

SIDE, WIDTH, INNER, LAYERS, TOKENS = 448, 1152, 4304, 27, 1024
TEXTS, WORDS, VOCABULARY = 26, 64, 32000
_SHARED = {"hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": 16}


def processor() -> SiglipImageProcessorPil:
    """As the published checkpoint configures it."""
    half = [0.5] * 3
    return SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}, image_mean=half, image_std=half, resample=2)


def both_towers() -> SiglipModel:
    """878 million parameters in float32 on the CPU, small random numbers."""
    special = {"bos_token_id": None, "pad_token_id": 1, "eos_token_id": 1}
    text = {"vocab_size": VOCABULARY, "max_position_embeddings": WORDS, "projection_size": WIDTH}
    config = SiglipConfig(text_config=_SHARED | text | special,
                          vision_config=_SHARED | {"image_size": SIDE, "patch_size": 14})
    with torch.device("meta"):
        model = SiglipModel(config)
    model = model.to_empty(device="cpu").eval().requires_grad_(False)
    for name, buffer in model.named_buffers():
        assert name.endswith("position_ids"), name
        buffer.copy_(torch.arange(buffer.shape[-1]))
    for name, weight in model.named_parameters():
        weight.fill_(1.0) if "norm" in name and name.endswith("weight") else weight.uniform_(-0.03, 0.03)
    return model


def texts() -> torch.Tensor:
    """26 prompts as token ids; tokenising them takes a millisecond and is left out."""
    return torch.from_numpy(np.random.default_rng(1).integers(3, VOCABULARY, (TEXTS, WORDS)))


def guide_style(model: Any, image_processor: Any, pixels: np.ndarray, ids: torch.Tensor) -> list[float]:
    """What guides show: processor and whole model per image, every prompt encoded again, float32."""
    with torch.inference_mode():
        seen = image_processor(pixels, return_tensors="pt")["pixel_values"].to(model.device)
        answer = model(input_ids=ids.to(model.device), pixel_values=seen)
        scores: list[float] = answer.logits_per_image.softmax(dim=-1)[0].tolist()
    return scores


def ours(vision: Any, max_batch: int, forward: Any = None) -> MedSigLIP:
    """The product's own class around a random vision tower; the text vectors are there already."""
    prompt_set = load_prompt_set("demo-chest")
    keys = tuple(finding.key for finding in prompt_set.findings)
    unit = torch.nn.functional.normalize(torch.randn(2, len(keys), WIDTH), dim=-1)
    vectors = PromptVectors(keys=keys, positive=unit[0], negative=unit[1], logit_scale=2.0, logit_bias=0.0)
    identity = ModelIdentity(name="random medsiglip-448", version="0", sha256="00" * 32, device_uid="2.25.0")
    calibration = Calibration(points={}, shadow_reason="random weights", unvalidated=False)
    return MedSigLIP(tower=vision, image_processor=processor(), vectors=vectors, prompt_set=prompt_set,
                     identity=identity, calibration=calibration, max_batch=max_batch, forward=forward)


def operations() -> float:
    """Floating point operations of the vision tower per image: linear layers, attention, patches and head."""
    linear = 2.0 * TOKENS * LAYERS * (4 * WIDTH**2 + 2 * WIDTH * INNER)
    attention = 4.0 * TOKENS**2 * WIDTH * LAYERS
    patches = 2.0 * TOKENS * 14 * 14 * 3 * WIDTH
    head = 4.0 * TOKENS * WIDTH**2
    return linear + attention + patches + head
