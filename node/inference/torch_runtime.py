"""The torch runtime: device, number format and threads, and loading a model without surprises."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils.tqdm import disable_progress_bars
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from node.errors import ConfigurationError, DeviceFull, DeviceLost, ModelUnavailable

#: Weight files from this size on hold over 100 M parameters, even at two bytes each.
LARGE_BYTES = 200_000_000

#: bfloat16 has to be so much quicker than float32 on a CPU before its rounding is accepted.
WORTH = 1.2
ROUNDS = 5

#: In messages of RuntimeErrors that are about memory: of cuBLAS, and of the CPU's allocator.
_FULL = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDA error: out of memory", "DefaultCPUAllocator")

log = logging.getLogger(__name__)


def set_threads(count: int) -> None:
    """Limit torch to ``count`` CPU threads in this process.

    For the composition root of a worker, once, before a model is loaded: more threads than free
    cores make every operation wait for the slowest one.
    """
    torch.set_num_threads(count)


def choose_device(setting: str, key: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU. ``key`` is the setting's path, for the message.

    Raises:
        ConfigurationError: the device does not exist here.
    """
    if setting == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(setting)
    except RuntimeError as error:
        raise ConfigurationError(f"{key} = {setting!r}: expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigurationError(f"{key} = {setting!r}: {torch.cuda.device_count()} CUDA devices are visible; use auto")
    return device


def choose_dtype(
    setting: str, device: torch.device, directory: Path, gain: Callable[[], float] | None = None
) -> torch.dtype:
    """``auto`` is bfloat16 on CUDA, and for a large model on a CPU where a trial shows a gain; else float32.

    ``gain`` is :func:`bfloat16_gain` unless a test says otherwise.
    """
    if setting != "auto":
        named: torch.dtype = getattr(torch, setting)
        return named
    if device.type == "cuda":
        return torch.bfloat16
    if not is_large(directory) or not cpu_has_bfloat16():
        return torch.float32
    gained = (gain or bfloat16_gain)()
    chosen = torch.bfloat16 if gained >= WORTH else torch.float32
    log.info("this processor multiplies bfloat16 %.1f times as fast as float32: %s is taken", gained, chosen,
             extra={"action": "model.dtype", "dtype": str(chosen), "gain": round(gained, 2)})
    return chosen


def choose_batch(device: torch.device, directory: Path) -> int:
    """How many images to score at once. A CPU gains nothing from waiting for a batch of a large model."""
    if device.type == "cuda":
        return 16
    return 1 if is_large(directory) else 8


def is_large(directory: Path) -> bool:
    """If the checkpoint is one whose forward pass takes seconds on a CPU."""
    return sum(file.stat().st_size for file in directory.glob("*.safetensors")) >= LARGE_BYTES


def cpu_has_bfloat16() -> bool:
    """If the processor multiplies bfloat16 by itself (AVX-512 BF16 or AMX)."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@torch.inference_mode()
def bfloat16_gain(clock: Callable[[], float] = time.perf_counter) -> float:
    """How many times as fast as in float32 a product of the size of the tower's own is in bfloat16, with the threads
    that are set; less than a second on a processor that has it. The best of some rounds, so that load matters little.
    """
    left, right = torch.ones(512, 1152), torch.ones(1152, 2048)
    pairs = {dtype: (left.to(dtype), right.to(dtype)) for dtype in (torch.float32, torch.bfloat16)}
    best = dict.fromkeys(pairs, float("inf"))
    for round_number in range(ROUNDS + 1):
        for dtype, (first, second) in pairs.items():
            start = clock()
            torch.mm(first, second)
            if round_number:  # the first one warms up
                best[dtype] = min(best[dtype], clock() - start)
    return best[torch.float32] / best[torch.bfloat16]


@contextmanager
def loading(directory: Path) -> Iterator[None]:
    """Quiet while a checkpoint is loaded; whatever its files provoke becomes ModelUnavailable."""
    disable_progress_bars()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ModelUnavailable(f"{directory}: cannot be loaded ({reason}); download the checkpoint again") from error


def load_weights(
    model_class: Any, directory: Path, dtype: torch.dtype, device: torch.device, **options: Any
) -> Any:
    """A model for inference with every one of its weights taken from ``directory``.

    ``options`` are those of ``from_pretrained``; with a ``device_map`` it says where the weights go.

    Raises:
        ModelUnavailable: the files are unusable, or leave a weight at its random start value.
    """
    with loading(directory):
        model, report = model_class.from_pretrained(
            directory, dtype=dtype, local_files_only=True, output_loading_info=True, **options
        )
        if missing := sorted(report["missing_keys"]):
            raise ValueError(f"{len(missing)} weights are missing, the first is {missing[0]}")
        placed = model if "device_map" in options else model.to(device)
        return placed.eval().requires_grad_(False)


@contextmanager
def working_device(model: str) -> Iterator[None]:
    """Around every forward pass: what the device cannot do becomes DeviceFull, or DeviceLost where that stays so."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceFull(_told(model, "the device has no memory left", error)) from error
    except RuntimeError as error:
        if any(sign in str(error) for sign in _FULL):
            raise DeviceFull(_told(model, "the device has no memory left", error)) from error
        if isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error):
            raise DeviceLost(_told(model, "the device failed", error) + "; a new process is needed") from error
        raise


def _told(model: str, what: str, error: Exception) -> str:
    reason = str(error).partition("\n")[0]
    return f"{model}: {what} ({reason})"


def free_memory(device: torch.device) -> None:
    """Give back what the allocator keeps for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def describe_devices() -> str:
    """The devices a worker can use here, for ``ainode check``."""
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ", ".join(names) if names else f"none; models run on the CPU ({torch.get_num_threads()} threads by default)"
