"""The work of clerk and worker in the process of the test: real stages, database and files, fake models and PACS."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydicom import dcmread
from pydicom.dataset import Dataset

from node import delivery, pipeline, worklist
from node.arrivals import Arrivals
from node.clerk import Clerk
from node.completion import Completion
from node.config import Config
from node.database import audit_event, report, run, transaction
from node.domain import JSON, WorklistEntry
from node.errors import NodeError
from node.inference.prompt_sets import load_prompt_set
from node.interfaces import Put
from node.jobs import Failure, Jobs, Stage
from node.quiet_series import QuietSeries
from node.stages import earlier, planning, sending
from node.stages.desk import Desk
from node.stages.prior_search import Reception
from node.studies import Hooks, Studies
from node.timers import Clock
from node.versions import Versions
from tests.tools.clock import FakeClock
from tests.tools.fakes import FakeArchive, FakeFindings, FakeLocaliser, FakePacs, FakeTriage
from tests.tools.instances import Mailbox

CHAIN = "node"
PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 11113, "storage_commitment": True}
NODE_UID = "2.25.99"


@dataclass(order=True)
class _Waiting:
    priority: int
    number: int
    stage: str = field(compare=False)
    key: str = field(compare=False)
    arguments: JSON = field(compare=False)


@dataclass
class StraightJobs:
    """Runs jobs one after another when told to, the urgent ones first: the job engine's rules without waiting.

    Arguments and results pass through JSON, as they do through the database. A delay is not waited for.
    """

    engine: sa.Engine
    stages: dict[str, Stage] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    _waiting: list[_Waiting] = field(default_factory=list)
    _used: set[str] = field(default_factory=set)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def put(
        self, connection: sa.Connection, *, stage: str, key: str, priority: int, arguments: JSON,
        delay_seconds: float = 0, partition: str = "", after: str = "",
    ) -> None:
        if key not in self._used:
            self._used.add(key)
            text = json.dumps(arguments)
            self._waiting.append(_Waiting(int(priority), next(self._numbers), stage, key, json.loads(text)))

    def run(self) -> list[str]:
        """Until none waits; the stages in their order."""
        begin = len(self.ran)
        while self._waiting:
            job = min(self._waiting)
            self._waiting.remove(job)
            self.ran.append(job.stage)
            self._run(self.stages[job.stage], job.arguments)
        return self.ran[begin:]

    def _run(self, stage: Stage, arguments: JSON) -> None:
        failure = None
        result: JSON = {}
        try:
            result = json.loads(json.dumps(stage.work(arguments)))
        except NodeError as error:
            failure = Failure(error=type(error).__name__, reason=str(error), retryable=error.retryable)
        except Exception as error:  # noqa: BLE001 - stands where the worker loop's edge does
            failure = Failure(error=type(error).__name__, reason=f"unexpected {type(error).__name__}")
        with transaction(self.engine) as connection:
            if failure is None:
                stage.commit(connection, arguments, result)
            else:
                stage.failed(connection, arguments, failure)

    def dead(self) -> list[Any]:
        return []


class NodeInProcess:
    """``sections`` are those of the configuration; a PACS on loopback is configured unless they say otherwise.

    ``refused`` prompt sets failed their self-test, with the reason.
    """

    def __init__(
        self, engine: sa.Engine, data_dir: Path, put: Put, *, triage: FakeTriage | None = None,
        findings: FakeFindings | None = None, clock: Clock | None = None,
        refused: Mapping[str, str] | None = None, localiser: FakeLocaliser | None = None, **sections: Any,
    ) -> None:
        self.engine = engine
        self.triage, self.findings, self.pacs = triage or FakeTriage(), findings or FakeFindings(), FakePacs()
        self.archive = FakeArchive()
        values = {"node": {"data_dir": data_dir}, "destinations": [PACS], **sections}
        self.config = Config(**values)
        described = {} if self.config.models.findings.backend == "none" else {self.findings.prompt.name: self.findings}
        names, refused = {one.prompt_set for one in self.config.pipelines}, refused or {}
        self.desk = Desk(
            config=self.config, engine=engine, chain=CHAIN, put=put, node_uid=NODE_UID, software_version="0.0",
            today=date.today, prompt_sets={name: load_prompt_set(name) for name in names},
            findings_prompts={self.findings.prompt.name: self.findings.prompt},
            triage_models={name: self.triage for name in names if name not in refused}, findings_models=described,
            refused=refused, localiser=localiser)
        office = delivery.Office(
            engine=engine, chain=CHAIN, put=put, client=self.pacs, settings=self.config.delivery, data_dir=data_dir,
            destinations={one.name: one for one in self.config.destinations},
            allow_demo=self.config.models.allow_demo_delivery)
        self.stages = [*pipeline.jobs(self.desk), *sending.jobs(office),
                       *earlier.jobs(Reception(desk=self.desk, archive=self.archive))]
        self.clock = clock or FakeClock()
        completion = Completion(engine, self.config.study, self.clock)
        self.versions = Versions(engine, CHAIN, self.config.study, put, self.clock, completion)
        self.quiet_series = QuietSeries(engine, self.config.study, put, self.clock)
        self.studies = Studies(CHAIN, self.config.study, Hooks(
            eligible=lambda head, caller: planning.eligible_late(
                self.config.pipelines, self.desk.prompt_sets, date.today(), head, caller),
            accepted=lambda connection, arrival, booked: pipeline.accepted(self.desk, connection, arrival, booked)),
            self.clock)
        self.mailbox = Mailbox(engine, data_dir, self.clock)
        self.data_dir = data_dir

    def clerk(self, jobs: StraightJobs | Jobs) -> Clerk:
        return Clerk(
            engine=self.engine, chain=CHAIN, arrivals=Arrivals(self.engine, self.data_dir), studies=self.studies,
            versions=self.versions, jobs=jobs, failed={stage.name: stage.failed for stage in self.stages},  # type: ignore[arg-type]
            settings=self.config.delivery, data_dir=self.data_dir)

    def quiet(self) -> None:
        """The quiet time of every study passes."""
        assert isinstance(self.clock, FakeClock)
        self.clock.wait(self.config.study.quiet_seconds)

    def entry(self, uid: str) -> WorklistEntry:
        with transaction(self.engine) as connection:
            found = worklist.entry(connection, uid)
        assert found is not None, f"{uid} is not on the worklist"
        return found

    def finding(self, uid: str, key: str) -> Any:
        return next(found for found in self.entry(uid).findings if found.finding == key)

    def run_of(self, uid: str) -> sa.Row[Any]:
        """The last version."""
        with self.engine.connect() as connection:
            query = sa.select(run).where(run.c.study_instance_uid == uid)
            rows = connection.execute(query.order_by(run.c.version.desc())).all()
        return rows[0]

    def run_states(self) -> dict[str, str]:
        """State of the last version by study."""
        query = sa.select(run.c.study_instance_uid, run.c.state).order_by(run.c.version)
        with self.engine.connect() as connection:
            return {row.study_instance_uid: row.state for row in connection.execute(query)}

    def dossier(self, uid: str) -> JSON:
        with self.engine.connect() as connection:
            columns = worklist.worklist_entry.c
            return dict(connection.scalars(
                sa.select(columns.dossier).where(columns.study_instance_uid == uid)).one())

    def actions(self, uid: str) -> list[str]:
        columns = audit_event.c
        with self.engine.connect() as connection:
            query = sa.select(columns.action).where(columns.study_instance_uid == uid, columns.chain == CHAIN)
            return list(connection.scalars(query.order_by(columns.seq)))

    def reports(self, uid: str, version: int = 1) -> list[Dataset]:
        """The objects of a version, read from the store."""
        query = sa.select(report.c.path).where(report.c.study_instance_uid == uid, report.c.version == version)
        with self.engine.connect() as connection:
            return [dcmread(self.data_dir / path) for path in connection.scalars(query.order_by(report.c.kind))]


class StraightNode(NodeInProcess):
    """The same on :class:`StraightJobs`: every call returns when everything that follows from it is done."""

    def __init__(self, engine: sa.Engine, data_dir: Path, **more: Any) -> None:
        self.jobs = StraightJobs(engine)
        super().__init__(engine, data_dir, self.jobs.put, **more)
        self.jobs.stages = {stage.name: stage for stage in self.stages}
        self._clerk = self.clerk(self.jobs)

    def take(self, *images: Dataset, **options: Any) -> None:
        """Receive and book, and run what follows, such as early triage."""
        for image in images:
            self.mailbox.receive(image, **options)
        self.book()

    def book(self) -> None:
        while self._clerk.book():
            pass
        self.jobs.run()

    def early(self) -> list[str]:
        """The quiet time of every series passes; what ran."""
        assert isinstance(self.clock, FakeClock)
        self.clock.wait(self.config.study.series_quiet_seconds)
        self.quiet_series.put_forward()
        return self.jobs.run()

    def complete(self) -> Sequence[str]:
        """Let every study become complete, and run the sequence; the stages that ran."""
        self.quiet()
        assert self.versions.complete_due() > 0
        return self.jobs.run()

    def evaluate(self, *images: Dataset, **options: Any) -> WorklistEntry:
        """The whole way of one study."""
        self.take(*images, **options)
        self.complete()
        return self.entry(images[0].StudyInstanceUID)
