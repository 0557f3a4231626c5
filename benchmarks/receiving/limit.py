"""What this machine can do at all: write, fdatasync and one committed row per instance, in one plain loop."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.receiving.comparing import data_set

NAME = "write + fdatasync + row"


def seconds_to_keep(files: Sequence[Path], folder: Path) -> float:
    """Keep the data sets of ``files`` one after the other in the new ``folder``; reading them does not count."""
    folder.mkdir(parents=True)
    held = [data_set(path) for path in files]
    with closing(sqlite3.connect(folder / "rows.sqlite", isolation_level=None)) as rows:
        rows.execute("PRAGMA journal_mode=WAL")
        rows.execute("PRAGMA synchronous=FULL")
        rows.execute("CREATE TABLE instance (id INTEGER PRIMARY KEY, path TEXT, size INTEGER)")
        began = time.perf_counter()
        for number, data in enumerate(held):
            _keep(folder / f"{number:06d}.dcm", data)
            rows.execute("INSERT INTO instance (path, size) VALUES (?, ?)", (f"{number:06d}.dcm", len(data)))
        return time.perf_counter() - began


def _keep(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view):]
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
