"""Removing received files by age and for free space, never those of a study that is not finished.

The row goes first: one transaction says ``removed`` and writes the event, then the file is unlinked. A
process killed between the two leaves a file that its row disowns, which the consistency check removes;
the other way round it would leave a row that promises a file, which looks like a loss. Pictures of its
heat maps go with an image. Reports are the node's own records and are never removed.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from node import audit, heat_maps
from node.config import RetentionSection
from node.database import instance, now, reading, study, transaction
from node.domain import AuditEvent, InstanceState
from node.errors import StorageError
from node.housekeeping import derived, finished

log = logging.getLogger(__name__)

DAY = 86_400.0
MEGABYTE = 1 << 20
PAGE = 500
"""Rows looked at by one query."""
BATCH = 32
"""Rows changed by one transaction: a moment, so that receivers and the clerk's booking wait for nothing longer."""
ALARM_SECONDS = 3600.0

_Row = sa.Row[*tuple[Any, ...]]


class Why(Enum):
    """What a file had to go for."""

    AGE = "age"
    SPACE = "space"


@dataclass
class InPieces:
    """A long round of work in pieces of ``piece_seconds``; a new round begins ``every_seconds`` after the last did."""

    every_seconds: float
    work: Callable[[], Iterator[int]]
    clock: Callable[[], float] = time.monotonic
    piece_seconds: float = 0.05
    _due_at: float = 0.0
    _round: Iterator[int] = field(default_factory=lambda: iter(()))

    def turn(self) -> int:
        """Go on for one piece; what its steps add up to."""
        started, done = self.clock(), 0
        while (step := next(self._round, None)) is None:
            if started < self._due_at:
                return done
            self._due_at, self._round = started + self.every_seconds, self.work()
        done += step
        while self.clock() < started + self.piece_seconds and (step := next(self._round, None)) is not None:
            done += step
        return done


