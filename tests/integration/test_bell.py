"""The datagram that wakes the clerk."""

from __future__ import annotations

import threading

import sqlalchemy as sa

from node.bell import Bell, Ringer
from node.database import insert_ignore, now, role_status, transaction
from node.observability import supervised_thread


def tell_port(engine: sa.Engine, port: int) -> None:
    with transaction(engine) as connection:
        insert_ignore(connection, role_status, slot="clerk.0", role="clerk", incarnation="i", pid=1, ready=True,
                      detail={"bell": port}, beat_at=now())


def test_a_ring_wakes_the_clerk_that_told_its_port(engine: sa.Engine) -> None:
    woken = threading.Event()
    bell = Bell(woken)
    supervised_thread("bell", bell.listen, lambda: None)
    tell_port(engine, bell.port)
    Ringer(engine).ring()
    assert woken.wait(10)


def test_ringing_for_nobody_or_without_a_database_does_no_harm(engine: sa.Engine) -> None:
    Ringer(engine).ring()
    Ringer(sa.create_engine("sqlite:////nowhere/at/all.sqlite")).ring()
