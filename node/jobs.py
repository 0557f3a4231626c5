"""Durable jobs on DBOS: the only module that knows it.

A stage is work that may run more than once, and a commit that takes effect once. The
commit's rows, its audit event and the next jobs are one database transaction. Lower
priority numbers run first; DBOS would run an unset one before STAT, so it is mandatory.

A stage that follows another in the same queue goes on in the same job (``put(..., after=…)``): queueing
costs several transactions, more than most stages do themselves. Each stage still commits by itself.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, SQLAlchemyDatasource
from dbos import error as dbos_error

from node.domain import JSON
from node.errors import DeviceLost, NodeError, StorageError

log = logging.getLogger(__name__)

APPLICATION_VERSION = "1"
"""Fixed: DBOS ignores waiting jobs of another version. Change it only after a deliberate drain."""

POLL_SECONDS = 0.1
STEP_ATTEMPTS = 4
"""Tries of a step within one job, some seconds in all; longer outages are met by putting the job again."""

SENDS_PER_DESTINATION = 2
"""So that a destination that hangs does not hold every slot of the queue."""

FOLLOWING = "ainode.following"
"""Where a commit leaves the stage that goes on in its job, on its own connection."""

#: A job that ended its process this often is parked. Innocent restarts count too, hence not lower.
MAX_RECOVERY_ATTEMPTS = 20


class Queue(Enum):
    """Where a stage runs. Each polled queue costs 3 to 5 % of a core, so there are four."""

    TRIAGE = "triage"
    FINDINGS = "findings"
    REPORT = "report"
    SEND = "send"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why the work of a stage did not produce a result."""

    error: str
    reason: str
    #: The cause may pass by itself, such as a database that is away.
    retryable: bool = False


@dataclass(frozen=True, kw_only=True)
class Stage:
    """``work`` may repeat and keeps its effects idempotent; ``commit`` and ``failed`` run in one transaction.

    Arguments and results are small JSON objects: identifiers and numbers, never pixels.
    """

    name: str
    queue: Queue
    work: Callable[[JSON], JSON]
    commit: Callable[[sa.Connection, JSON, JSON], None]
    failed: Callable[[sa.Connection, JSON, Failure], None]


@dataclass(frozen=True, kw_only=True)
class DeadJob:
    """A job that will not run again by itself."""

    key: str
    stage: str
    status: str
    arguments: JSON = field(default_factory=dict)


