"""Durable jobs: what a stage leaves behind is all there or not at all, and nothing is lost when a process dies."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa

from node import audit
from node.database import audit_event, transaction
from node.domain import JSON, AuditEvent, Priority
from node.errors import BadInput, StorageError
from node.jobs import STEP_ATTEMPTS, Failure, Jobs, Queue, Stage
from tests.tools.databases import KINDS, migrated_kind, started
from tests.tools.postgres import Cluster
from tests.tools.waiting import wait_until

QUEUE_OF = {"task": Queue.TRIAGE, "more": Queue.TRIAGE, "next": Queue.REPORT}
Commit = Callable[[sa.Connection, JSON, JSON], None]


@dataclass
class Shop:
    """A running job engine whose jobs do what each test tells them, one at a time."""

    engine: sa.Engine
    jobs: Jobs
    works: dict[str, Callable[[], JSON]] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    names: Iterator[int] = field(default_factory=itertools.count)

    def name(self) -> str:
        """A job nobody used yet."""
        return f"job-{next(self.names)}"

    def put(
        self, name: str, work: Callable[[], JSON] = dict, *, commit: Commit | None = None,
        priority: Priority = Priority.ROUTINE, delay_seconds: float = 0,
    ) -> None:
        self.works[name] = work
        self.commits[name] = commit or (lambda *_: None)
        with transaction(self.engine) as connection:
            self.jobs.put(connection, stage="task", key=f"task:{name}", priority=priority, arguments={"name": name},
                          delay_seconds=delay_seconds)

    def put_next(self, connection: sa.Connection, name: str) -> None:
        self.jobs.put(connection, stage="next", key=f"next:{name}", priority=Priority.ROUTINE, arguments={"name": name})

    def go_on(self, connection: sa.Connection, name: str, *, breaks: bool = False) -> None:
        """Within the job whose commit this is."""
        self.jobs.put(connection, stage="more", key=f"more:{name}", priority=Priority.ROUTINE, after="task",
                      arguments={"name": name} | ({"breaks": True} if breaks else {}))

    def used(self) -> list[str]:
        """The keys of every job there ever was."""
        table = "workflow_status" if self.engine.dialect.name == "sqlite" else "dbos.workflow_status"
        with self.engine.connect() as connection:
            return list(connection.scalars(sa.text(f"SELECT workflow_uuid FROM {table}")))

    def events(self, name: str) -> list[JSON]:
        """Action and detail of what was recorded about a job."""
        columns = audit_event.c
        query = sa.select(columns.action, columns.detail).where(columns.study_instance_uid == name)
        with self.engine.connect() as connection:
            return [{"action": row.action, **json.loads(row.detail)}
                    for row in connection.execute(query.order_by(columns.seq))]

    def wait_for(self, name: str, action: str) -> JSON:
        def found() -> list[JSON]:
            return [event for event in self.events(name) if event["action"] == action]
        return wait_until(found, what=f"{action} of {name}")[0]

    def stages(self) -> list[Stage]:
        def work(arguments: JSON) -> JSON:
            self.ran.append(arguments["name"])
            return self.works[arguments["name"]]()

        def commit(connection: sa.Connection, arguments: JSON, result: JSON) -> None:
            self.note(connection, arguments, "done", result)
            self.commits[arguments["name"]](connection, arguments, result)

        def failed(connection: sa.Connection, arguments: JSON, failure: Failure) -> None:
            self.note(connection, arguments, "failed", {"error": failure.error, "reason": failure.reason})

        def more(connection: sa.Connection, arguments: JSON, result: JSON) -> None:
            if arguments.get("breaks"):
                raise ZeroDivisionError
            self.note(connection, arguments, "went on", result)

        return [
            Stage(name="more", queue=Queue.TRIAGE, work=lambda _arguments: {}, failed=failed, commit=more),
            Stage(name="task", queue=Queue.TRIAGE, work=work, commit=commit, failed=failed),
            Stage(name="next", queue=Queue.REPORT, work=lambda _arguments: {}, failed=failed,
                  commit=lambda connection, arguments, result: self.note(connection, arguments, "followed", result)),
        ]

    def note(self, connection: sa.Connection, arguments: JSON, action: str, detail: JSON) -> None:
        audit.append(connection, "shop", AuditEvent(
            action=action, study_instance_uid=arguments["name"], detail=detail))


@pytest.fixture(scope="module", params=KINDS)
def shop(request: pytest.FixtureRequest, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with migrated_kind(request.param, cluster, tmp_path_factory.mktemp("jobs")) as engine:
        made = Shop(engine, Jobs(engine, "shop", QUEUE_OF))
        with started(made.jobs, made.stages(), {Queue.TRIAGE: 1, Queue.REPORT: 1}):
            yield made


@contextmanager
def busy(shop: Shop) -> Iterator[None]:
    """The only place of the queue is taken, so that whatever is put waits."""
    begun, go = threading.Event(), threading.Event()

    def wait() -> JSON:
        begun.set()
        assert go.wait(60)
        return {}

    name = shop.name()
    shop.put(name, wait)
    assert begun.wait(30)
    yield
    go.set()
    shop.wait_for(name, "done")


def test_result_event_and_next_job_are_one_commit(shop: Shop) -> None:
    name = shop.name()
    shop.put(name, lambda: {"found": 1}, commit=lambda connection, *_: shop.put_next(connection, name))
    shop.wait_for(name, "followed")
    assert shop.events(name) == [{"action": "done", "found": 1}, {"action": "followed"}]


def test_a_commit_that_raises_leaves_neither_event_nor_next_job_and_is_listed_as_dead(shop: Shop) -> None:
    name = shop.name()

    def commit(connection: sa.Connection, _arguments: JSON, _result: JSON) -> None:
        shop.put_next(connection, name)
        raise ZeroDivisionError

    shop.put(name, commit=commit)
    (dead,) = wait_until(lambda: [job for job in shop.jobs.dead() if job.key == f"task:{name}"])
    assert (dead.stage, dead.status, dead.arguments) == ("task", "ERROR", {"name": name})
    assert shop.events(name) == []


def test_a_stage_of_the_same_queue_goes_on_in_the_same_job(shop: Shop) -> None:
    name = shop.name()
    shop.put(name, lambda: {"found": 1}, commit=lambda connection, *_: shop.go_on(connection, name))
    shop.wait_for(name, "went on")
    assert shop.events(name) == [{"action": "done", "found": 1}, {"action": "went on"}]
    assert f"more:{name}" not in shop.used()


def test_a_job_that_dies_in_a_later_stage_names_that_one(shop: Shop) -> None:
    name = shop.name()
    shop.put(name, commit=lambda connection, *_: shop.go_on(connection, name, breaks=True))
    (dead,) = wait_until(lambda: [job for job in shop.jobs.dead() if job.key == f"task:{name}"])
    assert (dead.stage, dead.arguments) == ("more", {"name": name, "breaks": True})
    assert [event["action"] for event in shop.events(name)] == ["done"]


def test_a_dead_job_that_is_forgotten_frees_its_key(shop: Shop) -> None:
    name = shop.name()
    shop.put(name, commit=lambda *_: 1 / 0)  # type: ignore[arg-type,return-value]
    wait_until(lambda: f"task:{name}" in {job.key for job in shop.jobs.dead()})
    shop.jobs.forget([f"task:{name}"])
    shop.put(name)
    shop.wait_for(name, "done")


def test_an_urgent_job_put_last_runs_before_those_that_wait(shop: Shop) -> None:
    routine, historical, high, stat = (shop.name() for _ in range(4))
    with busy(shop):
        shop.put(historical, priority=Priority.HISTORICAL)
        shop.put(routine, priority=Priority.ROUTINE)
        shop.put(high, priority=Priority.HIGH)
        shop.put(stat, priority=Priority.STAT)
    shop.wait_for(historical, "done")
    assert shop.ran[-4:] == [stat, high, routine, historical]


def test_a_key_is_run_once_however_often_it_is_put(shop: Shop) -> None:
    name, later = shop.name(), shop.name()
    with busy(shop):
        shop.put(name)
        shop.put(name)
    shop.wait_for(name, "done")
    shop.put(name)
    shop.put(later)
    shop.wait_for(later, "done")
    assert shop.ran.count(name) == 1
    assert len(shop.events(name)) == 1


def test_a_job_of_a_transaction_that_is_rolled_back_never_runs(shop: Shop) -> None:
    name, later = shop.name(), shop.name()
    with pytest.raises(ZeroDivisionError), transaction(shop.engine) as connection:
        shop.jobs.put(connection, stage="task", key=f"task:{name}", priority=Priority.STAT, arguments={"name": name})
        raise ZeroDivisionError
    shop.put(later)
    shop.wait_for(later, "done")
    assert name not in shop.ran


def test_a_delayed_job_lets_others_pass(shop: Shop) -> None:
    delayed, prompt = shop.name(), shop.name()
    shop.put(delayed, delay_seconds=1.5)
    shop.put(prompt)
    shop.wait_for(delayed, "done")
    assert shop.ran[-2:] == [prompt, delayed]


def test_a_cancelled_job_that_waits_never_runs(shop: Shop) -> None:
    name, later = shop.name(), shop.name()
    with busy(shop):
        shop.put(name)
        shop.jobs.cancel(f"task:{name}")
        shop.put(later)
    shop.wait_for(later, "done")
    assert name not in shop.ran


def fail(error: Exception) -> JSON:
    raise error


@pytest.mark.parametrize(("error", "reason"), [
    (BadInput("no pixels"), "no pixels"),
    (ZeroDivisionError("a patient's name"), "unexpected ZeroDivisionError"),
])
def test_work_that_cannot_succeed_fails_once_with_its_reason(shop: Shop, error: Exception, reason: str) -> None:
    name, later = shop.name(), shop.name()
    shop.put(name, lambda: fail(error))
    shop.put(later)
    shop.wait_for(later, "done")
    assert shop.events(name) == [{"action": "failed", "error": type(error).__name__, "reason": reason}]
    assert shop.ran.count(name) == 1


def test_an_error_that_may_pass_is_tried_again(shop: Shop) -> None:
    name = shop.name()
    shop.put(name, lambda: {} if shop.ran.count(name) == 2 else fail(StorageError("busy")))
    shop.wait_for(name, "done")
    assert shop.ran.count(name) == 2


def test_an_error_that_does_not_pass_fails_after_the_last_attempt(shop: Shop) -> None:
    name = shop.name()
    shop.put(name, lambda: fail(StorageError("the disk is gone")))
    assert shop.wait_for(name, "failed")["reason"] == "the disk is gone"
    assert shop.ran.count(name) == STEP_ATTEMPTS
    assert len(shop.events(name)) == 1
