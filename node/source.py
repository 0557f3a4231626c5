"""The source archive: asked how many instances a quiet study has there, so that it is not taken for complete too soon.

On a thread of its own, so that nothing waits for an archive. One that is away, refuses or cannot count holds nothing
up: the study is then as complete as the node itself can tell.
"""

from __future__ import annotations

import logging
import threading

import sqlalchemy as sa

from node import audit
from node.completion import Completion
from node.config import Destination, StudySource
from node.database import delivery, instance, reading, study, transaction
from node.domain import JSON, AuditEvent, DeliveryState
from node.errors import PeerError, StorageError
from node.interfaces import Counter
from node.timers import Clock

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
BATCH = 16
THERE = (DeliveryState.SENT.value, DeliveryState.STORED.value, DeliveryState.COMMITTED.value)


class Source:
    """Compares what the archive has with what the node has, study by study."""

    def __init__(
        self, engine: sa.Engine, chain: str, settings: StudySource, completion: Completion, counter: Counter,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._chain = chain
        self._archive = Destination(
            name="study.source", ae_title=settings.ae_title, host=settings.host, port=settings.port)
        self._again_seconds = settings.ask_again_seconds
        self._completion = completion
        self._counter = counter
        self._clock = clock
        self._silent_until = 0.0
        self.stopping = threading.Event()

    def run(self) -> None:
        """Ask about whatever is due until stopped; a database that is away is waited for."""
        while not self.stopping.wait(LOOK_SECONDS):
            try:
                self.turn()
            except StorageError as error:
                log.warning("the source archive is not asked: %s", error, extra={"action": "source.postponed"})

    def turn(self) -> int:
        """Ask about some studies; how many."""
        found = self._completion.uncounted(BATCH)
        for uid in found:
            self._ask(uid)
        return len(found)

    def _ask(self, uid: str) -> None:
        at = self._clock.now()  # before the answer: what arrives meanwhile makes it an old one
        try:
            count = self._count(uid)
        except PeerError as error:
            log.warning("study %s is not counted: %s", uid, error, extra={"action": "study.uncounted", "study": uid})
            self._note(uid, at, None, "study.uncounted", {"reason": str(error)})
            return
        if count is None:
            self._note(uid, at, None, "study.uncounted", {"reason": "the archive does not count instances"})
            return
        missing = count - self._held(uid)
        self._note(uid, at, missing, "study.counted", {"count": count, "missing": max(0, missing)})

    def _count(self, uid: str) -> int | None:
        if self._clock.steady() < self._silent_until:
            raise PeerError("the archive did not answer a moment ago")
        try:
            return self._counter.count_instances(self._archive, uid)
        except PeerError:
            # Not every study is to wait for the same time-out.
            self._silent_until = self._clock.steady() + self._again_seconds
            raise

    def _held(self, uid: str) -> int:
        """Instances the node has, whatever they were taken for, and its own reports that the archive may have."""
        received = sa.select(instance.c.sop_instance_uid).where(instance.c.study_instance_uid == uid)
        ours = sa.select(delivery.c.sop_instance_uid).where(
            delivery.c.study_instance_uid == uid, delivery.c.state.in_(THERE))
        with reading(self._engine) as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(received.union(ours).subquery())) or 0

    def _note(self, uid: str, at: float, missing: int | None, action: str, detail: JSON) -> None:
        """Asked again with the same answer, nothing is audited a second time."""
        this = study.c.study_instance_uid == uid
        same = sa.case((study.c.source_asked_at.is_(None), False),
                       else_=study.c.source_missing.is_not_distinct_from(missing))
        with transaction(self._engine) as connection:
            connection.execute(sa.update(study).where(this).values(source_asked_at=study.c.source_asked_at))
            known = connection.scalar(sa.select(same).where(this))
            connection.execute(sa.update(study).where(this).values(source_asked_at=at, source_missing=missing))
            if not known:
                audit.append(connection, self._chain, AuditEvent(action=action, study_instance_uid=uid, detail=detail))