class Jobs:
    """The job engine of one process. DBOS is a process singleton, so there is one of these per process."""

    def __init__(
        self, engine: sa.Engine, executor_id: str, queue_of: Mapping[str, Queue],
        on_device_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """``queue_of`` names the queue of every stage of the node, also of those run by other roles.

        ``on_device_lost`` is called when only a new process can go on; the job waits for it.
        """
        self._on_device_lost = on_device_lost
        self._engine = engine
        self._queue_of = dict(queue_of)
        url = engine.url.render_as_string(hide_password=False)
        serializer = DBOSPortableJSONSerializer()
        self._dbos = DBOS(config={
            "name": "ainode", "system_database_url": url, "system_database_engine": engine,
            "executor_id": executor_id, "application_version": APPLICATION_VERSION, "serializer": serializer,
            "log_level": "WARNING", "max_executor_threads": 64,
            "use_listen_notify": engine.dialect.name == "postgresql",
        })
        self._datasource = SQLAlchemyDatasource.create(url, engine=engine, serializer=serializer)
        self._client: DBOSClient | None = None
        self._run_stage: dict[str, Callable[[JSON], JSON | None]] = {}
        self.executor_id = executor_id

    def register(self, stage: Stage) -> None:
        """Make this process able to run ``stage``. Before :meth:`start`."""
        step = DBOS.step(
            name=f"{stage.name}.work", retries_allowed=True, max_attempts=STEP_ATTEMPTS,
            interval_seconds=0.5, backoff_rate=2.0,
        )(_guarded(stage, self._on_device_lost))
        # SQLite knows SERIALIZABLE only; on PostgreSQL READ COMMITTED suffices, as a commit starts with a write.
        level: Any = "READ COMMITTED" if self._engine.dialect.name == "postgresql" else "SERIALIZABLE"
        commit = self._datasource.transaction(
            name=f"{stage.name}.commit", isolation_level=level)(self._commit_of(stage))

        def run_stage(arguments: JSON) -> JSON | None:
            try:
                result = step(arguments)
            except dbos_error.DBOSMaxStepRetriesExceeded as error:
                reason = str(error.errors[-1]) if error.errors else str(error)
                result = {"failure": {"error": "StorageError", "reason": reason, "retryable": True}}
            following: JSON | None = commit(arguments, result)
            return following

        def workflow(arguments: JSON) -> None:
            following = run_stage(arguments)
            while following is not None:
                following = self._run_stage[following["stage"]](following["arguments"])

        self._run_stage[stage.name] = run_stage
        DBOS.workflow(name=stage.name, max_recovery_attempts=MAX_RECOVERY_ATTEMPTS)(workflow)

    def _commit_of(self, stage: Stage) -> Callable[[JSON, JSON], JSON | None]:
        def commit(arguments: JSON, result: JSON) -> JSON | None:
            connection = self._datasource.sql_session().connection()
            connection.info.pop(FOLLOWING, None)  # of a transaction that was rolled back
            failure = result.get("failure")
            if failure is None:
                stage.commit(connection, arguments, result)
            else:
                stage.failed(connection, arguments, Failure(**failure))
            following: JSON | None = connection.info.pop(FOLLOWING, None)
            return following
        return commit

    def start(self, concurrency: Mapping[Queue, int]) -> None:
        """Recover what this executor left behind and run jobs of the given queues, so many at a time."""
        DBOS.listen_queues([queue.value for queue in concurrency])
        DBOS.launch()
        for queue, number in concurrency.items():
            each = SENDS_PER_DESTINATION if queue is Queue.SEND else None
            DBOS.register_queue(queue.value, worker_concurrency=number, partition_concurrency=each,
                                polling_interval_sec=POLL_SECONDS, on_conflict="always_update")
        self._client = DBOSClient(system_database_engine=self._engine, serializer=DBOSPortableJSONSerializer())

    def stop(self, timeout_seconds: int = 15) -> None:
        """Stop taking jobs; those that run are finished or, past the timeout, recovered at the next start."""
        DBOS.destroy(workflow_completion_timeout_sec=timeout_seconds)

    def put(
        self, connection: sa.Connection, *, stage: str, key: str, priority: int, arguments: JSON,
        delay_seconds: float = 0, partition: str = "", after: str = "",
    ) -> None:
        """Enqueue in the caller's transaction. A key that was ever used is not run again.

        ``after`` names the stage whose commit this is, where that stage's job may go on with this one:
        it does, in the same queue.
        """
        if after and self._queue_of[after] is self._queue_of[stage] and not delay_seconds:
            connection.info[FOLLOWING] = {"stage": stage, "arguments": arguments}
            return
        options: dict[str, Any] = {
            "workflow_name": stage, "queue_name": self._queue_of[stage].value, "workflow_id": key,
            "priority": int(priority), "app_version": APPLICATION_VERSION,
        }
        if delay_seconds > 0:
            options["delay_seconds"] = delay_seconds
        if partition:
            options["queue_partition_key"] = partition
        self._running().enqueue_in_transaction(connection, options, arguments)  # type: ignore[arg-type]

    def dead(self) -> list[DeadJob]:
        """Jobs in error, or parked because their process died too often."""
        found = self._running().list_workflows(status=["ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"], limit=1000)
        return [self._dead(job.workflow_id, job.name, job.status, _first(job.input)) for job in found]

    def _dead(self, key: str, stage: str, status: str, arguments: JSON) -> DeadJob:
        """The stage that a job died in is the one that its last commit said would follow."""
        for step in self._running().list_workflow_steps(key):
            if step["function_name"].endswith(".commit") and step["output"]:
                stage, arguments = step["output"]["stage"], step["output"]["arguments"]
        return DeadJob(key=key, stage=stage, status=status, arguments=arguments)

    def forget(self, keys: Sequence[str]) -> None:
        """Delete finished or dead jobs by key; the keys may be used again."""
        self._running().delete_workflows(list(keys))

    def cancel(self, key: str) -> None:
        """Stop a waiting job, or a running one before its commit."""
        self._running().cancel_workflow(key)

    def pending_owners(self) -> set[str]:
        """Executors that hold started jobs, dead or alive."""
        jobs = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
        return {job.executor_id for job in jobs if job.executor_id}

    def recover(self, executor_id: str) -> int:
        """Put the started jobs of a dead executor back into their queues; how many there were.

        DBOS guards this by executor id in SQL, so two processes that both call it do no harm.
        """
        return len(DBOS._recover_pending_workflows([executor_id]))

    def _running(self) -> DBOSClient:
        if self._client is None:
            raise StorageError("jobs: used before start(); start the job engine first")
        return self._client


def migrate(engine: sa.Engine) -> None:
    """Create or update the job tables of an otherwise ready database."""
    jobs = Jobs(engine, "migration", {})
    DBOS.listen_queues([])
    DBOS.launch()
    jobs.stop(0)


def _first(call: Any) -> JSON:
    arguments = call["args"] if call else ()
    return dict(arguments[0]) if arguments else {}


def _guarded(stage: Stage, on_device_lost: Callable[[], None]) -> Callable[[JSON], JSON]:
    """The worker loop's edge: retryable errors go back to DBOS, everything else becomes a failure result."""

    def work(arguments: JSON) -> JSON:
        try:
            return stage.work(arguments)
        except DeviceLost:
            on_device_lost()
            raise
        except NodeError as error:
            if error.retryable:
                raise
            return {"failure": {"error": type(error).__name__, "reason": str(error)}}
        except Exception as error:  # noqa: BLE001 - the worker loop's edge
            place = traceback.extract_tb(error.__traceback__)[-1]
            log.error("stage %s failed: %s in %s line %s", stage.name, type(error).__name__, place.filename,
                      place.lineno, extra={"action": "stage.error", "stage": stage.name})
            return {"failure": {"error": type(error).__name__, "reason": f"unexpected {type(error).__name__}"}}

    return work


