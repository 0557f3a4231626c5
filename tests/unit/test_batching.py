from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from node.errors import DeviceFull, DeviceLost, NodeError
from node.inference.batching import BatchedTriage, MicroBatcher


class Doubler:
    """Doubles numbers; refuses negative ones; can be held at the door to let items queue up."""

    def __init__(self, max_batch: int = 8, ahead: int = 0) -> None:
        self.max_batch, self.ahead = max_batch, ahead
        self.batches: list[list[int]] = []
        self.entered = threading.Event()
        self.released = threading.Event()
        self.released.set()

    def start(self, items: list[int]) -> Callable[[], list[int]]:
        self.batches.append(items)
        self.entered.set()
        assert self.released.wait(10)
        if any(item < 0 for item in items):
            raise ValueError(f"negative in {items}")
        return lambda: [2 * item for item in items]


class Model(Doubler):
    """Takes numbers for images, and cannot prepare negative ones."""

    prompt_set = identity = operating_points = shadow_reason = unvalidated = takes = explainer = None

    @staticmethod
    def prepare(image: int) -> int:
        if image < 0:
            raise ValueError(f"{image} is negative")
        return image


@contextmanager
def batcher(score: Doubler) -> Iterator[MicroBatcher[int, int]]:
    running: MicroBatcher[int, int] = MicroBatcher(score)
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
        answers = [running.submit(item, 50) for item in range(20)]
        assert [answer.result(10) for answer in answers] == [2 * item for item in range(20)]


def test_waiting_items_share_a_batch_of_limited_size() -> None:
    score = Doubler(max_batch=3)
    with batcher(score) as running:
        with busy(running, score):
            answers = [running.submit(item, 50) for item in (1, 2, 3, 4)]
        assert [answer.result(10) for answer in answers] == [2, 4, 6, 8]
    assert score.batches == [[0], [1, 2, 3], [4]]


def test_the_most_urgent_is_first_then_the_longest_waiting() -> None:
    score = Doubler(max_batch=1)
    with batcher(score) as running, busy(running, score):
        for priority, item in ((50, 1), (90, 2), (10, 3), (50, 4)):
            running.submit(item, priority)
    assert score.batches == [[0], [3], [1], [4], [2]]


def test_a_bad_item_fails_only_itself() -> None:
    score = Doubler()
    with batcher(score) as running:
        with busy(running, score):
            answers = [running.submit(item, 50) for item in (1, -1, 3)]
        assert answers[0].result(10) == 2
        assert answers[2].result(10) == 6
        with pytest.raises(ValueError, match=r"negative in \[-1\]"):
            answers[1].result(10)


class Answers:
    """Gives back what it is told to, whatever it is asked."""

    max_batch = 4

    def __init__(self, *results: Callable[[], list[int]], ahead: int = 0) -> None:
        self.results, self.ahead = list(results), ahead
        self.events: list[str] = []

    def start(self, items: list[int]) -> Callable[[], list[int]]:
        self.events.append(f"start {items}")
        return self.results.pop(0) if self.results else lambda: self._ended(items)

    def _ended(self, items: list[int]) -> list[int]:
        self.events.append(f"end {items}")
        return items


def test_an_answer_of_the_wrong_length_is_an_error() -> None:
    running: MicroBatcher[int, int] = MicroBatcher(Answers(lambda: [1, 1]))
    with pytest.raises(ValueError, match="longer"):
        running.submit(1, 50).result(10)
    running.close()


@pytest.mark.parametrize("error", [DeviceLost("gone"), DeviceFull("full")])
def test_what_the_device_cannot_do_fails_the_whole_batch_at_once(error: NodeError) -> None:
    def lost() -> list[int]:
        raise error

    device = Answers(lost)
    running: MicroBatcher[int, int] = MicroBatcher(device)
    with running._changed:  # both are in line before the thread looks
        answers = [running.submit(item, 50) for item in (1, 2)]
    for answer in answers:
        with pytest.raises(type(error)):
            answer.result(10)
    running.close()
    assert device.events == ["start [1, 2]"]


def test_a_device_that_can_gets_its_next_batch_before_the_last_has_ended() -> None:
    device = Answers(ahead=1)
    running: MicroBatcher[int, int] = MicroBatcher(device)
    with running._changed:
        answers = [running.submit(item, 50) for item in range(12)]
    assert [answer.result(10) for answer in answers] == list(range(12))
    running.close()
    kinds = [event.split()[0] for event in device.events]
    assert kinds == ["start", "start", "end", "start", "end", "end"]


def test_an_idle_device_does_not_wait_for_company() -> None:
    with batcher(Doubler()) as running:
        assert running.submit(1, 50).result(10) == 2
        assert running.submit(2, 50).result(10) == 4


def test_a_cancelled_item_is_not_scored() -> None:
    score = Doubler()
    with batcher(score) as running, busy(running, score):
        assert running.submit(5, 50).cancel()
    assert score.batches == [[0]]


def test_closing_answers_what_waits_and_takes_no_more() -> None:
    running: MicroBatcher[int, int] = MicroBatcher(Doubler())
    waiting = running.submit(4, 50)
    running.close()
    assert waiting.result(0) == 8
    with pytest.raises(RuntimeError, match="closed"):
        running.submit(1, 50)


def test_what_waits_for_a_caller_that_failed_is_not_scored() -> None:
    model = Model()
    batched = BatchedTriage(model)
    with busy(batched._batcher, model), pytest.raises(ValueError, match="-1 is negative"):
        batched.scored([1, -1])
    batched.close()
    assert model.batches == [[0]]


def test_lent_work_waits_for_every_item_and_items_for_one_piece_of_it() -> None:
    score, order = Doubler(max_batch=1), []
    with batcher(score) as running:
        with busy(running, score):
            helper = threading.Thread(target=lambda: use(running, order))
            helper.start()
            answers = [running.submit(item, 50) for item in (1, 2)]
            assert order == []
        assert [answer.result(10) for answer in answers] == [2, 4]
        helper.join(10)
        with running.lent():
            waiting = running.submit(3, 50)
            assert not waiting.done() and [3] not in score.batches
        assert waiting.result(10) == 6
    assert order == [[[0], [1], [2]]]


def use(running: MicroBatcher[int, int], order: list[list[list[int]]]) -> None:
    with running.lent():
        order.append(list(running._device.batches))  # type: ignore[attr-defined]


def test_a_piece_that_fails_gives_the_device_back() -> None:
    with batcher(Doubler()) as running:
        with pytest.raises(ValueError, match="bad"), running.lent():
            raise ValueError("bad")
        assert running.submit(4, 50).result(10) == 8


def test_a_closed_batcher_lends_nothing() -> None:
    running: MicroBatcher[int, int] = MicroBatcher(Doubler())
    running.close()
    with pytest.raises(RuntimeError, match="closed"), running.lent():
        pass
