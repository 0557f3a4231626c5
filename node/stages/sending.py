"""Delivery attempts, commitment requests and their checks as durable jobs."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from node import delivery
from node.domain import JSON
from node.jobs import Failure, Queue, Stage

Record = Callable[[delivery.Office, sa.Connection, JSON, JSON], None]
RecordFailure = Callable[[delivery.Office, sa.Connection, JSON, str], None]

QUEUE_OF = {delivery.SEND: Queue.SEND, delivery.COMMIT: Queue.SEND, delivery.COMMIT_CHECK: Queue.SEND}


def jobs(office: delivery.Office) -> list[Stage]:
    """One job per attempt; none of them waits."""
    return [
        _job(office, delivery.SEND, delivery.send, delivery.record, delivery.record_failure),
        _job(office, delivery.COMMIT, delivery.request, delivery.record_request, delivery.record_request_failure),
        _job(office, delivery.COMMIT_CHECK, lambda _office, _arguments: {},
             lambda at, connection, arguments, _result: delivery.check(at, connection, arguments),
             lambda at, connection, arguments, _reason: delivery.check(at, connection, arguments)),
    ]


def _job(
    office: delivery.Office, name: str, work: Callable[[delivery.Office, JSON], JSON], record: Record,
    record_failure: RecordFailure,
) -> Stage:
    def failed(connection: sa.Connection, arguments: JSON, failure: Failure) -> None:
        record_failure(office, connection, arguments, failure.reason)

    return Stage(
        name=name, queue=QUEUE_OF[name], work=lambda arguments: work(office, arguments),
        commit=lambda connection, arguments, result: record(office, connection, arguments, result), failed=failed)
