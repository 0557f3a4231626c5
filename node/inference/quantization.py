"""Weights in 8 or 4 bits, where bitsandbytes is installed; large models then fit into smaller GPUs."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from node.errors import ConfigurationError

NONE = "none"


def quantized(setting: str, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What ``from_pretrained`` needs for it; nothing without quantization.

    Raises:
        ConfigurationError: the library or the GPU is not there.
    """
    if setting == NONE:
        return {}
    where = f"models.findings.quantization = {setting}"
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigurationError(f"{where}: bitsandbytes is not installed; pip install bitsandbytes, or set it to none")
    if device.type != "cuda":
        raise ConfigurationError(f"{where}: needs a CUDA device, models.findings.device is {device}; set it to none")
    if setting == "8bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    return {"quantization_config": BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)}
