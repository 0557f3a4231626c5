"""Role bookkeeping: a slot per process, its heartbeat, and the recovery of what a dead one left behind."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO, Protocol

import sqlalchemy as sa

from node.database import insert_ignore, role_status, server_now, transaction
from node.domain import JSON
from node.errors import StorageError

log = logging.getLogger(__name__)

BEAT_SECONDS = 2.0
DEAD_AFTER_SECONDS = 30.0
FORGOTTEN_AFTER_SECONDS = 86_400.0


class Role(Enum):
    """The processes of a node."""

    #: Associations, instances, rows, audit. Loads neither the job engine nor torch.
    RECEIVER = "receiver"
    #: Turns rows into jobs; reports, delivery, housekeeping.
    CLERK = "clerk"
    #: Images, triage, findings; one per GPU.
    WORKER = "worker"
    #: API and pages.
    WEB = "web"


@dataclass(frozen=True)
class Slot:
    """A name that is unique among live processes and the same after a restart. Keep ``lock`` open."""

    name: str
    lock: IO[str]


def take_slot(data_dir: Path, role: Role) -> Slot:
    """The first free slot of a role on this machine; its name is also the executor id and the audit chain."""
    folder = data_dir / "slots"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(64):
        name = f"{socket.gethostname()[:40]}.{role.value}.{number}"
        lock = (folder / f"{name}.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return Slot(name, lock)
    raise StorageError(f"{folder}: 64 processes of role {role.value} run already on this machine")


class Recovery(Protocol):
    """What is asked of the job engine about processes that died."""

    def pending_owners(self) -> set[str]: ...

    def recover(self, executor_id: str) -> int: ...


def forget_gone(connection: sa.Connection) -> int:
    """Remove the rows of processes that were silent for a day; how many."""
    limit = server_now(connection) - FORGOTTEN_AFTER_SECONDS
    return connection.execute(sa.delete(role_status).where(role_status.c.beat_at < limit)).rowcount


class Heartbeat:
    """Writes this process's row every two seconds and, when a peer died, gets its jobs recovered."""

    def __init__(
        self, engine: sa.Engine, slot: Slot, role: Role, incarnation: str, jobs: Recovery | None = None
    ) -> None:
        self._engine, self._slot, self._role, self._incarnation = engine, slot.name, role, incarnation
        self._jobs = jobs
        self._stop = threading.Event()
        self._state: tuple[bool, JSON] = (False, {})
        self._healthy_since: float | None = None

    def ready(self, detail: JSON | None = None) -> None:
        """Say that the role does its work, and with what."""
        self._state = (True, detail or {})
        self.beat()

    def beat(self) -> Mapping[str, float]:
        """One beat; seconds since the last beat of every slot, by the database's clock."""
        ready, detail = self._state
        with transaction(self._engine) as connection:
            now = server_now(connection)
            values = {"role": self._role.value, "incarnation": self._incarnation, "pid": os.getpid(),
                      "ready": ready, "detail": detail, "beat_at": now}
            update = sa.update(role_status).where(role_status.c.slot == self._slot).values(**values)
            if connection.execute(update).rowcount == 0:
                insert_ignore(connection, role_status, slot=self._slot, **values)
            rows = connection.execute(sa.select(role_status.c.slot, role_status.c.beat_at)).all()
        return {row.slot: now - row.beat_at for row in rows}

    def run(self) -> None:
        """Beat until stopped. A database that is away is waited for."""
        while not self._stop.wait(BEAT_SECONDS):
            try:
                ages = self.beat()
            except StorageError as error:
                self._healthy_since = None  # everybody's beat is old now: nobody may be judged
                log.warning("heartbeat: %s", error, extra={"action": "role.beat_failed"})
                continue
            self._judge(ages)

    def _judge(self, ages: Mapping[str, float]) -> None:
        if self._jobs is None:
            return
        self._healthy_since = self._healthy_since or 0.0
        self._healthy_since += BEAT_SECONDS
        if self._healthy_since < DEAD_AFTER_SECONDS:
            return
        silent = {slot for slot, age in ages.items() if age > DEAD_AFTER_SECONDS and slot != self._slot}
        for slot in silent & self._jobs.pending_owners() if silent else ():
            number = self._jobs.recover(slot)
            log.warning("%d jobs of %s, silent for %.0f s, were recovered", number, slot, ages[slot],
                        extra={"action": "role.recovered", "slot": slot})

    def stop(self) -> None:
        """Leave: the row says not ready from here on."""
        self._stop.set()
        self._state = (False, {})
        try:
            self.beat()
        except StorageError as error:
            log.warning("last heartbeat: %s", error, extra={"action": "role.beat_failed"})
