"""A process that runs jobs until it is killed: ``python -m tests.tools.job_process URL EXECUTOR GATE …``.

Its stage ``first`` says ``begun`` on standard output and then waits for the file GATE. ``poison`` ends the process.
``device`` loses its accelerator while GATE is not there; with ``--until-lost`` the process then stops as a role does.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from pathlib import Path

import sqlalchemy as sa

from node import audit, jobs
from node.database import connect, transaction
from node.domain import JSON, AuditEvent, Priority
from node.errors import DeviceLost
from node.jobs import Failure, Jobs, Queue, Stage
from tests.tools.waiting import wait_until

QUEUE_OF = dict.fromkeys(("first", "second", "poison", "device"), Queue.TRIAGE)
CHAIN = "job-process"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("executor")
    parser.add_argument("gate", type=Path)
    parser.add_argument("--put", nargs=2, metavar=("STAGE", "KEY"))
    parser.add_argument("--recover", metavar="EXECUTOR")
    parser.add_argument("--newer-code", action="store_true")
    parser.add_argument("--until-dead", action="store_true", help="end when a job is parked, and name it")
    parser.add_argument("--until-lost", action="store_true", help="end with 1 when the accelerator is lost")
    parser.add_argument("--deaths", type=int, default=jobs.MAX_RECOVERY_ATTEMPTS)
    asked = parser.parse_args()
    jobs.MAX_RECOVERY_ATTEMPTS = asked.deaths
    engine = connect(asked.url)
    lost = threading.Event()
    running = Jobs(engine, asked.executor, QUEUE_OF, on_device_lost=lost.set)
    for stage in _stages(running, asked.gate, asked.newer_code):
        running.register(stage)
    running.start({Queue.TRIAGE: 1})
    if asked.put:
        stage_name, key = asked.put
        with transaction(engine) as connection:
            running.put(connection, stage=stage_name, key=key, priority=Priority.ROUTINE, arguments={"key": key})
    if asked.recover:
        print("recovered", running.recover(asked.recover), flush=True)
    if asked.until_dead:
        print("dead", [job.key for job in wait_until(running.dead, 60)], flush=True)
        return
    if asked.until_lost:
        lost.wait(60)
        running.stop(0)
        sys.exit(1)
    sys.stdin.read()


def _stages(running: Jobs, gate: Path, newer_code: bool) -> list[Stage]:
    def wait(_arguments: JSON) -> JSON:
        print("begun", flush=True)
        wait_until(gate.exists, 60)
        return {"code": "old"}

    def newer(arguments: JSON) -> JSON:
        return wait(arguments) | {"code": "new"}

    def device(_arguments: JSON) -> JSON:
        if not gate.exists():
            raise DeviceLost("the accelerator is gone")
        return {}

    def note(connection: sa.Connection, action: str, arguments: JSON, detail: JSON) -> None:
        event = AuditEvent(action=action, detail={"key": arguments["key"], **detail})
        audit.append(connection, CHAIN, event)

    def commit_first(connection: sa.Connection, arguments: JSON, result: JSON) -> None:
        note(connection, "first", arguments, result)
        running.put(connection, stage="second", key=f"second:{arguments['key']}", priority=Priority.ROUTINE,
                    arguments=arguments, after="first")

    def failed(connection: sa.Connection, arguments: JSON, failure: Failure) -> None:
        note(connection, "failed", arguments, {"reason": failure.reason})

    return [
        Stage(name="first", queue=Queue.TRIAGE, work=newer if newer_code else wait, commit=commit_first, failed=failed),
        Stage(name="second", queue=Queue.TRIAGE, work=lambda _arguments: {}, failed=failed,
              commit=lambda connection, arguments, result: note(connection, "second", arguments, result)),
        Stage(name="device", queue=Queue.TRIAGE, work=device, failed=failed,
              commit=lambda connection, arguments, result: note(connection, "device", arguments, result)),
        Stage(name="poison", queue=Queue.TRIAGE, work=lambda _arguments: os._exit(9), failed=failed,
              commit=lambda connection, arguments, result: note(connection, "poison", arguments, result)),
    ]


if __name__ == "__main__":
    main()
