"""A SQLite database that another program holds for 40 s: longer than the node waits for it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import sqlalchemy as sa

from tests.tools.raw_sender import CT_CONTEXT, RawSender
from tests.tools.receiver import ENGINES, Receiver, made, receiver_in

SUCCESS, PROCESSING_FAILURE = 0x0000, 0x0110
LOCKED_SECONDS = 40.0
SENDERS = 4


def hold(node: Receiver) -> None:
    with node.engine.connect() as other:
        other.execute(sa.text("BEGIN IMMEDIATE")).close()
        threading.Event().wait(LOCKED_SECONDS)
        other.rollback()


def keep_sending(node: Receiver, number: int) -> dict[str, int]:
    """Statuses of four instances, one after the other."""
    statuses = {}
    with RawSender(node.port, CT_CONTEXT) as sender:
        sender.socket.settimeout(2 * LOCKED_SECONDS)
        for attempt in range(4):
            name = f"1.2.{number}.{attempt}"
            statuses[name] = sender.store(made(name)).status
    return statuses


def ordeal(node: Receiver) -> tuple[dict[str, int], list[str]]:
    with RawSender(node.port, CT_CONTEXT) as sender:
        assert sender.store(made("1.2.99")).status == SUCCESS
    with ThreadPoolExecutor(SENDERS + 1) as threads:
        lock = threads.submit(hold, node)
        several = [threads.submit(keep_sending, node, number) for number in range(SENDERS)]
        statuses = {name: status for one in several for name, status in one.result().items()}
        lock.result()
    return statuses, [row.sop_instance_uid for row in node.rows()]


def test_senders_wait_or_hear_of_a_failure_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(len(ENGINES)) as threads:
        nodes = []
        for engine in ENGINES:
            (tmp_path / engine).mkdir()
            nodes.append(stack.enter_context(receiver_in(tmp_path / engine, receive={"engine": engine})))
        for node, (statuses, recorded) in zip(nodes, threads.map(ordeal, nodes), strict=True):
            assert set(statuses.values()) <= {SUCCESS, PROCESSING_FAILURE}
            assert {f"1.2.{number}.3" for number in range(SENDERS)} <= {
                name for name, status in statuses.items() if status == SUCCESS}
            assert sorted(recorded) == sorted(["1.2.99", *(name for name, one in statuses.items() if one == SUCCESS)])
            assert len(node.files("instances")) == len(recorded)
            assert node.files("incoming") == []
