"""The clerk's room without job engine: arrivals are booked and versions started; what is enqueued is written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydicom.dataset import Dataset

from node.arrivals import Arrival, Arrivals
from node.clerk import Clerk
from node.completion import Completion
from node.config import Config
from node.database import audit_event, instance, run, study, transaction
from node.domain import JSON, Study
from node.inference.prompt_sets import load_prompt_set
from node.jobs import DeadJob
from node.stages import planning
from node.studies import Hooks, Studies
from node.versions import Versions
from tests.tools.clock import FakeClock
from tests.tools.instances import Mailbox

CHAIN = "clerk"


@dataclass(frozen=True)
class Put:
    """A job that was asked for."""

    stage: str
    key: str
    priority: int
    arguments: JSON


@dataclass
class WrittenDown:
    """Stands where the job engine does: keeps what was enqueued, in transactions that were committed or not."""

    put_jobs: list[Put] = field(default_factory=list)
    dead_jobs: list[DeadJob] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)

    def put(
        self, connection: sa.Connection, *, stage: str, key: str, priority: int, arguments: JSON,
        delay_seconds: float = 0, partition: str = "", after: str = "",
    ) -> None:
        self.put_jobs.append(Put(stage, key, priority, arguments))

    def dead(self) -> list[DeadJob]:
        return [job for job in self.dead_jobs if job.key not in self.forgotten]

    def forget(self, keys: Sequence[str]) -> None:
        self.forgotten += keys


class ClerksDesk:
    """Arrivals, studies and clerk on one database; ``study_section`` are settings of ``study``."""

    def __init__(self, engine: sa.Engine, data_dir: Path, **study_section: Any) -> None:
        self.engine, self.data_dir = engine, data_dir
        config = Config(study=study_section)
        prompt_sets = {one.prompt_set: load_prompt_set(one.prompt_set) for one in config.pipelines}
        self.jobs = WrittenDown()
        self.accepted: list[tuple[Arrival, Study]] = []
        self.arrivals = Arrivals(engine, data_dir)
        self.clock = FakeClock()
        self.settings = config.study
        self.mailbox = Mailbox(engine, data_dir, self.clock, config.study)
        self.completion = Completion(engine, config.study, self.clock)
        self.versions = Versions(engine, CHAIN, config.study, self.jobs.put, self.clock, self.completion)
        self.studies = Studies(CHAIN, config.study, Hooks(
            eligible=lambda head, caller: planning.eligible_late(
                config.pipelines, prompt_sets, date.today(), head, caller),
            accepted=lambda connection, arrival, booked: self.accepted.append((arrival, booked))), self.clock)
        self.failures: list[tuple[str, str]] = []
        self.clerk = Clerk(
            engine=engine, chain=CHAIN, arrivals=self.arrivals, studies=self.studies,
            versions=self.versions, jobs=self.jobs,  # type: ignore[arg-type]  # the part of it that the clerk uses
            failed={"plan": lambda connection, arguments, failure: self.failures.append(
                (arguments["study_instance_uid"], failure.reason))},
            settings=config.delivery, data_dir=data_dir, steady=self.clock.steady)

    def take(self, *images: Dataset, **options: Any) -> list[int]:
        """Receive and book; the row ids."""
        ids = [self.mailbox.receive(image, **options) for image in images]
        while self.clerk.book():
            pass
        return ids

    def instance(self, row_id: int) -> sa.Row[Any]:
        with self.engine.connect() as connection:
            return connection.execute(sa.select(instance).where(instance.c.id == row_id)).one()

    def study(self, uid: str) -> sa.Row[Any]:
        with self.engine.connect() as connection:
            return connection.execute(sa.select(study).where(study.c.study_instance_uid == uid)).one()

    def runs(self, uid: str) -> Sequence[sa.Row[Any]]:
        with self.engine.connect() as connection:
            query = sa.select(run).where(run.c.study_instance_uid == uid)
            return connection.execute(query.order_by(run.c.version)).all()

    def evidence(self, uid: str) -> list[int]:
        """Row ids that the next version would be about."""
        with self.engine.connect() as connection:
            query = sa.select(instance.c.id).where(
                instance.c.study_instance_uid == uid, instance.c.evidence, instance.c.state == "accepted")
            return list(connection.scalars(query.order_by(instance.c.id)))

    def actions(self, uid: str) -> list[str]:
        """Audit actions of the clerk about a study."""
        columns = audit_event.c
        with self.engine.connect() as connection:
            query = sa.select(columns.action).where(columns.study_instance_uid == uid, columns.chain == CHAIN)
            return list(connection.scalars(query.order_by(columns.seq)))

    def change(self, uid: str, **columns: Any) -> None:
        """Set columns of a study, such as the times that completion looks at."""
        with transaction(self.engine) as connection:
            connection.execute(sa.update(study).where(study.c.study_instance_uid == uid).values(**columns))

    def complete(self) -> int:
        """Let the quiet time pass, and complete what is due."""
        self.clock.wait(max(self.settings.quiet_seconds, self.settings.series_quiet_seconds))
        return self.versions.complete_due()
