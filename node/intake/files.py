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

import errno
import fcntl
import hashlib
import os
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from node.errors import OutOfSpace, StorageError
from node.intake.durability import Disk, make_directory, sync_directory

Buffer = bytes | bytearray | memoryview

MEGABYTE = 1 << 20
BUFFERS_PER_CALL = 1024  # IOV_MAX of Linux
LARGE = 1 << 17
"""Bytes from which a file is synced by itself."""
EARLY = 1 << 20
"""Bytes after which the kernel is asked to write what came, so that little is left to sync at the end."""


class InstanceFiles:
    """The folders under ``node.data_dir`` that received instances live in."""

    def __init__(self, data_dir: Path, min_free_mb: int) -> None:
        self._data_dir = data_dir
        self._min_free_mb = min_free_mb
        self._incoming = data_dir / "incoming"
        with _mapped(self._incoming):
            make_directory(self._incoming)
            self._disk = Disk(data_dir)

    def open(self, preamble: bytes) -> IncomingFile:
        """A new file that begins with ``preamble``, in front of the data set.

        Raises:
            OutOfSpace: less than the configured reserve is free.
            StorageError: the file cannot be made.
        """
        self._require_space()
        name = f"{datetime.now(UTC):%Y%m%d%H}-{uuid.uuid4().hex}.part"
        file = IncomingFile(self._data_dir, name, os.O_CREAT | os.O_EXCL, self._disk)
        try:
            file.write((preamble,))
        except StorageError:
            file.discard()
            raise
        return file.begin_data_set()

    def secure(self, files: Sequence[IncomingFile]) -> None:
        """Bytes and final names survive a power cut when this returns. Raises OutOfSpace or StorageError."""
        with _mapped(self._data_dir):
            self._disk.secure([file.opened() for file in files if not file.is_synced],
                              {file.folder for file in files})

    def free_mb(self) -> int:
        """Space that is free for us. Raises StorageError."""
        with _mapped(self._data_dir):
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
            file = IncomingFile(self._data_dir, path.name, 0, self._disk)
        except StorageError:  # locked by its writer, or gone
            return None
        if file.is_named():
            return file
        file.close()  # it was settled between the look into the folder and the lock
        return None


class IncomingFile:
    """One instance while it arrives. Locked until it is settled, discarded, quarantined or closed."""

    def __init__(self, data_dir: Path, name: str, flags: int, disk: Disk) -> None:
        self._data_dir = data_dir
        self._disk = disk
        self.path = _final_path(name)
        """Where the instance will be, relative to ``node.data_dir``."""
        # Texts: putting Path objects together for each instance would cost more than the calls they are for.
        self._incoming = f"{data_dir}/incoming/{name}"
        self._final = f"{data_dir}/{self.path}"
        self.folder = self._final.rpartition("/")[0]
        """Of its final name."""
        self.is_synced = False
        self.size = 0
        """Bytes of the whole file, as far as they were written."""
        self._start = self._begun = 0
        with _mapped(self._incoming):
            self._descriptor = os.open(self._incoming, os.O_RDWR | os.O_CLOEXEC | flags, 0o640)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(self._descriptor)
                raise

    def begin_data_set(self) -> IncomingFile:
        """Remember that what is written from here on is the data set."""
        self._start = self.size
        return self

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Append. Raises OutOfSpace or StorageError."""
        waiting = [memoryview(buffer) for buffer in buffers]
        with _mapped(self._incoming):
            while waiting:
                written = os.writev(self._descriptor, waiting[:BUFFERS_PER_CALL])
                self.size += written
                while waiting and written >= len(waiting[0]):
                    written -= len(waiting.pop(0))
                if waiting:
                    waiting[0] = waiting[0][written:]
        if self.size - self._begun >= EARLY:
            self._disk.begin_writing(self._descriptor, self._begun, self.size - self._begun)
            self._begun = self.size

    def head(self, size: int) -> bytes:
        """At most ``size`` bytes from the beginning of the data set."""
        with _mapped(self._incoming):
            return os.pread(self._descriptor, size, self._start)

    @property
    def published(self) -> bool:
        """Whether it has its final name too."""
        return os.fstat(self._descriptor).st_nlink > 1

    def is_named(self) -> bool:
        """Whether its name in ``incoming`` is still there and means this file."""
        try:
            return Path(self._incoming).stat().st_ino == os.fstat(self._descriptor).st_ino
        except FileNotFoundError:
            return False

    def publish(self) -> None:
        """Give it its final name, beside the one it has; :meth:`InstanceFiles.secure` makes it last."""
        with _mapped(self._final):
            try:
                os.link(self._incoming, self._final)
            except FileNotFoundError:
                make_directory(Path(self.folder))
                os.link(self._incoming, self._final)

    def sync_if_large(self) -> None:
        """Make its bytes durable now, on the caller's thread: large ones would hold up those they are secured with.

        Raises OutOfSpace or StorageError.
        """
        if self.size >= LARGE:
            with _mapped(self._incoming):
                os.fdatasync(self._descriptor)
            self.is_synced = True

    def opened(self) -> int:
        """Its descriptor."""
        return self._descriptor

    def settle(self) -> None:
        """Its row is committed: only the final name stays."""
        _remove(self._incoming)
        self.close()

    def discard(self) -> None:
        """Remove it under every name, unless it was settled, quarantined or closed before."""
        if self._descriptor >= 0:
            _remove(self._final)
            _remove(self._incoming)
        self.close()

    def quarantine(self) -> str:
        """Move it to ``quarantine`` and return its path there, relative to ``node.data_dir``."""
        with _mapped(self._incoming):
            os.fsync(self._descriptor)
            with Path(self._incoming).open("rb") as file:
                kept = Path("quarantine", f"{hashlib.file_digest(file, 'sha256').hexdigest()}.dcm")
            folder = self._data_dir / kept.parent
            make_directory(folder)
            Path(self._incoming).rename(self._data_dir / kept)
            sync_directory(str(folder))
        self.close()
        return str(kept)

    def close(self) -> None:
        """Let the lock go. What is in ``incoming`` then is removed by the next sweep."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _remove(path: str) -> None:
    with suppress(OSError):  # what cannot be removed now is seen by the next sweep
        os.unlink(path)  # noqa: PTH108


def _final_path(name: str) -> str:
    hour, _, identifier = name.removesuffix(".part").partition("-")
    return f"instances/{hour[:4]}/{hour[4:6]}/{hour[6:8]}/{hour[8:]}/{identifier}.dcm"


@contextmanager
def _mapped(path: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        kind = OutOfSpace if full else StorageError
        raise kind(f"{path}: {error.strerror or error}; check the disk that node.data_dir is on") from error
