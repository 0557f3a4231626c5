"""A list of the files on disk, kept in a scratch file so that millions of them need no memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from node.errors import StorageError

PAGE = 500


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """``path`` is relative to ``node.data_dir``, ``size`` in bytes, ``written_at`` in seconds since 1970."""

    path: str
    size: int
    written_at: float


class Inventory:
    """Files that no row was found for yet. Close it when done."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="ainode-check-")
        self._list = sqlite3.connect(Path(self._folder.name, "files"))
        self._list.execute("PRAGMA synchronous=OFF")
        self._list.execute("PRAGMA journal_mode=OFF")
        self._list.execute("CREATE TABLE file (path TEXT PRIMARY KEY, size INTEGER, written_at REAL) WITHOUT ROWID")

    def add(self, files: Iterable[StoredFile]) -> int:
        """Take all of them in; how many. Raises StorageError."""
        rows = ((file.path, file.size, file.written_at) for file in files)
        try:
            with self._list:
                return self._list.executemany("INSERT OR REPLACE INTO file VALUES (?, ?, ?)", rows).rowcount
        except sqlite3.Error as error:
            raise StorageError(f"{self._folder.name}: the list of files cannot be written ({error})") from error

    def take(self, path: str) -> StoredFile | None:
        """The file of that path, which is not left then; None where there is none."""
        row = self._list.execute("DELETE FROM file WHERE path = ? RETURNING size, written_at", (path,)).fetchone()
        return None if row is None else StoredFile(path=path, size=row[0], written_at=row[1])

    def left(self) -> Iterator[StoredFile]:
        """What was not taken, in the order of the paths, which is that of the hours."""
        last = ""
        page = "SELECT path, size, written_at FROM file WHERE path > ? ORDER BY path LIMIT ?"
        while rows := self._list.execute(page, (last, PAGE)).fetchall():
            yield from (StoredFile(path=path, size=size, written_at=at) for path, size, at in rows)
            last = rows[-1][0]

    def close(self) -> None:
        """Forget the list."""
        self._list.close()
        self._folder.cleanup()
