"""A vision tower on its device: squares in, image vectors out, in batches that fit its memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from node.errors import DeviceFull
from node.inference.preprocessing import normalised
from node.inference.torch_runtime import free_memory, working_device

log = logging.getLogger(__name__)

Squares = Sequence[NDArray[np.uint8]]
"""Images of one size, each (side, side, 3)."""
Pending = Callable[[], Tensor]
"""Waits for a batch that was started; its normalised vectors (N, D), float32 on the CPU."""
Forward = Callable[[Tensor], Tensor]
"""Pixels (N, 3, side, side) in the tower's number format to pooled vectors (N, D)."""


class VisionTower:
    """Runs batches of at most ``max_batch`` images. A batch that does not fit the memory is halved and goes on.

    The smaller size is remembered. On CUDA a batch is started without waiting for the one before: pixels go
    there as bytes from pinned memory while the device still computes, and are normalised there.
    """

    def __init__(self, module: Any, *, mean: Tensor, std: Tensor, max_batch: int, forward: Forward | None = None,
                 name: str = "tower") -> None:
        self.module = module
        self.max_batch = max_batch
        self.device = torch.device(module.device)
        self._mean, self._std = (each.to(self.device) for each in (mean, std))
        self._forward = forward or (lambda pixels: pooled(module, pixels))
        self._name = name

    @property
    def normalisation(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each (3,) on the 0..1 scale, on the tower's device."""
        return self._mean, self._std

    @property
    def ahead(self) -> int:
        """How many batches may be started while one runs: the CPU computes while it starts one."""
        return 1 if self.device.type == "cuda" else 0

    def vectors(self, squares: Squares) -> Tensor:
        """Normalised vectors of any number of images."""
        return self.start(squares)()

    def start(self, squares: Squares) -> Pending:
        """Begin with ``squares``; what is given back waits for the end. Thread-safe.

        Raises:
            DeviceFull: the memory does not suffice for one image.
            DeviceLost: the device does not work any more in this process; also when waiting.
        """
        parts: list[Pending] = []
        at = 0
        while at < len(squares):
            part = squares[at : at + self.max_batch]
            started = self._fitting(part)
            if started is not None:
                parts.append(started)
                at += len(part)
        return lambda: torch.cat([part() for part in parts]) if parts else torch.empty(0, 0)

    def _fitting(self, squares: Squares) -> Pending | None:
        """None when the batch was too large, and the limit is smaller from now on."""
        try:
            with working_device(self._name):
                return self._started(squares)
        except DeviceFull:
            if len(squares) == 1:
                raise
        # Outside of the handler, as the exception's frames hold what was allocated.
        self.max_batch = max(1, min(self.max_batch, len(squares) // 2))
        free_memory(self.device)
        log.warning("%s: no memory for %d images at once, %d from now on", self._name, len(squares), self.max_batch,
                    extra={"action": "model.batch_halved", "max_batch": self.max_batch})
        return None

    @torch.inference_mode()
    def _started(self, squares: Squares) -> Pending:
        pixels = self._pixels(squares).to(self.device, non_blocking=True)
        normal = normalised(pixels, self._mean, self._std).to(self.module.dtype)
        vectors = functional.normalize(self._forward(normal).float(), dim=-1)
        return self._coming(vectors) if self.device.type == "cuda" else lambda: vectors

    def _pixels(self, squares: Squares) -> Tensor:
        """(N, side, side, 3) uint8, where the device can fetch them by itself."""
        shape = (len(squares), *squares[0].shape)
        stacked = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        np.stack(squares, out=stacked.numpy())
        return stacked

    def _coming(self, vectors: Tensor) -> Pending:
        """Copied back behind the batch itself, so that waiting for it does not wait for the next one."""
        kept = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
        kept.copy_(vectors, non_blocking=True)
        done = torch.cuda.current_stream(self.device).record_event()

        def wait() -> Tensor:
            with working_device(self._name):
                done.synchronize()
            return kept

        return wait


def pooled(module: Any, pixels: Tensor) -> Tensor:
    """What a SigLIP vision model's pooling head says, (N, D)."""
    answer: Tensor = module(pixel_values=pixels).pooler_output
    return answer
