"""Work that is cheaper done together: whoever comes first does it for all who wait by then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Group(Generic[T]):
    """Lets threads that arrive together share one call of ``work``.

    The first becomes the leader and works for itself; who comes meanwhile waits, and the first of those
    leads the next call, for all of them. So a thread alone waits for nobody, and no thread of its own is needed.

    ``work`` gets the items in the order they came, and answers each with None or with the error its thread
    has to raise. What it raises itself is raised in every thread it was for.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[Exception | None]]) -> None:
        self._work = work
        self._door = threading.Lock()
        self._waiting: list[_Ticket[T]] = []
        self._led = False

    def join(self, item: T) -> None:
        """Have ``item`` worked on; returns when that is done. Raises what ``work`` answered for it."""
        ticket = _Ticket(item)
        with self._door:
            self._waiting.append(ticket)
            leads, self._led = not self._led, True
        if not leads:
            ticket.turn.acquire()
        if not ticket.done:
            self._lead(ticket)
        if ticket.error is not None:
            raise ticket.error

    def _lead(self, leader: _Ticket[T]) -> None:
        with self._door:
            batch, self._waiting = self._waiting, []
        try:
            errors = self._work([ticket.item for ticket in batch])
        except BaseException as error:
            errors = [error if isinstance(error, Exception) else RuntimeError(str(error))] * len(batch)
            if not isinstance(error, Exception):
                raise
        finally:
            with self._door:
                successor = self._waiting[0] if self._waiting else None
                self._led = successor is not None
            if successor is not None:
                successor.turn.release()
            for ticket, error_of_it in zip(batch, errors, strict=True):
                ticket.error, ticket.done = error_of_it, True
                if ticket is not leader:
                    ticket.turn.release()


class _Ticket(Generic[T]):
    """One thread's place in the line. ``turn`` is let go when the item is done, or when its thread is to lead."""

    def __init__(self, item: T) -> None:
        self.item = item
        self.done = False
        self.error: Exception | None = None
        self.turn = threading.Lock()
        self.turn.acquire()
