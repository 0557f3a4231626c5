"""The clerk's round: book arrivals, start versions, requeue deliveries, anchor the audit trail."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from node import audit, delivery
from node.arrivals import Arrival, Arrivals
from node.config import DeliverySection
from node.database import transaction
from node.domain import JSON, InstanceState, ReceivedInstance
from node.errors import NodeError
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
        """Read and book what arrived; how many instances."""
        total = 0
        while found := self.arrivals.waiting(BATCH):
            read = [self._classified(one) for one in found]
            with transaction(self.engine) as connection:
                for arrival in read:
                    self.studies.record(connection, arrival)
            total += len(read)
        return total

    def _classified(self, found: ReceivedInstance) -> Arrival:
        """A file that breaks the reader is kept and named; it stops neither the clerk nor another study."""
        try:
            return self.arrivals.classify(found)
        except Exception as error:  # noqa: BLE001 - the worker loop's edge
            log.error("instance %d cannot be read: %s", found.id, type(error).__name__,
                      extra={"action": "instance.unreadable", "instance": found.id})
            return Arrival(instance=found, head=None, state=InstanceState.UNREADABLE,
                           reason=f"unexpected {type(error).__name__} while reading the head")

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