class Retention:
    """The rules of section ``retention`` on one store.

    ``committing`` names the destinations that are asked to commit. The two rounds of work are generators
    that yield after each transaction, how many files that was.
    """

    def __init__(
        self, engine: sa.Engine, data_dir: Path, chain: str, settings: RetentionSection,
        committing: Collection[str], clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._data_dir = data_dir
        self._chain = chain
        self._settings = settings
        self._clock = clock
        self._quiet_until = 0.0
        self._for_age = finished.condition(committing, also_failed=True)
        self._for_space = finished.condition(committing, also_failed=False)

    def expire(self) -> Iterator[int]:
        """Remove what is older than ``retention.days``: studies whose last instance is, and refused bytes."""
        if not self._settings.days:
            return
        limit = now() - self._settings.days * DAY
        yield from self._remove_quarantined(limit)
        for uids in self._pages(limit, self._for_age):
            for uid in uids:
                yield from self._remove_study(uid, self._for_age, Why.AGE)
            yield 0

    def make_room(self) -> Iterator[int]:
        """Remove the oldest, refused bytes first, until ``retention.min_free_mb`` is free: whole studies, no more."""
        if self._enough_is_free():
            return
        for removed in self._remove_quarantined(None):
            yield removed
            if self._enough_is_free():
                return
        for uids in self._pages(None, self._for_space):
            for uid in uids:
                yield from self._remove_study(uid, self._for_space, Why.SPACE)
                if self._enough_is_free():
                    return
            yield 0
        self._alarm()

    def free_mb(self) -> int:
        """Raises StorageError."""
        try:
            disk = os.statvfs(self._data_dir)
        except OSError as error:
            raise StorageError(f"{self._data_dir}: {error.strerror}; look at node.data_dir") from error
        return disk.f_bavail * disk.f_frsize // MEGABYTE

    def _enough_is_free(self) -> bool:
        return self.free_mb() >= self._settings.min_free_mb

    def _require_writable(self) -> None:
        """Rows must not go where their files would stay."""
        if not os.access(self._data_dir, os.W_OK):
            raise StorageError(f"{self._data_dir}: cannot be written, so nothing is removed; look at the disk")

    def _pages(self, limit: float | None, allowed: sa.ColumnElement[bool]) -> Iterator[list[str]]:
        """UIDs of studies whose files may go, oldest first; by ``limit`` all their instances came before it."""
        for state in finished.READ:
            last = 0
            while rows := self._page(state, last):
                last = rows[-1].id
                old = (row for row in rows if limit is None or row.received_at <= limit)
                uids = list(dict.fromkeys(row.study_instance_uid for row in old))
                yield self._allowed(uids, limit, allowed) if uids else []

    def _page(self, state: str, after: int) -> Sequence[_Row]:
        query = sa.select(instance.c.id, instance.c.study_instance_uid, instance.c.received_at).where(
            instance.c.state == state, instance.c.id > after)
        with reading(self._engine) as connection:
            return connection.execute(query.order_by(instance.c.id).limit(PAGE)).all()

    def _allowed(self, uids: Sequence[str], limit: float | None, allowed: sa.ColumnElement[bool]) -> list[str]:
        """A first look at many; :func:`node.housekeeping.finished.hold` decides on each."""
        named = study.c.study_instance_uid
        with reading(self._engine) as connection:
            booked = set(connection.scalars(sa.select(named).where(named.in_(uids))))
            may = set(connection.scalars(sa.select(named).where(named.in_(uids), allowed))) | (set(uids) - booked)
            if limit is not None:
                newer = sa.select(instance.c.study_instance_uid).where(
                    instance.c.study_instance_uid.in_(uids), instance.c.received_at > limit)
                may -= set(connection.scalars(newer))
        return [uid for uid in uids if uid in may]

    def _remove_study(self, uid: str, allowed: sa.ColumnElement[bool], why: Why) -> Iterator[int]:
        while rows := self._remove_rows(uid, allowed, why):
            for row in rows:
                heat_maps.discard(self._data_dir, row.id)  # first: what is left over is found by the file of the image
                self._unlink(self._data_dir / row.path)
            self._remove_empty_folders(rows)
            log.info("%d files of study %s are removed (%s)", len(rows), uid, why.value, extra={
                "action": "retention.removed", "study_instance_uid": uid, "files": len(rows), "why": why.value})
            yield len(rows)

    def _remove_rows(self, uid: str, allowed: sa.ColumnElement[bool], why: Why) -> list[_Row]:
        """The next rows of a study, after their state says that they have no file."""
        self._require_writable()
        query = sa.select(instance).where(instance.c.study_instance_uid == uid, instance.c.state.in_(finished.KEPT))
        with transaction(self._engine) as connection:
            if not finished.hold(connection, uid, allowed):
                return []
            rows = connection.execute(query.order_by(instance.c.id).limit(BATCH)).all()
            removed = [row for row in rows if self._remove_row(connection, row, why)]
            derived.remove(connection, uid)
            return removed

    def _remove_row(self, connection: sa.Connection, row: _Row, why: Why) -> bool:
        claim = sa.update(instance).where(instance.c.id == row.id, instance.c.state == row.state)
        if connection.execute(claim.values(state=InstanceState.REMOVED.value)).rowcount == 0:
            return False
        audit.append(connection, self._chain, AuditEvent(
            action="instance.removed", study_instance_uid=row.study_instance_uid,
            sop_instance_uid=row.sop_instance_uid,
            detail={"instance": row.id, "path": row.path, "was": row.state, "why": why.value}))
        return True

    def _remove_quarantined(self, limit: float | None) -> Iterator[int]:
        """One by one, oldest first; what was written after ``limit`` stays."""
        self._require_writable()
        for path, written in sorted(_quarantined(self._data_dir), key=lambda pair: pair[1]):
            if limit is not None and written > limit:
                return
            kept = path.relative_to(self._data_dir).as_posix()
            why = Why.SPACE if limit is None else Why.AGE
            with transaction(self._engine) as connection:
                audit.append(connection, self._chain, AuditEvent(
                    action="quarantine.removed", detail={"path": kept, "why": why.value}))
            self._unlink(path)
            yield 1

    def _unlink(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{path}: cannot be removed ({error.strerror}); its row says that it is. "
                               "'ainode check --store' tries again") from error

    def _remove_empty_folders(self, rows: Sequence[_Row]) -> None:
        """Those of past days: a receiver may be about to fill one of today, or of the last hours of yesterday."""
        for folder in {Path(row.path).parent for row in rows if row.received_at < now() - 2 * DAY}:
            with suppress(OSError):  # not empty, or gone
                (self._data_dir / folder).rmdir()
                (self._data_dir / folder.parent).rmdir()

    def _alarm(self) -> None:
        """Nothing more may go: say so, at most once an hour."""
        if self._clock() < self._quiet_until:
            return
        self._quiet_until = self._clock() + ALARM_SECONDS
        free, wanted = self.free_mb(), self._settings.min_free_mb
        log.error("%s: %d MB are free, retention.min_free_mb is %d, and nothing more may be removed: every other "
                  "study is open, failed or not delivered; see 'ainode delivery list'", self._data_dir, free, wanted,
                  extra={"action": "retention.exhausted", "free_mb": free})
        with transaction(self._engine) as connection:
            audit.append(connection, self._chain, AuditEvent(
                action="retention.exhausted", detail={"free_mb": free, "min_free_mb": wanted}))


def _quarantined(data_dir: Path) -> Iterator[tuple[Path, float]]:
    """Files of refused bytes, and when they were written."""
    for path in (data_dir / "quarantine").glob("*.dcm"):
        with suppress(FileNotFoundError):
            yield path, path.stat().st_mtime
