"""Whether the files of the store and the rows of the database agree, and making them.

Safe while the node runs: a receiver keeps a file's name in ``incoming`` until its row is committed, so a
file without a row that still has that name is in progress. Files are listed before rows are read, and a
row without a listed file is believed only after a second look. Needs memory for one page of either.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from node.database import instance, reading, report
from node.domain import InstanceState
from node.errors import StorageError
from node.housekeeping import finished
from node.housekeeping.inventory import Inventory, StoredFile
from node.housekeeping.recovery import Recovery

PAGE = 500
BATCH = 64
"""Rows brought back by one transaction."""
NAMED = 5
"""Of each kind of trouble so many are named."""
YOUNG_SECONDS = 3600.0
"""A file that was written to later may have got its row while the check ran."""
NAMES = {
    "instances": re.compile(r"instances/\d{4}/\d\d/\d\d/[0-9a-f]{2}/[0-9a-f]{32}\.dcm"),
    "quarantine": re.compile(r"quarantine/[0-9a-f]{64}\.dcm"),
    "incoming": re.compile(r"incoming/\d+-[0-9a-f]{32}\.part"),
    "reports": re.compile(r"reports/[0-9.]{1,64}\.dcm"),
}

_Row = sa.Row[*tuple[Any, ...]]


@dataclass
class Trouble:
    """Things of which a few are named, by SOP Instance UID or by path."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """One more."""
        self.count += 1
        self.names += [name][:NAMED - len(self.names)]

    def __str__(self) -> str:
        return ", ".join([*self.names, *["…"][:self.count - len(self.names)]])


@dataclass
class Findings:
    """What a check saw and did, in numbers of files and rows."""

    instances: int = 0
    reports: int = 0
    quarantined: int = 0
    arriving: int = 0
    #: Left by killed receivers and never acknowledged: removed.
    swept: int = 0
    #: Files without a row that got it back, and missing ones that are there again.
    restored: int = 0
    #: Files whose row said that they are removed: removed now.
    removed: int = 0
    #: Files that nobody can use: moved to quarantine.
    unusable: int = 0
    #: Report files without a row: kept, as nothing says that they were sent.
    unbooked_reports: int = 0
    #: Instances whose bytes are lost: they are ``missing`` from now on.
    lost: Trouble = field(default_factory=Trouble)
    lost_reports: Trouble = field(default_factory=Trouble)
    #: Files that have no business where they are: left alone.
    strange: Trouble = field(default_factory=Trouble)

    @property
    def clean(self) -> bool:
        """Nothing had to be done, and nothing is left to do."""
        done = self.swept + self.restored + self.removed + self.unusable + self.unbooked_reports
        return not (done or self.lost.count or self.lost_reports.count or self.strange.count)


class StoreCheck:
    """One check of one store. ``sweep`` is the receivers' own look at ``incoming`` and says what it removed."""

    def __init__(self, engine: sa.Engine, data_dir: Path, recovery: Recovery, sweep: Callable[[], int]) -> None:
        self._engine = engine
        self._data_dir = data_dir
        self._recovery = recovery
        self._sweep = sweep
        self._found = Findings()

    def run(self) -> Findings:
        """Look at everything and repair what can be.

        Raises:
            StorageError: disk or database refused, another check is at work, or the store looks as if its disk
                were not mounted; then nothing was changed.
        """
        with _alone(self._data_dir):
            started_at = time.time()
            inventory = Inventory()
            try:
                self._found.instances = inventory.add(self._listed("instances"))
                self._require_store()
                self._found.swept = self._sweep()
                self._look_at_rows(inventory)
                self._look_at_files(inventory, started_at)
            finally:
                inventory.close()
            self._look_at_reports(started_at)
            self._found.quarantined = sum(1 for _ in self._listed("quarantine"))
            self._found.arriving = sum(1 for _ in self._listed("incoming"))
        return self._found

    def _require_store(self) -> None:
        """A disk that is not mounted has no files either; to believe that would be to lose all of them."""
        if self._found.instances:
            return
        with reading(self._engine) as connection:
            some = connection.execute(
                sa.select(instance.c.id).where(instance.c.state.in_(finished.KEPT)).limit(1)).first()
        if some is not None:
            raise StorageError(f"{self._data_dir / 'instances'} holds no file, and the database says it does: is the "
                               "disk of node.data_dir mounted? Nothing was changed")

    def _listed(self, folder: str) -> Iterator[StoredFile]:
        """Files below a folder that have a name of ours; the others are strange."""
        for entry in _files(self._data_dir / folder):
            path = Path(entry.path).relative_to(self._data_dir).as_posix()
            if not NAMES[folder].fullmatch(path):
                self._found.strange.add(path)
                continue
            with suppress(FileNotFoundError):  # gone since
                status = entry.stat(follow_symlinks=False)
                yield StoredFile(path=path, size=status.st_size, written_at=status.st_mtime)

    def _look_at_rows(self, inventory: Inventory) -> None:
        last = 0
        while rows := self._page(last):
            last = rows[-1].id
            for row in rows:
                self._compare(row, inventory.take(row.path))

    def _page(self, after: int) -> Sequence[_Row]:
        query = sa.select(instance).where(instance.c.id > after).order_by(instance.c.id).limit(PAGE)
        with reading(self._engine) as connection:
            return connection.execute(query).all()

    def _compare(self, row: _Row, file: StoredFile | None) -> None:
        state = InstanceState(row.state)
        if file is None:
            if state.value in finished.KEPT and not (self._data_dir / row.path).exists():
                self._lose(row, "its file is gone")
        elif state is InstanceState.REMOVED:
            self._recovery.finish_removal(row)
            self._found.removed += 1
        elif file.size != row.size:
            reason = f"its file was damaged: {file.size} bytes, {row.size} were received"
            if state is InstanceState.MISSING or self._lose(row, reason):
                self._recovery.quarantine(row.path, reason)
                self._found.unusable += 1
        elif state is InstanceState.MISSING:
            self._found.restored += self._recovery.found_again(row)

    def _lose(self, row: _Row, reason: str) -> bool:
        marked = self._recovery.mark_missing(row, reason)
        if marked:
            self._found.lost.add(row.sop_instance_uid)
        return marked

    def _look_at_files(self, inventory: Inventory, started_at: float) -> None:
        """What no row was found for."""
        files = (file for file in inventory.left() if self._is_orphan(file, started_at))
        while batch := list(islice(files, BATCH)):
            restored = self._recovery.restore(batch)
            self._found.restored += restored
            self._found.unusable += len(batch) - restored

    def _is_orphan(self, file: StoredFile, started_at: float) -> bool:
        """Nobody will give it a row: it is still there, no receiver is about to record it, and none has by now."""
        if self._in_progress(file.path) or not (self._data_dir / file.path).exists():
            return False
        return file.written_at <= started_at - YOUNG_SECONDS or not self._is_recorded(file.path)

    def _in_progress(self, path: str) -> bool:
        """It still has its name in ``incoming``: a receiver has not answered for it."""
        *hour, name = Path(path).with_suffix(".part").parts[1:]
        return (self._data_dir / "incoming" / f"{''.join(hour)}-{name}").exists()

    def _is_recorded(self, path: str) -> bool:
        """Rows of just now are found by a search through all, which is worth it for few files only."""
        with reading(self._engine) as connection:
            return connection.execute(sa.select(instance.c.id).where(instance.c.path == path)).first() is not None

    def _look_at_reports(self, started_at: float) -> None:
        files = (file for file in self._listed("reports") if file.written_at < started_at - YOUNG_SECONDS)
        while page := list(islice(files, PAGE)):
            uids = {Path(file.path).stem for file in page}
            with reading(self._engine) as connection:
                known = connection.scalars(
                    sa.select(report.c.sop_instance_uid).where(report.c.sop_instance_uid.in_(uids))).all()
            self._found.unbooked_reports += len(uids.difference(known))
        last = ""
        while rows := self._reports(last):
            last = rows[-1].sop_instance_uid
            self._found.reports += len(rows)
            for row in rows:
                if not (self._data_dir / row.path).exists():
                    self._found.lost_reports.add(row.sop_instance_uid)

    def _reports(self, after: str) -> Sequence[_Row]:
        query = sa.select(report.c.sop_instance_uid, report.c.path).where(report.c.sop_instance_uid > after)
        with reading(self._engine) as connection:
            return connection.execute(query.order_by(report.c.sop_instance_uid).limit(PAGE)).all()


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Every file below ``folder``, hour after hour; none where it does not exist. Raises StorageError."""
    try:
        with os.scandir(folder) as entries:
            folders = []
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                else:
                    yield entry
        for inner in sorted(folders):
            yield from _files(inner)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"{folder}: cannot be read ({error.strerror})") from error


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """Two checks would both bring the same row back."""
    with (data_dir / "check.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(f"{data_dir}: another 'ainode check --store' is at work; wait for it") from error
        yield
