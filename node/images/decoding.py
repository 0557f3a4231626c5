"""Work on many stored images in a few threads, in order, under a budget of memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

from node.errors import BadInput
from node.images.files import StoredImage
from node.images.pixels import load

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Threads that decode, and the bytes that work under way and results not yet taken may need together."""

    threads: int = 2
    memory: int = 256 << 20


@dataclass(frozen=True, kw_only=True)
class Done(Generic[Item, Result]):
    """What became of one item: a result, or the reason why there is none."""

    item: Item
    result: Result | None = None
    error: BadInput | None = None


def in_order(
    items: Iterable[Item], work: Callable[[Item], Result], cost: Callable[[Item], int], limits: Limits
) -> Generator[Done[Item, Result], None, None]:
    """The outcome of ``work`` on each item, in the order of the items.

    ``cost`` tells the bytes an item takes; one that alone is over the budget is worked on alone. A
    :class:`BadInput` is an outcome; anything else ends the iteration. Closing the iterator drops what waits.
    """
    waiting: deque[tuple[Item, int, Future[Result]]] = deque()
    with ThreadPoolExecutor(max_workers=max(1, limits.threads), thread_name_prefix="decode") as pool:
        try:
            for item in items:
                needed = cost(item)
                while waiting and sum(each for _, each, _ in waiting) + needed > limits.memory:
                    yield _outcome(*_first(waiting))
                waiting.append((item, needed, pool.submit(work, item)))
                while len(waiting) > 2 * limits.threads:
                    yield _outcome(*_first(waiting))
            while waiting:
                yield _outcome(*_first(waiting))
        finally:
            for _, _, future in waiting:
                future.cancel()


def _first(waiting: deque[tuple[Item, int, Future[Result]]]) -> tuple[Item, Future[Result]]:
    item, _, future = waiting.popleft()
    return item, future


def _outcome(item: Item, future: Future[Result]) -> Done[Item, Result]:
    try:
        return Done(item=item, result=future.result())
    except BadInput as error:
        return Done(item=item, error=error)


class OpenFiles:
    """Stored images open for several threads; each is opened once for all its frames, and few at a time stay open."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._open: dict[Path, StoredImage] = {}
        self._users: dict[Path, int] = {}

    @contextmanager
    def use(self, path: Path) -> Iterator[StoredImage]:
        """The image of ``path``, kept open while anybody uses it.

        Raises:
            Undecodable: it cannot be parsed.
            StorageError: it cannot be read.
        """
        with self._lock:
            image = self._open.pop(path, None) or load(path)
            self._open[path] = image  # the newest last
            self._users[path] = self._users.get(path, 0) + 1
        try:
            yield image
        finally:
            with self._lock:
                self._users[path] -= 1
                self._trim(self._most)

    def close(self) -> None:
        """Close what nobody uses."""
        with self._lock:
            self._trim(0)

    def _trim(self, most: int) -> None:
        for path in [each for each, users in self._users.items() if not users]:
            if len(self._open) > most:
                self._open.pop(path).close()
                del self._users[path]
