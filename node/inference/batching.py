"""Micro-batches: items of many callers, scored together, the most urgent first."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, Protocol, TypeVar

from node.domain import ImageScore, ModelIdentity, ModelImage, OperatingPoint, Priority, PromptSet
from node.interfaces import TriageModel

T = TypeVar("T")
R = TypeVar("R")


@dataclass(order=True)
class _Waiting(Generic[T, R]):
    """An item in the queue; ordered by priority number, then by arrival."""

    priority: int
    arrival: int
    since: float = field(compare=False)
    item: T = field(compare=False)
    answer: Future[R] = field(compare=False)


class MicroBatcher(Generic[T, R]):
    """One thread that calls ``score`` with up to ``max_batch`` items.

    A batch starts when it is full or its oldest item has waited ``max_wait_ms``. When a batch fails, its
    items are tried one by one, so that a bad image fails only itself.
    """

    def __init__(self, score: Callable[[list[T]], Sequence[R]], max_batch: int, max_wait_ms: float) -> None:
        self._score = score
        self._max_batch = max_batch
        self._max_wait = max_wait_ms / 1000
        self._queue: list[_Waiting[T, R]] = []
        self._arrivals = count()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="micro-batcher", daemon=True)
        self._thread.start()

    def submit(self, priority: int, item: T) -> Future[R]:
        """Queue one item; the future gives its score or raises what scoring it raised.

        Raises:
            RuntimeError: the batcher is closed.
        """
        answer: Future[R] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            entry = _Waiting(priority, next(self._arrivals), time.monotonic(), item, answer)
            heapq.heappush(self._queue, entry)
            self._changed.notify_all()
        return answer

    def close(self) -> None:
        """Take nothing more, answer what is queued, and stop the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            started = [waiting for waiting in batch if waiting.answer.set_running_or_notify_cancel()]
            self._answer(started)

    def _next_batch(self) -> list[_Waiting[T, R]]:
        """Wait for items; empty only when closed and drained."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._queue) or self._closed)
            while self._queue and not self._closed and len(self._queue) < self._max_batch:
                remaining = min(waiting.since for waiting in self._queue) + self._max_wait - time.monotonic()
                if remaining <= 0:
                    break
                self._changed.wait(remaining)
            return [heapq.heappop(self._queue) for _ in range(min(self._max_batch, len(self._queue)))]

    def _answer(self, batch: Sequence[_Waiting[T, R]]) -> None:
        if not batch:
            return
        try:
            scores = list(zip(batch, self._score([waiting.item for waiting in batch]), strict=True))
        except Exception as error:  # noqa: BLE001 - the worker loop: whatever scoring raises belongs to the caller
            self._blame(batch, error)
            return
        for waiting, score in scores:
            waiting.answer.set_result(score)

    def _blame(self, batch: Sequence[_Waiting[T, R]], error: Exception) -> None:
        """One item answers for itself; several are told apart by trying each alone."""
        if len(batch) == 1:
            batch[0].answer.set_exception(error)
            return
        for waiting in batch:
            self._answer([waiting])


class Batchable(TriageModel, Protocol):
    """A triage model that knows how many images it can score at once."""

    max_batch: int


class BatchedTriage:
    """A triage model whose callers share batches; implements ``interfaces.TriageModel``."""

    prompt_set: PromptSet
    identity: ModelIdentity
    operating_points: Mapping[str, OperatingPoint]
    shadow_reason: str
    unvalidated: bool

    def __init__(self, model: Batchable, max_wait_ms: float = 5) -> None:
        self.prompt_set = model.prompt_set
        self.identity = model.identity
        self.operating_points = model.operating_points
        self.shadow_reason = model.shadow_reason
        self.unvalidated = model.unvalidated
        self._batcher: MicroBatcher[ModelImage, ImageScore] = MicroBatcher(
            model.scored, model.max_batch, max_wait_ms
        )

    def score(self, images: Sequence[ModelImage], priority: Priority = Priority.ROUTINE) -> list[dict[str, float]]:
        """Per image, a score in 0..1 by finding key; waits its turn among all callers by ``priority``."""
        return [dict(one.scores) for one in self.scored(images, priority)]

    def scored(
        self, images: Sequence[ModelImage], priority: Priority = Priority.ROUTINE, *,
        acquired_at: float = 0.0, sender: str = "",  # noqa: ARG002 - the order among callers is the batcher's
    ) -> list[ImageScore]:
        """Per image, scores, embedding and gate; waits its turn among all callers."""
        answers = [self._batcher.submit(priority, image) for image in images]
        return [answer.result() for answer in answers]

    def close(self) -> None:
        """Answer what is queued and stop."""
        self._batcher.close()
