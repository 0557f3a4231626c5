"""Speed of writing: the full-size MedGemma 4B in the node's way and by plain ``generate``, beside the device's memory.

The model is built from its configuration with random weights. One run measures, for 1, 4 and 8 replies at a time:
tokens per second of transformers' ``generate`` as it comes (a cache that grows, every operation launched by Python),
and of the node's decoder (slots of fixed shape; compiled and as a CUDA graph where the device has them). Writing one
token reads every weight once, so memory sets the ceiling of a step; it is measured in the same run. A token that a
draft foresaw would come on top and is not counted.

    python benchmarks/findings.py [--small | --demo] [--tokens N] [--batches N ...] [--drafts N] [--threads N]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any, cast

import torch

from benchmarks.decoding import bandwidth, demo, full_size
from benchmarks.scoring.ceiling import synchronise
from node.inference.chat_prompt import ChatPrompt, Prompt
from node.inference.decoder import Decoder
from node.inference.slots import length_for
from node.inference.torch_runtime import choose_device, cpu_has_bfloat16, describe_devices, set_threads

BATCHES = (1, 4, 8)
WARM_UP = 3
"""Steps."""
TIMES_GENERATE, SHARE_OF_CEILING = 5.0, 0.60
"""Targets of one reply at a time on a CUDA device."""


@dataclass(frozen=True)
class Rates:
    """Tokens per second of one number of replies at a time."""

    batch: int
    plain: float
    ours: float


class Clock:
    """Notes when each step ended; passes as a stopping criterion that never stops."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._ended = device, list[float]()

    def __call__(self, ids: torch.Tensor | None = None, *_: Any, **__: Any) -> Any:
        synchronise(self._device)
        self._ended.append(time.perf_counter())
        return None if ids is None else torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    def step(self) -> float:
        """Seconds of a step, the median; the first ones warm up."""
        return statistics.median(after - before for before, after in pairwise(self._ended[WARM_UP:]))


class TimedDecoder(Decoder):
    """The node's decoder, with a note after every step of all replies."""

    def __init__(self, model: Any, batch: int, drafts: int) -> None:
        self.clock, self._full = Clock(model.device), batch
        super().__init__(model, cast(ChatPrompt, full_size.NoStops()), "random 4B", batch=batch,
                         drafts=drafts)

    def _advance(self) -> None:
        full = len(self._active) == self._full
        super()._advance()
        if full:
            self.clock()


def plain(model: Any, prompts: list[Prompt], tokens: int) -> float:
    """``generate`` as it comes, on a batch of prompts of equal length; seconds of a step."""
    clock = Clock(model.device)
    pixels = torch.cat([one.pixels for one in prompts if one.pixels is not None])
    ids = torch.cat([one.ids for one in prompts]).to(model.device)
    with torch.inference_mode():
        model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels.to(model.device, model.dtype),
            token_type_ids=torch.cat([one.kinds for one in prompts]).to(model.device), do_sample=False,
            max_new_tokens=tokens, min_new_tokens=tokens, pad_token_id=0, stopping_criteria=[clock])
    return clock.step()


def ours(model: Any, prompts: list[Prompt], tokens: int, drafts: int) -> float:
    """The node's decoder, every question waiting at once; seconds of a step in which all were written."""
    decoder = TimedDecoder(model, len(prompts), drafts)
    for reply in [decoder.submit(one, tokens + number, None) for number, one in enumerate(prompts)]:
        reply.result()
    decoder.close()
    return decoder.clock.step()


def compare(model: Any, batch: int, tokens: int, drafts: int) -> Rates:
    """Both ways with one number of replies at a time."""
    prompts = [full_size.prompt(number) for number in range(batch)]
    return Rates(batch, batch / plain(model, prompts, tokens), batch / ours(model, prompts, tokens + batch, drafts))


def verdict(value: float, target: float, device: torch.device) -> str:
    if device.type != "cuda":
        return "no target on a CPU"
    return f"{'met' if value >= target else 'NOT met'}, target {target:g}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--small", action="store_true", help="6 of 34 layers and 1 of 27 in the vision tower")
    options.add_argument("--demo", action="store_true", help="the demo model instead, 20 whole answers")
    options.add_argument("--tokens", type=int, default=0, help="per reply; default 128 on CUDA, 16 on a CPU")
    options.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="replies at a time")
    options.add_argument("--drafts", type=int, default=0, help="tokens checked ahead in every step")
    options.add_argument("--device", default="auto")
    options.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    told = options.parse_args()
    set_threads(told.threads)
    device = choose_device(told.device, "--device")
    dtype = torch.bfloat16 if device.type == "cuda" or cpu_has_bfloat16() else torch.float32
    tokens = told.tokens or (128 if device.type == "cuda" else 16)
    size = (f"REDUCED: {full_size.SMALL_LAYERS} of {full_size.LAYERS} layers, "
            f"{full_size.SMALL_VISION_LAYERS} of {full_size.VISION_LAYERS} in the vision tower"
            if told.small else f"{full_size.LAYERS} layers")
    print(f"{date.today()}, {platform.machine()}, devices: {describe_devices()}; torch {torch.__version__}, "
          f"{str(dtype).removeprefix('torch.')}, {told.threads} threads")
    if told.demo:
        demo.compare(20)
        return
    print(f"MedGemma 4B from its configuration, {size}, random weights, {tokens} tokens per reply", flush=True)
    ceiling = bandwidth.read_rate(device, dtype, 3)
    model = full_size.model(device, dtype, told.small)
    needed = full_size.bytes_per_step(model, length_for(full_size.prompt(0).ids.shape[1] + tokens))
    most = ceiling / needed
    print(f"memory {ceiling / 1e9:.1f} GB/s, {needed / 1e9:.2f} GB per step: at most {most:.1f} steps/s\n")
    print("| replies at a time | generate, tokens/s | node, tokens/s | times | share of the ceiling |")
    print("|--:|--:|--:|--:|--:|")
    found = []
    for batch in told.batches:
        found.append(compare(model, batch, tokens, told.drafts))
        one = found[-1]
        print(f"| {batch} | {one.plain:.2f} | {one.ours:.2f} | {one.ours / one.plain:.2f} | "
              f"{one.ours / batch / most:.0%} |", flush=True)
    first = found[0]
    times, share = first.ours / first.plain, first.ours / first.batch / most
    print(f"\n{first.batch} at a time: {times:.1f} x generate ({verdict(times, TIMES_GENERATE, device)}); "
          f"{share:.0%} of the ceiling ({verdict(share, SHARE_OF_CEILING, device)})")


if __name__ == "__main__":
    main()
