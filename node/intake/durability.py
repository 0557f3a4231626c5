"""What makes names and bytes survive a power cut, by whichever way is cheaper now."""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from node.errors import OutOfSpace, StorageError

WEIGHT = 0.2
"""Of the newest measurement in a running mean."""
FORGIVENESS = 0.98
"""What a way that was not taken costs, in memory, after each time: so that it is tried again."""


class Disk:
    """The file system under ``node.data_dir``.

    Files are synced one by one, each with its folder, or the whole file system at once (``syncfs``): one
    call for any number of files, but also for what other programs wrote. Both are timed and the cheaper is taken.
    """

    def __init__(self, data_dir: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._library = ctypes.CDLL(None, use_errno=True)
        self._data_dir = data_dir
        self._file_seconds = 0.0005
        self._whole_seconds = 0.0015

    def secure(self, descriptors: Sequence[int], folders: Collection[str]) -> None:
        """Make files (open descriptors) and the names in ``folders`` durable. Raises OSError."""
        if self._whole_is_cheaper(len(descriptors)):
            self._whole_seconds = self._timed(self._sync_whole, self._whole_seconds, 1)
            self._file_seconds *= FORGIVENESS
            return
        if not descriptors:
            self._sync_each((), folders)
            return
        self._file_seconds = self._timed(
            lambda: self._sync_each(descriptors, folders), self._file_seconds, len(descriptors))
        self._whole_seconds *= FORGIVENESS if len(descriptors) > 1 else 1.0

    def _whole_is_cheaper(self, files: int) -> bool:
        return files > 1 and self._whole_seconds < files * self._file_seconds

    def _timed(self, work: Callable[[], None], mean: float, count: int) -> float:
        start = self._clock()
        work()
        return mean + WEIGHT * ((self._clock() - start) / count - mean)

    def _sync_whole(self) -> None:
        root = os.open(self._data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if self._library.syncfs(root) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            os.close(root)

    def _sync_each(self, descriptors: Sequence[int], folders: Collection[str]) -> None:
        for descriptor in descriptors:
            os.fdatasync(descriptor)
        for folder in folders:
            sync_directory(folder)


def make_directory(path: Path) -> None:
    """Make ``path`` and what is missing above it, each of them durable. Raises OSError."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(mode=0o750, exist_ok=True)
    sync_directory(str(path.parent))


def sync_directory(path: str) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def mapped(path: Path | str) -> Iterator[None]:
    """What the disk says of ``path``, as OutOfSpace or StorageError."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        kind = OutOfSpace if full else StorageError
        raise kind(f"{path}: {error.strerror or error}; check the disk that node.data_dir is on") from error
