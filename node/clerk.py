"""The clerk's round: book arrivals, start versions, requeue deliveries, anchor the audit trail."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from node import audit, delivery
from node.arrivals import Arrival, Arrivals
from node.config import DeliverySection
from node.database import transaction
from node.domain import JSON, InstanceState, ReceivedInstance
from node.errors import NodeError, StorageError
from node.jobs import DeadJob, Failure, Jobs
from node.studies import Studies

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05
BATCH = 64


@dataclass
class Every:
    """Runs ``action`` at most once in ``seconds``."""

    seconds: float
    action: Callable[[], object]
    due_at: float = 0.0

    def turn(self, now: float) -> None:
        if now >= self.due_at:
            self.due_at = now + self.seconds
            self.action()


@dataclass
class Clerk:
    """Everything that happens because time passes or a row appeared."""

    engine: sa.Engine
    chain: str
    arrivals: Arrivals
    studies: Studies
    jobs: Jobs
    #: What a stage does when its job failed, by stage name.
    failed: Mapping[str, Callable[[sa.Connection, JSON, Failure], None]]
    settings: DeliverySection
    stopping: threading.Event = field(default_factory=threading.Event)
    woken: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Round after round until stopped; a database that is away is waited for."""
        duties = (
            Every(0.0, self.book), Every(0.1, self.studies.complete_due), Every(0.5, self.requeue),
            Every(10.0, self.bury), Every(60.0, self.anchor),
        )
        while not self.stopping.is_set():
            for duty in duties:
                self._dutifully(duty)
            self.woken.wait(POLL_SECONDS)
            self.woken.clear()

    def _dutifully(self, duty: Every) -> None:
        """The worker loop's edge: one duty that fails must not keep the others from being done."""
        try:
            duty.turn(time.monotonic())
        except NodeError as error:
            log.warning("%s: %s", duty.action.__name__, error, extra={"action": "clerk.retry"})
            self.stopping.wait(1.0)
        except Exception as error:  # noqa: BLE001 - the worker loop's edge
            log.error("%s: %s: %s", duty.action.__name__, type(error).__name__, error,
                      extra={"action": "clerk.error"})
            self.stopping.wait(1.0)

    def book(self) -> int:
        """Read and book what arrived; how many instances.

        Raises:
            StorageError: some cannot be read for now. They are left for the next round; the others are booked.
        """
        total = 0
        tried: set[int] = set()
        later: list[StorageError] = []
        while found := [one for one in self.arrivals.waiting(BATCH) if one.id not in tried]:
            tried.update(one.id for one in found)
            read = [arrival for one in found if (arrival := self._classified(one, later)) is not None]
            self._record(read)
            total += len(read)
        if later:
            raise StorageError(f"{len(later)} instances cannot be read for now, the first: {later[0]}")
        return total

    def _record(self, read: Sequence[Arrival]) -> None:
        """Book in one transaction; where the database takes no such text, the others in one of their own each."""
        try:
            with transaction(self.engine) as connection:
                for arrival in read:
                    self.studies.record(connection, arrival)
        except StorageError as error:
            if not isinstance(error.__cause__, sa.exc.DataError):
                raise
            for arrival in read:
                self._record([arrival] if len(read) > 1 else [_unreadable(arrival.instance, "a text in its head")])

    def _classified(self, found: ReceivedInstance, later: list[StorageError]) -> Arrival | None:
        """A file that breaks the reader is kept and named; it stops neither the clerk nor another study."""
        try:
            return self.arrivals.classify(found)
        except StorageError as error:
            later.append(error)
            return None
        except Exception as error:  # noqa: BLE001 - the worker loop's edge
            return _unreadable(found, type(error).__name__)

    def requeue(self) -> int:
        """Deliveries that an operator or a commitment report asked to send again."""
        with transaction(self.engine) as connection:
            return delivery.requeue(connection, self.chain, self.jobs.put, self.settings)

    def bury(self) -> int:
        """Jobs that will not run again fail their study, once, instead of leaving it waiting."""
        dead = self.jobs.dead()
        for job in dead:
            self._bury(job)
        return len(dead)

    def _bury(self, job: DeadJob) -> None:
        with transaction(self.engine) as connection:
            if job.stage in self.failed:
                reason = f"job is {job.status.lower()}"
                self.failed[job.stage](connection, job.arguments, Failure(error=job.status, reason=reason))
        self.jobs.forget([job.key])

    def anchor(self) -> None:
        """Bind all audit chains together."""
        with transaction(self.engine) as connection:
            audit.anchor(connection)


def _unreadable(found: ReceivedInstance, why: str) -> Arrival:
    log.error("instance %d cannot be read: %s", found.id, why,
              extra={"action": "instance.unreadable", "instance": found.id})
    return Arrival(instance=found, head=None, state=InstanceState.UNREADABLE,
                   reason=f"unexpected {why} while reading the head")
