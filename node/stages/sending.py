"""Delivery attempts, commitment requests and their checks, and the relay of senders' requests, as durable jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from node import delivery
from node.domain import JSON
from node.jobs import Failure, Queue, Stage

T = TypeVar("T")

QUEUE_OF = dict.fromkeys(
    (delivery.SEND, delivery.COMMIT, delivery.COMMIT_CHECK, delivery.ASK, delivery.REPORT), Queue.SEND)


def jobs(office: delivery.Office) -> list[Stage]:
    """One job per attempt; none of them waits."""
    return [
        _job(office, delivery.SEND, delivery.send, delivery.record, delivery.record_failure),
        _job(office, delivery.COMMIT, delivery.request, delivery.record_request, delivery.record_request_failure),
        _job(office, delivery.COMMIT_CHECK, lambda _office, _arguments: {},
             lambda at, connection, arguments, _result: delivery.check(at, connection, arguments),
             lambda at, connection, arguments, _reason: delivery.check(at, connection, arguments)),
    ]


def relay_jobs(relay: delivery.Relay) -> list[Stage]:
    """One job per attempt to ask the archive, or to tell the sender."""
    return [
        _job(relay, delivery.ASK, delivery.ask, delivery.record_ask, delivery.record_ask_failure),
        _job(relay, delivery.REPORT, delivery.report, delivery.record_report, delivery.record_report_failure),
    ]


def _job(
    place: T, name: str, work: Callable[[T, JSON], JSON], record: Callable[[T, sa.Connection, JSON, JSON], None],
    record_failure: Callable[[T, sa.Connection, JSON, str], None],
) -> Stage:
    def failed(connection: sa.Connection, arguments: JSON, failure: Failure) -> None:
        record_failure(place, connection, arguments, failure.reason)

    return Stage(
        name=name, queue=QUEUE_OF[name], work=lambda arguments: work(place, arguments),
        commit=lambda connection, arguments, result: record(place, connection, arguments, result), failed=failed)
