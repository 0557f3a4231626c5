"""The decoder: one thread that writes the replies of all callers, those that wait together in one batch.

A reply begins as soon as a slot is free, in the order in which questions came, and ends by itself; nobody waits for
the longest of a batch.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import torch

from node.inference.chat_prompt import ChatPrompt, Prompt
from node.inference.drafts import drafted
from node.inference.grammar import Held, anything, forbid
from node.inference.prefill import Prefill
from node.inference.slots import Slots, length_for
from node.inference.steps import Step, step_for
from node.inference.torch_runtime import working_device

KEPT_LENGTHS = 2


@dataclass(frozen=True, kw_only=True)
class Written:
    """Ids of a reply, with the one that ended it if one did; ``steps`` that it took."""

    tokens: list[int]
    reused: int
    steps: int


@dataclass(eq=False)
class _Writing:
    """A reply on its way."""

    prompt: Prompt
    budget: int
    held: Held | None
    tokens: list[int] = field(default_factory=list)
    reused: int = 0
    steps: int = 0
    reply: Future[Written] = field(default_factory=Future)

    @property
    def length(self) -> int:
        return length_for(self.prompt.ids.shape[1] + self.budget)

    def take(self, token: int, stops: Sequence[int]) -> bool:
        """Add a token; True when it is the last."""
        self.tokens.append(token)
        if self.held is not None:
            self.held.accept(token)
        return token in stops or len(self.tokens) >= self.budget

    def end(self) -> None:
        self.reply.set_result(Written(tokens=self.tokens, reused=self.reused, steps=self.steps))


class Decoder:
    """Writes at most ``batch`` replies at a time, greedily; a step checks up to ``drafts`` tokens more. Thread-safe."""

    def __init__(self, model: Any, prompt: ChatPrompt, name: str, *, batch: int, drafts: int) -> None:
        self._model, self._prompt, self._name = model, prompt, name
        self._batch, self._drafts = batch, drafts
        self._vocabulary = model.config.text_config.vocab_size
        self._prefill = Prefill(model)
        self._kept: OrderedDict[int, tuple[Slots, Step]] = OrderedDict()
        self._slots: Slots | None = None
        self._step: Step | None = None
        self._active: dict[int, _Writing] = {}
        self._waiting: deque[_Writing] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._device = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="decoder", daemon=True)
        self._thread.start()

    def submit(self, prompt: Prompt, budget: int, held: Held | None) -> Future[Written]:
        """Queue a question. Raises RuntimeError when closed."""
        writing = _Writing(prompt, budget, held)
        with self._changed:
            if self._closed:
                raise RuntimeError("the decoder is closed")
            self._waiting.append(writing)
            self._changed.notify_all()
        return writing.reply

    def first_scores(self, prompt: Prompt) -> tuple[torch.Tensor, int]:
        """Scores of the first token, (vocabulary,), and how many tokens were there already; nothing is written."""
        with self._device, torch.inference_mode(), working_device(self._name):
            opening = self._prefill.open(prompt)
        return opening.scores, opening.reused

    def prepare(self, tokens: int) -> None:
        """Make room and a step for questions that take so many with their replies."""
        with self._device, torch.inference_mode(), working_device(self._name):
            self._slots_of(length_for(tokens))

    def close(self) -> None:
        """Take nothing more, finish what is queued, and stop the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    @torch.inference_mode()
    def _run(self) -> None:
        while self._admit():
            if not self._active:
                continue
            try:
                with self._device, working_device(self._name):
                    self._advance()
            except Exception as error:  # noqa: BLE001 - the worker loop: whatever is raised belongs to the callers
                for writing in self._active.values():
                    writing.reply.set_exception(error)
                self._active, self._slots, self._step = {}, None, None
                self._kept.clear()

    def _admit(self) -> bool:
        """Begin what there is room for; False when closed and done."""
        while joining := self._joining():
            try:
                with self._device, working_device(self._name):
                    self._begin(joining)
            except Exception as error:  # noqa: BLE001 - as above
                joining.reply.set_exception(error)
        with self._changed:
            return bool(self._active or self._waiting or not self._closed)

    def _joining(self) -> _Writing | None:
        """Who is next, if it fits; an idle decoder waits for it."""
        with self._changed:
            if not self._active:
                self._changed.wait_for(lambda: bool(self._waiting) or self._closed)
            if not self._waiting or len(self._active) == self._batch:
                return None
            if self._active and self._slots is not None and self._waiting[0].length != self._slots.length:
                return None  # other shapes: after those that are being written
            return self._waiting.popleft()

    def _begin(self, writing: _Writing) -> None:
        opening = self._prefill.open(writing.prompt)
        writing.reused, scores = opening.reused, opening.scores[None]
        if writing.held is not None:
            mask = anything(1, self._vocabulary)
            writing.held.masks((), mask, 0)
            forbid(scores, mask)
        if writing.take(int(scores[0].argmax()), self._prompt.stops):
            writing.end()
            return
        slots = self._slots_of(writing.length)
        free = next(slot for slot in range(self._batch) if slot not in self._active)
        slots.place(free, opening.filled)
        self._active[free] = writing

    def _slots_of(self, length: int) -> Slots:
        """Those of a length; of the lengths that were used last some are kept, as making a step may take a minute."""
        if length not in self._kept:
            while len(self._kept) >= KEPT_LENGTHS:
                self._slots = self._step = None
                self._kept.popitem(last=False)
            made = Slots(self._model, self._batch, length)
            self._kept[length] = made, step_for(self._model, made, 1 + self._drafts)
        self._kept.move_to_end(length)
        self._slots, self._step = self._kept[length]
        return self._slots

    def _advance(self) -> None:
        """One step of every slot, and what it brought to each reply."""
        assert self._slots is not None and self._step is not None
        width = 1 + self._drafts
        rows = [[0] * width for _ in range(self._batch)]
        mask = anything(self._batch * width, self._vocabulary)
        drafts = {slot: self._proposed(writing, slot, mask) for slot, writing in self._active.items()}
        for slot, writing in self._active.items():
            rows[slot][: 1 + len(drafts[slot])] = [writing.tokens[-1], *drafts[slot]]
        scores = self._step(torch.tensor(rows, device=self._slots.at.device))
        flat = scores.view(self._batch * width, -1).float()
        forbid(flat, mask)
        best = flat.argmax(-1).view(self._batch, width).tolist()
        moved = [0] * self._batch
        for slot, writing in list(self._active.items()):
            moved[slot] = self._taken(writing, slot, best[slot], drafts[slot])
        self._slots.move(moved)

    def _proposed(self, writing: _Writing, slot: int, mask: torch.Tensor) -> list[int]:
        """Drafts of a slot, with the masks of their row."""
        room = min(self._drafts, writing.budget - len(writing.tokens) - 1)
        forced = writing.held.forced() if writing.held is not None and room > 0 else ""
        found = drafted(writing.tokens, forced, room, self._prompt.tokens)
        return found if writing.held is None else writing.held.masks(found, mask, slot * (1 + self._drafts))

    def _taken(self, writing: _Writing, slot: int, best: list[int], drafts: list[int]) -> int:
        """Take the best token, and further ones as long as the drafts foresaw them; how many were taken."""
        writing.steps += 1
        for number, token in enumerate(best[: 1 + len(drafts)]):
            if writing.take(token, self._prompt.stops):
                del self._active[slot]
                writing.end()
                return number + 1
            if number < len(drafts) and token != drafts[number]:
                return number + 1
        return 1 + len(drafts)
