"""What becomes of a batch when the device has too little memory, or fails."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from node.errors import DeviceFull, DeviceLost
from node.inference.tower import VisionTower

ONE = torch.ones(3)


class Device:
    """A forward pass of a device with room for so many images; counts them."""

    def __init__(self, room: int, error: Callable[[], Exception] = lambda: torch.OutOfMemoryError()) -> None:
        self.room, self.error = room, error
        self.sizes: list[int] = []

    def __call__(self, pixels: Tensor) -> Tensor:
        self.sizes.append(len(pixels))
        if len(pixels) > self.room:
            raise self.error()
        return pixels[:, :2, 0, 0] + 1

    def tower(self, max_batch: int = 8) -> VisionTower:
        module = SimpleNamespace(device=torch.device("cpu"), dtype=torch.float32)
        return VisionTower(module, mean=torch.zeros(3), std=ONE, max_batch=max_batch, forward=self)


def squares(count: int) -> list[NDArray[np.uint8]]:
    return [np.full((4, 4, 3), number, np.uint8) * np.array([1, 3, 0], np.uint8) for number in range(count)]


def expected(count: int) -> Tensor:
    seen = torch.tensor([[1 + number / 255, 1 + 3 * number / 255] for number in range(count)])
    return torch.nn.functional.normalize(seen, dim=-1)


def test_a_batch_that_does_not_fit_is_halved_and_goes_on_and_the_size_is_remembered() -> None:
    device = Device(room=3)
    tower = device.tower()
    torch.testing.assert_close(tower.vectors(squares(8)), expected(8))
    assert device.sizes == [8, 4, 2, 2, 2, 2]
    assert tower.max_batch == 2
    device.sizes.clear()
    torch.testing.assert_close(tower.vectors(squares(5)), expected(5))
    assert device.sizes == [2, 2, 1]


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"),
])
def test_one_image_that_does_not_fit_is_tried_again_later(error: Exception) -> None:
    with pytest.raises(DeviceFull, match="no memory left") as raised:
        Device(0, lambda: error).tower().vectors(squares(2))
    assert raised.value.retryable


@pytest.mark.parametrize("error", [
    torch.AcceleratorError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`"),
])
def test_a_device_that_failed_is_lost_and_not_tried_with_less(error: Exception) -> None:
    device = Device(0, lambda: error)
    with pytest.raises(DeviceLost, match="a new process is needed"):
        device.tower().vectors(squares(4))
    assert device.sizes == [4]


def test_an_error_of_our_own_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        Device(0, lambda: RuntimeError("shapes cannot be multiplied")).tower().vectors(squares(4))


def test_no_images_have_no_vectors() -> None:
    assert not len(Device(1).tower().vectors([]))
