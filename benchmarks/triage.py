"""Speed of triage: the full-size MedSigLIP-448 in the node's way and in that of guides, beside what the device can do.

The model is built from its configuration with random weights. One run measures, on the same images: the loop that
guides show (processor and whole model per image, 26 prompts encoded each time, float32), the node's path (prompts
once, vision tower only, bfloat16 where it pays, batches), the device's rate of bare matrix products, how fast
5-megapixel radiographs are prepared, and the demo model.

    python benchmarks/triage.py [--quick] [--device auto] [--threads N] [--preparing]
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.scoring import ceiling, full_size, preparing
from node.config import TriageModelSection
from node.domain import ModelImage
from node.inference.forms import quickest_on_cuda
from node.inference.medsiglip import MedSigLIP
from node.inference.prompt_sets import load_prompt_set
from node.inference.torch_runtime import choose_device, cpu_has_bfloat16, describe_devices, set_threads

SIDE = full_size.SIDE
ROWS, COLUMNS = preparing.ROWS, preparing.COLUMNS
CUDA_BATCHES = (1, 4, 16, 32, 64)
PREPARED = 4
"""Cores that have to keep up with one GPU."""


@dataclass(frozen=True)
class Targets:
    """What has to be reached on a kind of device; a share of 0 is not asked for."""

    times_the_loop: float
    share_of_ceiling: float


def targets(device: torch.device) -> Targets:
    """By the kind of device."""
    if device.type == "cuda":
        return Targets(20.0, 0.60)
    return Targets(5.0 if cpu_has_bfloat16() else 2.2, 0.0)


@dataclass(frozen=True)
class Took:
    """Seconds on the wall, and of the processor, which other work on the machine does not lengthen."""

    wall: float
    cpu: float

    def told(self, images: int = 1) -> str:
        return f"{self.wall / images:8.3f} s per image, {self.cpu / images:8.3f} s of CPU"


def took(work: Callable[[], object], device: torch.device) -> Took:
    """Time of ``work`` and of what it left the device to do."""
    ceiling.synchronise(device)
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    ceiling.synchronise(device)
    return Took(time.perf_counter() - wall, time.process_time() - cpu)


def median(several: Sequence[Took]) -> Took:
    """The median of each."""
    return Took(statistics.median(one.wall for one in several), statistics.median(one.cpu for one in several))


def pictures(count: int) -> list[ModelImage]:
    """Noise of the size of a radiograph."""
    random = np.random.default_rng(1)
    drawn = [random.integers(0, 256, (ROWS, ROWS, 1), np.uint8) for _ in range(count)]
    return [ModelImage(pixels=np.repeat(grey, 3, axis=2), sop_class_uid="1.2", sop_instance_uid=f"1.2.{number}",
                       series_instance_uid="1.2") for number, grey in enumerate(drawn)]


def compare(device: torch.device, rounds: int) -> float:
    """The loop and our path; our best rate in images per second."""
    whole, processor, ids = full_size.both_towers().to(device), full_size.processor(), full_size.texts()
    shown = pictures(rounds)
    if device.type == "cuda":
        full_size.guide_style(whole, processor, shown[0].pixels, ids)
    loop = median([took(partial(full_size.guide_style, whole, processor, one.pixels, ids), device)
                   for one in shown])
    print(f"\nguide-style loop  {loop.told()}, float32, {full_size.TEXTS} prompts each time", flush=True)
    dtype = torch.bfloat16 if device.type == "cuda" or cpu_has_bfloat16() else torch.float32
    del whole.text_model
    vision = whole.vision_model.to(dtype)
    gc.collect()
    rates = [our_rate(vision, device, batch, rounds) for batch in (CUDA_BATCHES if device.type == "cuda" else (1,))]
    best = max(rates, key=lambda one: one[0])
    reached(device, dtype, best[0], loop.wall * best[0] if device.type == "cuda" else loop.cpu * best[1], rounds)
    return best[0]


def our_rate(vision: torch.nn.Module, device: torch.device, batch: int, rounds: int) -> tuple[float, float]:
    """Images per second and per CPU second, resizing included, in batches of one size."""
    form = quickest_on_cuda(vision, SIDE, batch) if device.type == "cuda" else None
    model = full_size.ours(vision, batch, form.forward if form else None)
    shown = (pictures(min(rounds, 4)) * batch)[:batch]
    if form:
        model.scored(shown)
    each = median([took(lambda: model.scored(shown), device) for _ in range(rounds)])
    how = f"{vision.dtype}, batch {batch}, {form.name if form else 'eager'}".removeprefix("torch.")
    print(f"our path          {each.told(batch)}, {how}", flush=True)
    return batch / each.wall, batch / each.cpu


def reached(device: torch.device, dtype: torch.dtype, best: float, times: float, rounds: int) -> None:
    """Against the loop and against the ceiling, with the targets. CPU targets count the processor's seconds."""
    many = 16 if device.type == "cuda" else 1
    limit = {kind: ceiling.flops(device, kind, many, rounds) for kind in (torch.float32, dtype)}
    for kind, rate in limit.items():
        print(f"matrix products   {rate / 1e9:8.0f} GFLOP/s, {str(kind).removeprefix('torch.')}")
    share = best * full_size.operations() / limit[dtype]
    wanted = targets(device)
    kind = "time" if device.type == "cuda" else "CPU time"
    print(f"\n{verdict(times, wanted.times_the_loop)}: {times:.1f} x the guide-style loop by {kind} "
          f"(target {wanted.times_the_loop:g} x)")
    line = f"{share:.0%} of the measured {str(dtype).removeprefix('torch.')} ceiling, preparing included"
    print(f"{verdict(share, wanted.share_of_ceiling)}: {line} (target {wanted.share_of_ceiling:.0%})"
          if wanted.share_of_ceiling else f"{line} (no target on a CPU)")


