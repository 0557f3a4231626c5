from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from node.inference.batching import MicroBatcher


class Doubler:
    """Doubles numbers; refuses negative ones; can be held at the door to let items queue up."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Event()
        self.released = threading.Event()
        self.released.set()

    def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        self.entered.set()
        assert self.released.wait(10)
        if any(item < 0 for item in items):
            raise ValueError(f"negative in {items}")
        return [2 * item for item in items]


@contextmanager
def batcher(score: Doubler, max_batch: int = 8, max_wait_ms: float = 0) -> Iterator[MicroBatcher[int, int]]:
    running: MicroBatcher[int, int] = MicroBatcher(score, max_batch, max_wait_ms)
    try:
        yield running
    finally:
        score.released.set()
        running.close()


@contextmanager
def busy(running: MicroBatcher[int, int], score: Doubler) -> Iterator[None]:
    """While inside, the batcher is scoring another item and everything submitted waits."""
    score.released.clear()
    running.submit(0, 0)
    assert score.entered.wait(10)
    yield
    score.released.set()


def test_every_caller_gets_the_answer_to_its_own_item() -> None:
    with batcher(Doubler()) as running:
        answers = [running.submit(50, item) for item in range(20)]
        assert [answer.result(10) for answer in answers] == [2 * item for item in range(20)]


def test_waiting_items_share_a_batch_of_limited_size() -> None:
    score = Doubler()
    with batcher(score, max_batch=3) as running:
        with busy(running, score):
            answers = [running.submit(50, item) for item in (1, 2, 3, 4)]
        assert [answer.result(10) for answer in answers] == [2, 4, 6, 8]
    assert score.batches == [[0], [1, 2, 3], [4]]


def test_a_full_batch_does_not_wait_for_more() -> None:
    with batcher(Doubler(), max_batch=2, max_wait_ms=1e9) as running:
        assert [answer.result(10) for answer in [running.submit(50, 1), running.submit(50, 2)]] == [2, 4]


def test_the_most_urgent_is_first_then_the_longest_waiting() -> None:
    score = Doubler()
    with batcher(score, max_batch=1) as running, busy(running, score):
        for priority, item in ((50, 1), (90, 2), (10, 3), (50, 4)):
            running.submit(priority, item)
    assert score.batches == [[0], [3], [1], [4], [2]]


def test_a_bad_item_fails_only_itself() -> None:
    score = Doubler()
    with batcher(score) as running:
        with busy(running, score):
            answers = [running.submit(50, item) for item in (1, -1, 3)]
        assert answers[0].result(10) == 2
        assert answers[2].result(10) == 6
        with pytest.raises(ValueError, match=r"negative in \[-1\]"):
            answers[1].result(10)


def test_an_answer_of_the_wrong_length_is_an_error() -> None:
    running: MicroBatcher[int, int] = MicroBatcher(lambda items: [*items, 0], 4, 0)
    with pytest.raises(ValueError, match="longer"):
        running.submit(50, 1).result(10)
    running.close()


def test_a_cancelled_item_is_not_scored() -> None:
    score = Doubler()
    with batcher(score) as running, busy(running, score):
        assert running.submit(50, 5).cancel()
    assert score.batches == [[0]]


def test_closing_answers_what_waits_and_takes_no_more() -> None:
    running: MicroBatcher[int, int] = MicroBatcher(Doubler(), 8, 1e9)
    waiting = running.submit(50, 4)
    running.close()
    assert waiting.result(0) == 8
    with pytest.raises(RuntimeError, match="closed"):
        running.submit(50, 1)
