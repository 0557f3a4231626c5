"""Instances on disk: one Part 10 file each, named by a generated id.

::

    incoming/<yyyymmddhh>-<id>.part                bytes that nobody has answered for yet
    instances/<yyyy>/<mm>/<dd>/<hh>/<id>.dcm       an instance, by the hour (UTC) in which it began to arrive
    quarantine/<sha256>.dcm                        bytes that were refused and kept

A file keeps its name in ``incoming`` until its row is committed, and the process that writes it holds
a lock on it. So a name there without a lock is what a killed process left, and one look at the
database tells whether its instance counts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from node.errors import OutOfSpace, StorageError
from node.intake.durability import Disk, make_directory, mapped
from node.intake.incoming import IncomingFile
from node.intake.staging import StagingPool

MEGABYTE = 1 << 20


class InstanceFiles:
    """The folders under ``node.data_dir`` that received instances live in."""

    def __init__(self, data_dir: Path, min_free_mb: int) -> None:
        self._data_dir = data_dir
        self._min_free_mb = min_free_mb
        self._incoming = data_dir / "incoming"
        with mapped(self._incoming):
            make_directory(self._incoming)
        self._disk = Disk(data_dir)
        self._stagings = StagingPool()

    def open(self, preamble: bytes) -> IncomingFile:
        """A new file that begins with ``preamble``, in front of the data set.

        Raises:
            OutOfSpace: less than the configured reserve is free.
            StorageError: the file cannot be made.
        """
        self._require_space()
        name = f"{time.strftime('%Y%m%d%H', time.gmtime())}-{os.urandom(16).hex()}.part"
        file = IncomingFile(self._data_dir, name, self._stagings, os.O_CREAT | os.O_EXCL)
        try:
            file.begin(preamble)
        except StorageError:
            file.discard()
            raise
        return file

    def secure(self, files: Sequence[IncomingFile]) -> None:
        """Bytes and final names survive a power cut when this returns. Raises OutOfSpace or StorageError."""
        with mapped(self._data_dir):
            self._disk.secure([file.opened() for file in files if not file.is_synced],
                              {file.folder for file in files})

    def free_mb(self) -> int:
        """Space that is free for us. Raises StorageError."""
        with mapped(self._data_dir):
            disk = os.statvfs(self._data_dir)
        return disk.f_bavail * disk.f_frsize // MEGABYTE

    def _require_space(self) -> None:
        free_mb = self.free_mb()
        if free_mb < self._min_free_mb:
            raise OutOfSpace(
                f"{self._data_dir}: {free_mb} MB are free, receive.min_free_disk_mb is {self._min_free_mb}; "
                "free some space or lower the reserve"
            )

    def sweep(self, recorded: Callable[[Collection[str]], Collection[str]]) -> int:
        """Remove what killed processes left in ``incoming``; files of running ones are not touched.

        ``recorded`` says which of some paths have a row: those were acknowledged, or may have been.
        """
        left = [file for path in sorted(self._incoming.glob("*.part")) if (file := self._abandoned(path)) is not None]
        published = [file.path for file in left if file.published]
        known = recorded(published) if published else ()
        for file in left:
            if file.path in known:
                file.settle()
            else:
                file.discard()
        return len(left)

    def _abandoned(self, path: Path) -> IncomingFile | None:
        try:
            file = IncomingFile(self._data_dir, path.name, self._stagings)
        except StorageError:  # locked by its writer, or gone
            return None
        if file.is_named():
            return file
        file.close()  # it was settled between the look into the folder and the lock
        return None
