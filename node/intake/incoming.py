"""One instance on disk while it arrives: gathered in memory, written in large pieces past the page cache."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from node.intake.durability import make_directory, mapped, sync_directory
from node.intake.staging import BLOCK, Buffer, Staging, StagingPool

LARGE = 1 << 17
"""Bytes from which a file is synced by itself."""
KEPT_HEAD = (1 << 16) + BLOCK
"""Bytes at the beginning of a large file that are kept in memory too, for who looks at its head."""


class IncomingFile:
    """Locked until it is settled, discarded, quarantined or closed. Used by one thread at a time.

    Its bytes are gathered in a :class:`Staging` and written in pieces as large as that. They go past the page
    cache where the file system can (``O_DIRECT``): nothing is copied, and syncing one file waits for no other's.
    """

    def __init__(self, data_dir: Path, name: str, stagings: StagingPool, flags: int = 0) -> None:
        self._data_dir = data_dir
        self.path = _final_path(name)
        """Where the instance will be, relative to ``node.data_dir``."""
        # Texts: putting Path objects together for each instance would cost more than the calls they are for.
        self._incoming = f"{data_dir}/incoming/{name}"
        self._final = f"{data_dir}/{self.path}"
        self.folder = self._final.rpartition("/")[0]
        """Of its final name."""
        self.is_synced = False
        self.size = 0
        """Bytes of the whole file that came so far."""
        self._start = self._written = 0
        self._first = b""
        self._is_direct = False
        self._stagings = stagings
        self._staging: Staging | None = None
        with mapped(self._incoming):
            self._descriptor = os.open(self._incoming, os.O_RDWR | os.O_CLOEXEC | flags, 0o640)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(self._descriptor)
                raise

    def begin(self, preamble: bytes) -> None:
        """What is written after ``preamble`` is the data set. Raises OutOfSpace or StorageError."""
        self._staging = self._stagings.take()
        self.write((preamble,))
        self._start = self.size

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Append. Raises OutOfSpace or StorageError."""
        staging = self._staging
        assert staging is not None, "begin() comes first, and nothing is written after publish()"
        for buffer in buffers:
            left = memoryview(buffer)
            self.size += len(left)
            while left:
                left = left[staging.put(left):]
                if staging.is_full:
                    self._write_out(staging)

    def head(self, size: int) -> bytes:
        """At most ``size`` bytes from the beginning of the data set. Raises StorageError."""
        staging = self._staging
        assert staging is not None, "the head is looked at before publish()"
        end = self._start + size
        if not self._written:
            return bytes(staging.content()[self._start:end])
        if end <= len(self._first):
            return self._first[self._start:end]
        with mapped(self._incoming), Path(self._incoming).open("rb", buffering=0) as file:  # not the descriptor
            written = os.pread(file.fileno(), size, self._start)  # of direct writes, which reads only whole blocks
        return written + bytes(staging.content()[:max(0, end - self._written)])

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
        """Write what is left and give it its final name, beside the one it has. Nothing is durable yet.

        Raises OutOfSpace or StorageError.
        """
        self._complete()
        with mapped(self._final):
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
            with mapped(self._incoming):
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
        self._complete()
        with mapped(self._incoming):
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
        self._let_staging_go()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _complete(self) -> None:
        """Write what is gathered. Whole blocks at the end too, cut to size after it."""
        if self._staging is None:
            return
        if self._is_direct and len(self._staging):
            self._write(self._staging.padded())
            with mapped(self._incoming):
                os.ftruncate(self._descriptor, self.size)
        else:
            self._write(self._staging.content())
        self._let_staging_go()

    def _write_out(self, staging: Staging) -> None:
        """The staging is full: empty it into the file."""
        if not self._written:
            self._first = bytes(staging.content()[:KEPT_HEAD])
            self._is_direct = self._set_direct(wanted=True)
        self._write(staging.content())
        self._written += len(staging)
        staging.clear()

    def _write(self, data: memoryview) -> None:
        with mapped(self._incoming):
            while data:
                try:
                    data = data[os.write(self._descriptor, data):]
                except OSError as error:
                    if error.errno != errno.EINVAL or not self._is_direct:
                        raise
                    self._is_direct = self._set_direct(wanted=False)

    def _set_direct(self, *, wanted: bool) -> bool:
        """Whether its writes go past the page cache now; not every file system can do that."""
        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags | os.O_DIRECT if wanted else flags & ~os.O_DIRECT)
        except OSError:
            return False
        return wanted

    def _let_staging_go(self) -> None:
        staging, self._staging = self._staging, None
        if staging is not None:
            self._stagings.give_back(staging)


def _remove(path: str) -> None:
    with suppress(OSError):  # what cannot be removed now is seen by the next sweep
        os.unlink(path)  # noqa: PTH108


def _final_path(name: str) -> str:
    hour, _, identifier = name.removesuffix(".part").partition("-")
    return f"instances/{hour[:4]}/{hour[4:6]}/{hour[6:8]}/{hour[8:]}/{identifier}.dcm"
