"""Memory in which an instance is gathered, shaped so that a disk can take it without copying (``O_DIRECT``)."""

from __future__ import annotations

import mmap
import threading

Buffer = bytes | bytearray | memoryview

BLOCK = 4096
"""Bytes that direct writes are whole multiples of: of every disk's sector and of a page."""
STAGED_BYTES = 1 << 20


class Staging:
    """Bytes on their way to a file. Its memory begins at a page, as mapped memory does."""

    def __init__(self, size: int = STAGED_BYTES) -> None:
        self._memory = memoryview(mmap.mmap(-1, size))
        self._count = 0

    def put(self, data: memoryview) -> int:
        """Take as much of ``data`` as there is room for; how many bytes."""
        taken = min(len(data), len(self._memory) - self._count)
        self._memory[self._count:self._count + taken] = data[:taken]
        self._count += taken
        return taken

    @property
    def is_full(self) -> bool:
        """Whether nothing more goes in."""
        return self._count == len(self._memory)

    def __len__(self) -> int:
        return self._count

    def content(self) -> memoryview:
        """What was put in. Good until :meth:`clear`."""
        return self._memory[:self._count]

    def padded(self) -> memoryview:
        """What was put in, with zeros up to a whole number of blocks."""
        end = -(-self._count // BLOCK) * BLOCK
        self._memory[self._count:end] = bytes(end - self._count)
        return self._memory[:end]

    def clear(self) -> None:
        """Be empty."""
        self._count = 0


class StagingPool:
    """Stagings to use again, the one that was used last first: its memory is warm. Thread-safe.

    There are as many as instances ever arrived at the same time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Staging] = []

    def take(self) -> Staging:
        """An empty one."""
        with self._lock:
            return self._idle.pop() if self._idle else Staging()

    def give_back(self, staging: Staging) -> None:
        """Nobody uses it any more."""
        staging.clear()
        with self._lock:
            self._idle.append(staging)
