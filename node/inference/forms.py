"""Forms in which a CUDA device can run a tower: attention kernels, compiled, as a CUDA graph; the quickest is taken.

Which one that is depends on device, driver and batch, so it is found by a short trial when the model is loaded. A
form that fails, or answers otherwise than the plain one, is left out.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from node.inference.tower import Forward, pooled

KERNELS = (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)
WARM_UP, ROUNDS = 2, 5
#: Least cosine between a form's vectors and the plain one's; bfloat16 rounds differently in each kernel.
ALIKE = 0.995
#: A form has to be so much quicker than a simpler one before it is taken.
WORTH = 1.02

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Form:
    """A way to run a tower. ``prepare`` makes it, which may take long or fail."""

    name: str
    prepare: Callable[[], Forward]


@dataclass(frozen=True)
class Chosen:
    """What the trial came to; images per second at the size of the sample."""

    name: str
    forward: Forward
    rate: float


def quickest_on_cuda(module: Any, side: int, max_batch: int) -> Chosen:
    """Try every form of ``module``, which lies on a CUDA device, with ``max_batch`` images."""
    sample = torch.zeros((max_batch, 3, side, side), device=module.device, dtype=module.dtype)
    sample.uniform_(-1, 1)
    device = torch.device(module.device)
    kernel = quickest(with_kernels(module), sample, lambda: torch.cuda.synchronize(device))
    chosen = quickest(
        [Form(kernel.name, lambda: kernel.forward),
         Form(f"{kernel.name}, compiled", lambda: torch.compile(kernel.forward, dynamic=True)),
         Form(f"{kernel.name}, CUDA graph", lambda: Graphed(kernel.forward, sizes(max_batch), sample))],
        sample, lambda: torch.cuda.synchronize(device))
    log.info("the tower runs as %s, %.0f images/s", chosen.name, chosen.rate,
             extra={"action": "model.form", "form": chosen.name})
    return chosen


def with_kernels(module: Any) -> Iterator[Form]:
    """As torch chooses by itself, then with each kernel of scaled dot product attention alone."""
    yield Form("eager", lambda: partial(pooled, module))
    for kernel in KERNELS:
        yield Form(f"eager, {kernel.name.lower()}", partial(_with_kernel, module, kernel))


def _with_kernel(module: Any, kernel: SDPBackend) -> Forward:
    def forward(pixels: Tensor) -> Tensor:
        with sdpa_kernel(kernel):
            return pooled(module, pixels)

    return forward


@torch.inference_mode()
def quickest(
    forms: Iterable[Form], sample: Tensor, wait: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> Chosen:
    """The first of ``forms`` is the plain one, which has to work; ``wait`` returns when the device has ended.

    Raises:
        RuntimeError: what the plain form raises.
    """
    (plain, *others) = forms
    forward = plain.prepare()
    expected = functional.normalize(forward(sample).float(), dim=-1)
    best = Chosen(plain.name, forward, _rate(forward, sample, wait, clock))
    for form in others:
        try:
            forward = form.prepare()
            seen = functional.normalize(forward(sample).float(), dim=-1)
            rate = _rate(forward, sample, wait, clock)
        except torch.AcceleratorError:
            raise  # the device itself: not a matter of form
        except Exception as error:  # noqa: BLE001 - compilers and drivers raise what they like; the form is left out
            log.warning("form %s cannot be used: %s", form.name, type(error).__name__, extra={"action": "model.form"})
            continue
        if float((seen * expected).sum(dim=-1).min()) >= ALIKE and rate > WORTH * best.rate:
            best = Chosen(form.name, forward, rate)
    return best


def _rate(forward: Forward, sample: Tensor, wait: Callable[[], object], clock: Callable[[], float]) -> float:
    for _ in range(WARM_UP):
        forward(sample)
    wait()
    start = clock()
    for _ in range(ROUNDS):
        forward(sample)
    wait()
    return ROUNDS * len(sample) / (clock() - start)


def sizes(max_batch: int) -> tuple[int, ...]:
    """Sizes that graphs are recorded for: powers of two, and the largest batch."""
    powers = [1 << power for power in range(max_batch.bit_length()) if 1 << power < max_batch]
    return (*powers, max_batch)


class Graphed:
    """A tower recorded once per batch size and replayed, which spares the CPU every launch. Thread-safe.

    A batch of another size is filled up to the next one; one that is larger than all is run as it is.
    """

    def __init__(self, forward: Forward, batch_sizes: tuple[int, ...], sample: Tensor) -> None:
        self._forward = forward
        self._lock = threading.Lock()
        self._recorded = {size: self._record(sample[:size].clone()) for size in sorted(batch_sizes)}

    def _record(self, pixels: Tensor) -> tuple[Any, Tensor, Tensor]:
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # allocations and choices of kernels must not fall into the recording
            for _ in range(WARM_UP):
                self._forward(pixels)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            vectors = self._forward(pixels)
        return graph, pixels, vectors

    def __call__(self, pixels: Tensor) -> Tensor:
        size = next((size for size in self._recorded if size >= len(pixels)), None)
        if size is None:
            return self._forward(pixels)
        graph, given, vectors = self._recorded[size]
        with self._lock:  # the recorded memory is one: filled, replayed and copied from in one go on the stream
            given[: len(pixels)].copy_(pixels)
            graph.replay()
            return vectors[: len(pixels)].clone()
