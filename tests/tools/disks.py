"""File systems of a size of their own."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A real one in memory, mounted on ``folder``. Needs root, as every test run here does."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
    yield folder
    assert ctypes.CDLL(None, use_errno=True).umount2(os.fsencode(folder), 0) == 0


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing can be written below a mounted ``folder``; nothing in it may be open for writing."""
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
