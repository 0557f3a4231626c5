"""The clerk's round: book arrivals, start versions, requeue deliveries, anchor the audit trail."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from node import announcements, audit, delivery, roles
from node.arrivals import Arrival, Arrivals
from node.config import DeliverySection
from node.database import transaction
from node.domain import JSON, InstanceState, Lane, ReceivedInstance
from node.errors import NodeError, StorageError
from node.intake import underway
from node.jobs import DeadJob, Failure, Jobs
from node.stages import pictures
from node.studies import Studies
from node.versions import Versions

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05
BATCH = 64
OTHERS_BATCH = 8
"""Of what is not fresh only a few are read at a time, so that what is fresh never waits long for its turn."""
OTHERS_SECONDS = 1.0
"""And so rarely while something fresh is under way; else with half of the clerk's time."""
OTHERS = (Lane.PRIOR, Lane.HISTORICAL)
"""Findings wait for priors, of which there are few."""
FORGOTTEN = (roles.forget_gone, announcements.forget_old, underway.forget_gone)
"""What removes rows that nobody will ask for again."""
POSTPONED_SECONDS = 10.0


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
    versions: Versions
    jobs: Jobs
    #: What a stage does when its job failed, by stage name.
    failed: Mapping[str, Callable[[sa.Connection, JSON, Failure], None]]
    settings: DeliverySection
    data_dir: Path
    #: What else has its time, such as the rules of retention.
    duties: Sequence[Every] = ()
    stopping: threading.Event = field(default_factory=threading.Event)
    woken: threading.Event = field(default_factory=threading.Event)
    #: The last batch was full: go on without waiting.
    more: bool = False
    #: When the lanes that are not fresh have their turn again.
    leisure_at: float = 0.0
    steady: Callable[[], float] = time.monotonic
    #: Row ids that cannot be read for now, and until when they are left alone.
    postponed: dict[int, float] = field(default_factory=dict)

    def run(self) -> None:
        """Round after round until stopped; a database that is away is waited for."""
        duties = (
            Every(0.0, self.book_fresh), Every(POLL_SECONDS, self.book_others_at_leisure),
            Every(0.1, self.versions.complete_fresh), Every(0.5, self.versions.complete_historical),
            Every(0.5, self.requeue),
            Every(10.0, self.bury), Every(60.0, self.anchor), Every(3600.0, self.tidy), *self.duties,
        )
        while not self.stopping.is_set():
            for duty in duties:
                self._dutifully(duty)
            if not self.more:
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
            place = traceback.extract_tb(error.__traceback__)[-1]
            log.error("%s: %s in %s line %s", duty.action.__name__, type(error).__name__, place.filename, place.lineno,
                      extra={"action": "clerk.error"})
            self.stopping.wait(1.0)

    def book(self) -> int:
        """Read and book some of what arrived, the fresh lane first; how many instances."""
        return self.book_fresh() or self.book_others()

    def book_fresh(self) -> int:
        """A batch of the fresh lane."""
        found = self._waiting(Lane.FRESH, BATCH)
        self.more = len(found) == BATCH
        return self._book(found)

    def book_others(self) -> int:
        """A few of the other lanes, while nothing fresh fills a batch."""
        if self.more:
            return 0
        return self._book(next(filter(None, (self._waiting(lane, OTHERS_BATCH) for lane in OTHERS)), []))

    def book_others_at_leisure(self) -> None:
        """The same, as often as what is fresh leaves time for."""
        begin = self.steady()
        if begin >= self.leisure_at and self.book_others():
            busy, end = self.versions.is_fresh_under_way(), self.steady()
            self.leisure_at = end + (OTHERS_SECONDS if busy else end - begin)

    def _waiting(self, lane: Lane, limit: int) -> list[ReceivedInstance]:
        now = time.monotonic()
        self.postponed = {key: until for key, until in self.postponed.items() if until > now}
        return self.arrivals.waiting(lane, limit, self.postponed)

    def _book(self, found: Sequence[ReceivedInstance]) -> int:
        """How many were booked. One that fails keeps no other from its place."""
        if not found:
            return 0
        arrivals = [arrival for one in found if (arrival := self._classified(one)) is not None]
        try:
            self._record(arrivals)
        except Exception as error:
            if _is_away(error):
                raise
            for one in arrivals:
                self._record_alone(one.instance)
        return len(arrivals)

    def _record(self, arrivals: Sequence[Arrival]) -> None:
        with transaction(self.engine) as connection:
            for arrival in arrivals:
                self.studies.record(connection, arrival)

    def _record_alone(self, found: ReceivedInstance) -> None:
        """What the database does not take, as it took the others, is kept and named instead of tried for ever."""
        arrival = self._classified(found)
        if arrival is None:
            return
        try:
            self._record([arrival])
        except Exception as error:
            if _is_away(error):
                raise
            log.error("instance %d cannot be booked: %s", found.id, type(error.__cause__ or error).__name__,
                      extra={"action": "instance.unreadable", "instance": found.id})
            self._record([_unreadable(found, "the database does not take what its head says")])

    def _classified(self, found: ReceivedInstance) -> Arrival | None:
        """A file that breaks the reader is kept and named; one that cannot be read for now waits for a later round."""
        try:
            return self.arrivals.classify(found)
        except StorageError as error:
            log.warning("instance %d waits: %s", found.id, error,
                        extra={"action": "instance.postponed", "instance": found.id})
            self.postponed[found.id] = time.monotonic() + POSTPONED_SECONDS
            return None
        except Exception as error:  # noqa: BLE001 - the worker loop's edge
            log.error("instance %d cannot be read: %s", found.id, type(error).__name__,
                      extra={"action": "instance.unreadable", "instance": found.id})
            return _unreadable(found, f"unexpected {type(error).__name__} while reading the head")

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
                failure = Failure(error=job.status, reason=reason, retryable=job.status == "ERROR")
                self.failed[job.stage](connection, job.arguments, failure)
        self.jobs.forget([job.key])

    def anchor(self) -> None:
        """Bind all audit chains together."""
        with transaction(self.engine) as connection:
            audit.anchor(connection)

    def tidy(self) -> int:
        """Remove what runs and processes that ended badly left behind."""
        with transaction(self.engine) as connection:
            rows = sum(forget(connection) for forget in FORGOTTEN)
        return rows + pictures.sweep(self.data_dir)


def _unreadable(found: ReceivedInstance, reason: str) -> Arrival:
    return Arrival(instance=found, head=None, state=InstanceState.UNREADABLE, reason=reason)


def _is_away(error: Exception) -> bool:
    """The database does not answer or is locked: no instance is to blame, and all are tried again."""
    return isinstance(error.__cause__, (sa.exc.OperationalError, sa.exc.InterfaceError))
