"""Which form of a tower is taken; the CUDA forms themselves need a device (tests/gpu)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from node.inference.forms import Form, quickest, sizes

SAMPLE = torch.ones(4, 3, 2, 2)


class Clock:
    """Time that passes only by what forms are said to take."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def form(self, name: str, takes: float, answer: Tensor | None = None, error: Exception | None = None) -> Form:
        told = torch.tensor([1.0, 2.0]) if answer is None else answer

        def forward(pixels: Tensor) -> Tensor:
            self.now += takes
            if error is not None:
                raise error
            return told.expand(len(pixels), 2)

        return Form(name, lambda: forward)


def taken(clock: Clock, *forms: Form) -> str:
    return quickest(forms, SAMPLE, lambda: None, clock).name


def test_the_quickest_form_is_taken() -> None:
    clock = Clock()
    assert taken(clock, clock.form("plain", 3), clock.form("quick", 1), clock.form("slow", 5)) == "quick"


def test_a_form_has_to_be_worth_it() -> None:
    clock = Clock()
    assert taken(clock, clock.form("plain", 1.0), clock.form("hardly quicker", 0.99)) == "plain"


def test_a_form_that_answers_otherwise_is_left_out() -> None:
    clock = Clock()
    wrong, nan = torch.tensor([2.0, 1.0]), torch.tensor([float("nan"), 1.0])
    assert taken(clock, clock.form("plain", 3), clock.form("wrong", 1, wrong), clock.form("nan", 1, nan)) == "plain"


def _fails() -> Callable[[Tensor], Tensor]:
    raise FileNotFoundError("no compiler")


def test_a_form_that_cannot_be_made_or_fails_is_left_out() -> None:
    clock = Clock()
    failing = clock.form("failing", 1, error=RuntimeError("no kernel"))
    assert taken(clock, clock.form("plain", 3), Form("unmade", _fails), failing) == "plain"


def test_a_device_that_fails_in_the_trial_is_no_matter_of_form() -> None:
    clock = Clock()
    with pytest.raises(torch.AcceleratorError):
        taken(clock, clock.form("plain", 3), clock.form("lost", 1, error=torch.AcceleratorError("gone")))


@pytest.mark.parametrize(("largest", "expected"), [(1, (1,)), (2, (1, 2)), (12, (1, 2, 4, 8, 12))])
def test_graphs_are_recorded_for_powers_of_two_and_the_largest_batch(largest: int, expected: tuple[int, ...]) -> None:
    assert sizes(largest) == expected
