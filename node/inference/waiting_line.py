"""The line in which images wait for a model: urgent first, senders served in turn, the newest of each first."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")

#: Of so many places a sender gets, one goes to its longest waiting image, so that none waits for ever.
OLDEST_EVERY = 4


@dataclass
class _Place(Generic[T]):
    item: T
    acquired_at: float
    arrival: int
    taken: bool = False


@dataclass
class _Sender(Generic[T]):
    """What one sender has in line at one priority."""

    name: str
    #: How many of its images were served, counted from where the others stood when it came.
    served: int
    newest: list[tuple[float, int, _Place[T]]] = field(default_factory=list)
    oldest: deque[_Place[T]] = field(default_factory=deque)

    def add(self, place: _Place[T]) -> None:
        heapq.heappush(self.newest, (-place.acquired_at, place.arrival, place))
        self.oldest.append(place)

    def next(self) -> _Place[T] | None:
        """Who is served next; None when nobody waits."""
        while self.newest and self.newest[0][2].taken:
            heapq.heappop(self.newest)
        while self.oldest and self.oldest[0].taken:
            self.oldest.popleft()
        if not self.oldest:
            return None
        return self.oldest[0] if self.served % OLDEST_EVERY == OLDEST_EVERY - 1 else self.newest[0][2]

    def take(self) -> T:
        place = self.next()
        assert place is not None
        place.taken = True
        self.served += 1
        return place.item


class WaitingLine(Generic[T]):
    """Who is next, as images are worth the same work each. Not thread-safe: its owner holds a lock.

    A lower priority number always goes first. Within one, the sender that was served least goes first, between
    equals the one with the newest image: a sender that sends a thousand slices delays another's radiograph by
    one image. Within a sender the newest acquisition goes first, every fourth time the longest waiting.
    """

    def __init__(self) -> None:
        self._classes: dict[int, dict[str, _Sender[T]]] = {}
        self._arrivals = count()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, item: T, priority: int, *, acquired_at: float = 0.0, sender: str = "") -> None:
        """Join the line. ``acquired_at`` in seconds since any fixed time; 0 is unknown, the oldest."""
        senders = self._classes.setdefault(priority, {})
        if sender not in senders:
            start = min((other.served for other in senders.values()), default=0)
            senders[sender] = _Sender(name=sender, served=start)
        senders[sender].add(_Place(item=item, acquired_at=acquired_at, arrival=next(self._arrivals)))
        self._length += 1

    def take(self, number: int) -> list[T]:
        """The next ``number`` items, or as many as there are, in order."""
        return [self._take_one() for _ in range(min(number, self._length))]

    def _take_one(self) -> T:
        priority = min(self._classes)
        senders = self._classes[priority]
        first = min(self._heads(senders), key=lambda head: (head[0].served, -head[1].acquired_at, head[1].arrival))[0]
        item = first.take()
        self._length -= 1
        if first.next() is None:
            del senders[first.name]
        if not senders:
            del self._classes[priority]
        return item

    @staticmethod
    def _heads(senders: dict[str, _Sender[T]]) -> Iterator[tuple[_Sender[T], _Place[T]]]:
        for sender in senders.values():
            if (place := sender.next()) is not None:
                yield sender, place