def verdict(value: float, target: float) -> str:
    return "met" if value >= target else "NOT met"


def prepare(rounds: int, cores: int, model_rate: float | None, device: torch.device) -> bool:
    """From file to the model's pixels, beside what the model takes; whether both ways give the same."""
    found = preparing.tell(SIDE, rounds, cores)
    enough = found.gathered * PREPARED
    if model_rate is None:
        print(f"{PREPARED} cores prepare about {enough:.0f} images/s")
    else:
        print(f"{verdict(enough, model_rate)}: {PREPARED} cores prepare about {enough:.0f} images/s, "
              f"the model on this {device.type} takes {model_rate:.2f}/s")
    return found.equal


def demo(count: int) -> None:
    """The shipped model, as a worker loads it: one thread, float32; and in bfloat16, beside it."""
    set_threads(1)
    shown = pictures(8)
    with tempfile.TemporaryDirectory() as cache:
        for dtype in ("auto", "bfloat16"):
            section = TriageModelSection(device="cpu", dtype=dtype)
            model = MedSigLIP.load(section, load_prompt_set("demo-chest"), Path(cache), allow_unvalidated=False)
            model.scored(shown)
            each = median([took(partial(model.scored, shown), torch.device("cpu")) for _ in range(count)])
            print(f"demo model, {dtype:8}, one thread, batches of {len(shown)}: {each.cpu / len(shown) * 1000:.1f} ms "
                  f"of CPU per image of {ROWS} x {ROWS} pixels, resizing included")


def processor_name() -> str:
    """As Linux calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown processor"
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown processor")


def main() -> int:
    parser = argparse.ArgumentParser(description="Speed of triage beside the guide-style loop and the device.")
    parser.add_argument("--quick", action="store_true", help="few images, for a first look")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads of torch")
    parser.add_argument("--preparing", action="store_true", help="only how fast images are made ready for the model")
    told = parser.parse_args()
    device, rounds = choose_device(told.device, "--device"), 1 if told.quick else 5
    set_threads(told.threads)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    print(f"{date.today()}  {where}, {told.threads} CPU threads, torch {torch.__version__}; "
          f"devices: {describe_devices()}")
    best = None if told.preparing else compare(device, rounds)
    equal = prepare(2 if told.quick else 8, min(PREPARED, told.threads), best, device)
    if not told.preparing:
        demo(3 if told.quick else 20)
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
