"""Instances that take long to arrive: the clerk is told while they do, so that their studies are not taken for quiet.

What arrives within a second, as most does, costs a look at the clock per write and nothing else.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping

import sqlalchemy as sa

from node.database import arriving, insert_ignore, now, transaction
from node.errors import StorageError, UnusableIdentity
from node.header import ScannedHead, require_usable

log = logging.getLogger(__name__)

LONG_SECONDS = 1.0
"""What takes longer is told, and told again so often. The clerk forgets what it did not hear of for ten."""
GONE_SECONDS = 3600.0


class Underway:
    """What one receiver process is in the middle of receiving, one instance per association at most.

    ``slot`` is the name of the process. :meth:`run` needs a thread of its own, so that no sender waits for SQL.
    """

    def __init__(
        self, engine: sa.Engine, slot: str, wall: Callable[[], float] = now,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._slot = slot
        self._wall = wall
        self.steady = steady
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._arriving: dict[str, tuple[str, str]] = {}
        self._ended: set[str] = set()

    def watch(self, association: str) -> Watch:
        """An instance begins to arrive on ``association``."""
        return Watch(self, association)

    def run(self) -> None:
        """Tell of what is arriving once a second, and of what ended at once; sleep while there is nothing."""
        while True:
            self._changed.wait(LONG_SECONDS if self._arriving else None)
            self._changed.clear()
            try:
                self.tell()
            except StorageError as error:
                log.warning("instances on their way are not told: %s", error, extra={"action": "underway.untold"})
                time.sleep(LONG_SECONDS)
                self._changed.set()

    def tell(self) -> None:
        """Bring the rows up to date. Raises StorageError."""
        with self._lock:
            current, ended = dict(self._arriving), set(self._ended)
        if current or ended:
            with transaction(self._engine) as connection:
                self._write(connection, current, ended)
        with self._lock:
            self._ended -= ended

    def sweep(self) -> None:
        """Remove what this process left behind when it was killed. Raises StorageError."""
        with transaction(self._engine) as connection:
            connection.execute(sa.delete(arriving).where(arriving.c.slot == self._slot))

    def begins(self, association: str, study_instance_uid: str, series_instance_uid: str) -> None:
        """An instance of this study takes long."""
        with self._lock:
            self._arriving[association] = (study_instance_uid, series_instance_uid)
            self._ended.discard(association)
        self._changed.set()

    def ends(self, association: str) -> None:
        """It is recorded, or will not be."""
        with self._lock:
            self._arriving.pop(association, None)
            self._ended.add(association)
        self._changed.set()

    def _write(self, connection: sa.Connection, current: Mapping[str, tuple[str, str]], ended: set[str]) -> None:
        mine = arriving.c.slot == self._slot
        if ended:
            connection.execute(sa.delete(arriving).where(mine, arriving.c.association.in_(ended)))
        for association, (study_uid, series_uid) in current.items():
            values = {"study_instance_uid": study_uid, "series_instance_uid": series_uid, "beat_at": self._wall()}
            known = sa.update(arriving).where(mine, arriving.c.association == association).values(**values)
            if connection.execute(known).rowcount == 0:
                insert_ignore(connection, arriving, slot=self._slot, association=association, **values)


def forget_gone(connection: sa.Connection) -> int:
    """Remove what receivers left behind that were killed and did not start again; how many rows."""
    return connection.execute(sa.delete(arriving).where(arriving.c.beat_at < now() - GONE_SECONDS)).rowcount


class Watch:
    """Looks after one instance while it arrives."""

    def __init__(self, underway: Underway, association: str) -> None:
        self._underway = underway
        self._association = association
        self._told = False
        self._look_at = underway.steady() + LONG_SECONDS

    def wrote(self, head: Callable[[], ScannedHead]) -> None:
        """Bytes arrived. ``head`` scans what is there so far, and is called once a second at most."""
        if self._underway.steady() >= self._look_at:
            self._look(head)

    def ended(self) -> None:
        """It is recorded, refused or abandoned."""
        self._look_at = math.inf
        if self._told:
            self._told = False
            self._underway.ends(self._association)

    def _look(self, head: Callable[[], ScannedHead]) -> None:
        self._look_at = self._underway.steady() + LONG_SECONDS
        try:
            found = head()
            require_usable(found.study_instance_uid, found.series_instance_uid, "0")
        except (StorageError, UnusableIdentity):  # not known yet, or never: what is wrong is said at the end
            return
        self._look_at, self._told = math.inf, True
        self._underway.begins(self._association, found.study_instance_uid, found.series_instance_uid)
