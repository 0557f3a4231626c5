"""Continuous micro-batches: what waits when the device is free is scored together, whosever it is."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from node.domain import ImageScore, ModelIdentity, ModelImage, OperatingPoint, Priority, PromptSet, RelevanceMethod
from node.errors import DeviceFull, DeviceLost
from node.inference.waiting_line import WaitingLine
from node.interfaces import Explainer, TriageModel

T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Turn = Callable[[], AbstractContextManager[None]]
"""Entered by somebody for one short piece of work on a device; it may be waited for."""

#: Prepared images of one caller that may wait at once: a volume of 1000 slices is not whole in memory.
WINDOW = 64


class Starter(Protocol[T, R_co]):
    """Something that works on batches."""

    @property
    def max_batch(self) -> int:
        """How many items it takes at once; may become smaller."""
        ...

    @property
    def ahead(self) -> int:
        """How many batches may be started before the one that runs has ended."""
        ...

    def start(self, items: list[T], /) -> Callable[[], Sequence[R_co]]:
        """Begin; what is given back waits for the answers, one per item, in order."""
        ...


@dataclass(eq=False)
class _Waiting(Generic[T, R]):
    item: T
    answer: Future[R] = field(default_factory=Future)


@dataclass
class _Running(Generic[T, R]):
    batch: list[_Waiting[T, R]]
    answers: Callable[[], Sequence[R]]


class MicroBatcher(Generic[T, R]):
    """One thread that gives a device its next batch as soon as it can take one.

    Nobody waits for company: an idle device starts with whatever there is, and while it works the next batch
    gathers by itself. When a batch fails, its items are tried one by one, so that a bad item fails only itself;
    a lost device fails them all.
    """

    def __init__(self, device: Starter[T, R]) -> None:
        self._device = device
        self._line: WaitingLine[_Waiting[T, R]] = WaitingLine()
        self._changed = threading.Condition()
        self._closed = False
        self._busy = self._lent = False
        self._thread = threading.Thread(target=self._run, name="micro-batcher", daemon=True)
        self._thread.start()

    def submit(self, item: T, priority: int, *, acquired_at: float = 0.0, sender: str = "") -> Future[R]:
        """Queue one item; the future gives its answer or raises what working on it raised.

        Raises:
            RuntimeError: the batcher is closed.
        """
        waiting: _Waiting[T, R] = _Waiting(item)
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            self._line.add(waiting, priority, acquired_at=acquired_at, sender=sender)
            self._changed.notify_all()
        return waiting.answer

    @contextmanager
    def lent(self) -> Iterator[None]:
        """The device for one short piece of other work in the caller's thread, once it is idle and no item waits.

        An item that comes meanwhile waits for the end of that piece and for no other.

        Raises:
            RuntimeError: the batcher is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not (self._busy or self._lent or len(self._line)))
            if self._closed:
                raise RuntimeError("the batcher is closed")
            self._lent = True
        try:
            yield
        finally:
            with self._changed:
                self._lent = False
                self._changed.notify_all()

    def close(self) -> None:
        """Take nothing more, answer what is queued, and stop the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        running: deque[_Running[T, R]] = deque()
        while (batch := self._next_batch(idle=not running)) or running:
            if batch and (begun := self._begin(batch)):
                running.append(begun)
            if running and (len(running) > self._device.ahead or not batch):
                self._end(running.popleft())

    def _next_batch(self, idle: bool) -> list[_Waiting[T, R]]:
        """What is next. An idle device waits for it; empty then only when closed and drained."""
        with self._changed:
            if idle:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self._lent and (len(self._line) > 0 or self._closed))
                self._busy = True
            return self._line.take(self._device.max_batch)

    def _begin(self, batch: Sequence[_Waiting[T, R]]) -> _Running[T, R] | None:
        wanted = [waiting for waiting in batch if waiting.answer.set_running_or_notify_cancel()]
        if not wanted:
            return None
        try:
            return _Running(wanted, self._device.start([waiting.item for waiting in wanted]))
        except Exception as error:  # noqa: BLE001 - the worker loop: whatever is raised belongs to the caller
            self._blame(wanted, error)
            return None

    def _end(self, running: _Running[T, R]) -> None:
        try:
            answered = list(zip(running.batch, running.answers(), strict=True))
        except Exception as error:  # noqa: BLE001 - as above
            self._blame(running.batch, error)
            return
        for waiting, answer in answered:
            waiting.answer.set_result(answer)

    def _blame(self, batch: Sequence[_Waiting[T, R]], error: Exception) -> None:
        """One item answers for itself; several are told apart by trying each alone, where the device still works."""
        if len(batch) == 1 or isinstance(error, DeviceFull | DeviceLost):
            for waiting in batch:
                waiting.answer.set_exception(error)
            return
        for waiting in batch:
            try:
                (answer,) = self._device.start([waiting.item])()
            except Exception as alone:  # noqa: BLE001 - as above
                waiting.answer.set_exception(alone)
            else:
                waiting.answer.set_result(answer)


class Batchable(TriageModel, Starter[NDArray[np.uint8], ImageScore], Protocol):
    """A triage model that can score images of several callers at once."""

    def prepare(self, image: ModelImage) -> NDArray[np.uint8]:
        """What it takes of an image. Raises Undecodable."""
        ...

    def explainer(self, method: RelevanceMethod | None = None, turn: Turn = nullcontext) -> Explainer | None:
        """Relevance maps by the same weights; every piece of work on the device waits for its ``turn``."""
        ...


class BatchedTriage:
    """A triage model whose callers share batches; implements ``interfaces.TriageModel``.

    Images are prepared in the caller's thread, while the device works on earlier ones.
    """

    prompt_set: PromptSet
    identity: ModelIdentity
    operating_points: Mapping[str, OperatingPoint]
    shadow_reason: str
    unvalidated: bool
    takes: int

    def __init__(self, model: Batchable) -> None:
        self.prompt_set = model.prompt_set
        self.identity = model.identity
        self.operating_points = model.operating_points
        self.shadow_reason = model.shadow_reason
        self.unvalidated = model.unvalidated
        self.takes = model.takes
        self._prepare, self._explainer = model.prepare, model.explainer
        self._batcher: MicroBatcher[NDArray[np.uint8], ImageScore] = MicroBatcher(model)

    def score(self, images: Sequence[ModelImage], priority: Priority = Priority.ROUTINE) -> list[dict[str, float]]:
        """Per image, a score in 0..1 by finding key; waits its turn among all callers by ``priority``."""
        return [dict(one.scores) for one in self.scored(images, priority)]

    def scored(
        self, images: Sequence[ModelImage], priority: Priority = Priority.ROUTINE, *, acquired_at: float = 0.0,
        sender: str = "",
    ) -> list[ImageScore]:
        """Per image, scores, embedding and gate; waits its turn among all callers."""
        answers: list[Future[ImageScore]] = []
        try:
            for number, image in enumerate(images):
                if number >= WINDOW:
                    answers[number - WINDOW].result()
                square = self._prepare(image)
                answers.append(self._batcher.submit(square, priority, acquired_at=acquired_at, sender=sender))
            return [answer.result() for answer in answers]
        finally:
            for answer in answers:
                answer.cancel()  # of what is left where one failed; to an answer that came it does nothing

    def explainer(self) -> Explainer | None:
        """Relevance maps by the same model, in the pauses between batches: no image waits for more than a piece."""
        return self._explainer(turn=self._batcher.lent)

    def close(self) -> None:
        """Answer what is queued and stop."""
        self._batcher.close()
