"""Every event is chained to the one before it, and whatever was changed afterwards is found."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from node import audit
from node.database import audit_anchor, audit_chain, audit_event, connect, transaction
from node.domain import AuditEvent


def record(engine: sa.Engine, *actions: str, chain: str = "receiver:1", study: str = "1.2") -> None:
    for action in actions:
        with transaction(engine) as connection:
            audit.append(connection, chain, AuditEvent(action=action, study_instance_uid=study, detail={"n": 1}))


def verify(engine: sa.Engine) -> audit.Verification:
    with transaction(engine) as connection:
        return audit.verify(connection)


def tamper(engine: sa.Engine, statement: sa.Executable) -> None:
    with transaction(engine) as connection:
        connection.execute(statement)


def test_a_chain_is_numbered_from_one_and_linked(engine: sa.Engine) -> None:
    record(engine, "first", "second")
    with transaction(engine) as connection:
        first, second = connection.execute(sa.select(audit_event).order_by(audit_event.c.seq)).all()
    assert (first.seq, second.seq) == (1, 2)
    assert (first.previous, second.previous) == (audit.START, first.digest)


def test_untouched_chains_and_anchors_verify(engine: sa.Engine) -> None:
    record(engine, "a", "b", chain="receiver:1")
    record(engine, "c", chain="clerk:1")
    with transaction(engine) as connection:
        audit.anchor(connection)
    record(engine, "d", chain="clerk:1")
    assert verify(engine) == audit.Verification(events=4, chains=2, anchors=1, problems=())


def test_nothing_verifies_to_nothing(engine: sa.Engine) -> None:
    assert verify(engine) == audit.Verification(events=0, chains=0, anchors=0, problems=())


def test_an_event_of_a_rolled_back_transaction_leaves_no_gap(engine: sa.Engine) -> None:
    record(engine, "kept")
    with pytest.raises(ZeroDivisionError), transaction(engine) as connection:
        audit.append(connection, "receiver:1", AuditEvent(action="undone"))
        raise ZeroDivisionError
    record(engine, "next")
    assert (verify(engine).events, verify(engine).problems) == (2, ())


def test_writers_of_one_chain_never_fork_it(engine: sa.Engine) -> None:
    with ThreadPoolExecutor(4) as writers:
        list(writers.map(lambda number: record(engine, *[f"writer.{number}"] * 10), range(4)))
    assert (verify(engine).events, verify(engine).problems) == (40, ())


def test_anchors_written_at_once_never_fork(engine: sa.Engine) -> None:
    record(engine, "a")

    def write(_: int) -> None:
        with transaction(engine) as connection:
            audit.anchor(connection)

    with ThreadPoolExecutor(6) as writers:
        list(writers.map(write, range(30)))
    assert verify(engine) == audit.Verification(events=1, chains=1, anchors=30, problems=())


def test_a_writer_at_work_is_no_problem(engine: sa.Engine, database_url: str) -> None:
    record(engine, "before")
    other = connect(database_url)

    def write(*_: object) -> None:
        record(other, "a", "b")
        record(other, "c", chain="clerk:1")
        with transaction(other) as connection:
            audit.anchor(connection)

    write()
    with transaction(engine) as connection:
        sa.event.listen(connection, "before_cursor_execute", write)  # something new before every statement
        found = audit.verify(connection)
    other.dispose()
    assert (found.events >= 4, found.problems) == (True, ())


def test_an_event_put_in_beside_its_head_is_found(engine: sa.Engine) -> None:
    record(engine, "a", "b")
    first = sa.select(audit_event.c.digest).where(audit_event.c.seq == 1).scalar_subquery()
    tamper(engine, sa.update(audit_chain).values(seq=1, head=first))
    assert verify(engine).problems == ("chain receiver:1: event 2 is ahead of its head",)


@pytest.mark.parametrize(("column", "value"), [
    ("action", "else"), ("detail", '{"n":2}'), ("at", 0.0), ("study_instance_uid", "1.3"), ("sop_instance_uid", "1.4"),
])
def test_a_changed_event_is_found(engine: sa.Engine, column: str, value: object) -> None:
    record(engine, "a", "b", "c")
    tamper(engine, sa.update(audit_event).where(audit_event.c.seq == 2).values({column: value}))
    assert verify(engine).problems == ("chain receiver:1: event 2 was altered",)


def test_a_changed_event_with_a_new_digest_is_found(engine: sa.Engine) -> None:
    record(engine, "a", "b", "c")
    tamper(engine, sa.update(audit_event).where(audit_event.c.seq == 2).values(digest="0" * 64))
    assert "chain receiver:1: event 3 does not follow event 2" in verify(engine).problems


def test_a_removed_event_is_found(engine: sa.Engine) -> None:
    record(engine, "a", "b", "c")
    tamper(engine, sa.delete(audit_event).where(audit_event.c.seq == 2))
    assert verify(engine).problems == ("chain receiver:1: event 2 is missing",)


def test_removed_last_events_are_found_by_the_head(engine: sa.Engine) -> None:
    record(engine, "a", "b", "c")
    tamper(engine, sa.delete(audit_event).where(audit_event.c.seq == 3))
    assert verify(engine).problems == ("chain receiver:1: its head says event 3, the events end elsewhere",)


def test_removed_last_events_with_the_head_turned_back_are_found_by_the_anchor(engine: sa.Engine) -> None:
    record(engine, "a", "b", "c")
    with transaction(engine) as connection:
        audit.anchor(connection)
        second = connection.execute(sa.select(audit_event.c.digest).where(audit_event.c.seq == 2)).scalar_one()
    tamper(engine, sa.delete(audit_event).where(audit_event.c.seq == 3))
    tamper(engine, sa.update(audit_chain).where(audit_chain.c.seq == 3).values(seq=2, head=second))
    assert verify(engine).problems == ("anchor 1: chain receiver:1 had another event 3",)


def test_a_chain_removed_as_a_whole_is_found_by_the_anchor(engine: sa.Engine) -> None:
    record(engine, "a")
    with transaction(engine) as connection:
        audit.anchor(connection)
    tamper(engine, sa.delete(audit_event))
    tamper(engine, sa.delete(audit_chain))
    assert verify(engine).problems == ("anchor 1: chain receiver:1 had another event 1",)


def test_a_removed_anchor_is_found_by_the_next(engine: sa.Engine) -> None:
    for action in ("a", "b"):
        record(engine, action)
        with transaction(engine) as connection:
            audit.anchor(connection)
    tamper(engine, sa.delete(audit_anchor).where(audit_anchor.c.id == 1))
    assert verify(engine).problems == ("anchor 2: was altered or one before it is missing",)


def test_events_are_told_in_order_of_time_with_their_detail(engine: sa.Engine) -> None:
    record(engine, "a", study="1.2")
    record(engine, "b", study="1.3")
    record(engine, "c", chain="clerk:1", study="1.2")
    with transaction(engine) as connection:
        assert [event["action"] for event in audit.events(connection)] == ["a", "b", "c"]
        assert [event["action"] for event in audit.events(connection, "1.2")] == ["a", "c"]
        (last,) = audit.events(connection, limit=1)
    assert (last["action"], last["detail"]) == ("c", {"n": 1})
    json.dumps(last)


def test_equal_details_have_one_text() -> None:
    assert audit.canonical({"b": [1, 2.5], "a": "가"}) == audit.canonical({"a": "가", "b": [1, 2.5]})
    assert audit.canonical({"b": [1, 2.5], "a": "가"}) == '{"a":"가","b":[1,2.5]}'
