"""The worklist only moves forward, and AI can only raise a study in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from node import database, worklist
from node.domain import (
    Certainty,
    CodedConcept,
    DeliveryState,
    EntryState,
    FindingsState,
    Lane,
    OperatingPoint,
    Presence,
    Priority,
    ReportState,
    Side,
    StudyFinding,
    WorklistEntry,
)
from node.worklist import PROMOTION_SECONDS, Phase

NOW = 1_800_000_000.0

FINDING = StudyFinding(
    finding="pneumothorax", concept=CodedConcept("SCT", "36118008", "Pneumothorax"),
    site=CodedConcept("SCT", "39607008", "Lung"), presence=Presence.PRESENT, score=0.93,
    operating_point=OperatingPoint(present_above=0.71, absent_below=0.4), side=Side.LEFT,
    certainty=Certainty.PROBABLE, agreed=False, sop_instance_uid="1.2.3.4", reason="seen by triage only",
)


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    with database.transaction(engine) as connection:
        yield connection


def add(connection: sa.Connection, uid: str, *, waited: float = 60.0, **columns: Any) -> None:
    values = {"study_instance_uid": uid, "opened_at": NOW - waited, "last_received_at": NOW - waited} | columns
    connection.execute(sa.insert(database.study).values(**values))
    worklist.open_entry(connection, uid, NOW - waited)


def shown(connection: sa.Connection, uid: str) -> WorklistEntry:
    found = worklist.entry(connection, uid)
    assert found is not None
    return found


def rank(connection: sa.Connection, uid: str, version: int = 1, **changes: Any) -> bool:
    changes = {"state": EntryState.CONFIRMED, "decisive_at": NOW - 60} | changes
    return worklist.advance(connection, uid, version, Phase.RANKED, **changes)


def order(connection: sa.Connection, limit: int | None = None) -> list[str]:
    return [entry.study_instance_uid for entry in worklist.entries(connection, now=NOW, limit=limit)]


def test_a_study_is_on_the_list_as_its_first_instance_arrives(connection: sa.Connection) -> None:
    add(connection, "1", patient_id="P1", accession_number="A1", modality="DX")
    entry = shown(connection, "1")
    assert (entry.state, entry.priority, entry.patient_id) == (EntryState.RECEIVING, Priority.ROUTINE, "P1")
    assert not worklist.open_entry(connection, "1", NOW)
    assert shown(connection, "1").waiting_since == datetime.fromtimestamp(NOW - 60, UTC)


def test_an_entry_without_its_study_row_stays_on_the_list(connection: sa.Connection) -> None:
    worklist.open_entry(connection, "1", NOW)
    assert order(connection) == order(connection, limit=5) == ["1"]


def test_a_later_phase_applies_and_an_earlier_one_does_not(connection: sa.Connection) -> None:
    add(connection, "1")
    assert worklist.advance(connection, "1", 1, Phase.REPORTED, report_state=ReportState.WRITTEN)
    assert not rank(connection, "1", ai_priority=Priority.STAT)
    assert rank(connection, "1", version=2, ai_priority=Priority.HIGH)
    assert not worklist.advance(connection, "1", 1, Phase.DELIVERED, state=EntryState.FAILED)
    assert (shown(connection, "1").ai_priority, shown(connection, "1").version) == (Priority.HIGH, 2)


def test_a_stage_that_runs_again_writes_the_same_entry(connection: sa.Connection) -> None:
    add(connection, "1")
    assert rank(connection, "1", ai_priority=Priority.HIGH)
    before = shown(connection, "1")
    assert rank(connection, "1", ai_priority=Priority.HIGH)
    assert shown(connection, "1") == before


def test_an_entry_that_is_not_there_does_not_advance(connection: sa.Connection) -> None:
    assert not rank(connection, "9.9")


def test_a_new_version_starts_with_nothing_written(connection: sa.Connection) -> None:
    add(connection, "1")
    worklist.advance(
        connection, "1", 1, Phase.REPORTED, reason="r", findings_state=FindingsState.DONE,
        report_state=ReportState.WRITTEN, dossier={"impression": "old"},
    )
    rank(connection, "1", version=2, dossier={"remarks": []})
    entry = shown(connection, "1")
    assert (entry.findings_state, entry.report_state, entry.reason) == (
        FindingsState.PENDING, ReportState.PENDING, "")
    assert dossier(connection) == {"remarks": []}


def test_the_dossier_of_a_version_grows(connection: sa.Connection) -> None:
    add(connection, "1")
    rank(connection, "1", dossier={"models": ["triage"]})
    worklist.advance(connection, "1", 1, Phase.FINDINGS, dossier={"impression": "text"})
    assert dossier(connection) == {"models": ["triage"], "impression": "text"}


def dossier(connection: sa.Connection) -> Any:
    return connection.execute(sa.select(database.worklist_entry.c.dossier)).scalar_one()


def test_a_provisional_result_raises_but_never_lowers(connection: sa.Connection) -> None:
    add(connection, "1")
    for priority in (Priority.HIGH, Priority.STAT, Priority.ROUTINE, None):
        worklist.advance(
            connection, "1", 1, Phase.PROVISIONAL, state=EntryState.PROVISIONAL, ai_priority=priority, decisive_at=NOW
        )
    assert shown(connection, "1").priority is Priority.STAT
    rank(connection, "1", ai_priority=Priority.ROUTINE)
    assert shown(connection, "1").priority is Priority.ROUTINE


@pytest.mark.parametrize("state", worklist.WITHOUT_AI)
def test_a_study_ai_could_not_judge_has_its_place_without_ai(connection: sa.Connection, state: EntryState) -> None:
    add(connection, "1", order_priority=int(Priority.HIGH))
    rank(connection, "1", ai_priority=Priority.STAT)
    rank(connection, "1", state=state)
    entry = shown(connection, "1")
    assert (entry.ai_priority, entry.priority) == (None, Priority.HIGH)


def test_findings_come_back_as_they_were_put_in(connection: sa.Connection) -> None:
    add(connection, "1")
    bare = replace(FINDING, score=None, operating_point=None, certainty=None, agreed=None, side=Side.NONE)
    rank(connection, "1", findings=(FINDING, bare))
    assert shown(connection, "1").findings == (FINDING, bare)


def test_the_flag_clock_stops_once_at_the_first_priority(connection: sa.Connection) -> None:
    add(connection, "1")
    worklist.advance(connection, "1", 1, Phase.PROVISIONAL, ai_priority=Priority.ROUTINE, decisive_at=NOW - 60)
    first = connection.execute(sa.select(database.worklist_entry.c.flagged_at)).scalar_one()
    rank(connection, "1", ai_priority=Priority.STAT, decisive_at=NOW)
    row = connection.execute(sa.select(database.worklist_entry)).one()
    assert (row.flagged_at, row.decisive_at) == (first, NOW - 60)
    assert shown(connection, "1").time_to_flag_ms == max(0, round((first - NOW + 60) * 1000))


def test_a_study_without_a_priority_has_no_flag_time(connection: sa.Connection) -> None:
    add(connection, "1")
    rank(connection, "1", ai_priority=None)
    assert shown(connection, "1").time_to_flag_ms is None


def test_a_study_that_is_not_evaluable_has_no_times(connection: sa.Connection) -> None:
    add(connection, "1")
    worklist.advance(connection, "1", 1, Phase.PROVISIONAL, ai_priority=Priority.ROUTINE, decisive_at=NOW)
    worklist.mark_notified(connection, "1", NOW)
    rank(connection, "1", state=EntryState.NOT_EVALUABLE, ai_priority=Priority.ROUTINE)
    assert (shown(connection, "1").time_to_flag_ms, shown(connection, "1").time_to_notify_ms) == (None, None)


def test_the_notify_clock_stops_at_the_first_proof(connection: sa.Connection) -> None:
    add(connection, "1")
    rank(connection, "1", ai_priority=Priority.HIGH, decisive_at=NOW)
    assert shown(connection, "1").time_to_notify_ms is None
    assert worklist.mark_notified(connection, "1", NOW + 2.5)
    assert not worklist.mark_notified(connection, "1", NOW + 9)
    assert shown(connection, "1").time_to_notify_ms == 2500


@pytest.mark.parametrize(
    ("states", "weakest"),
    [
        ([], DeliveryState.NONE),
        (["discarded"], DeliveryState.NONE),
        (["committed", "stored"], DeliveryState.STORED),
        (["committed", "discarded"], DeliveryState.COMMITTED),
        (["stored", "sent", "queued"], DeliveryState.QUEUED),
        (["committed", "queued", "failed"], DeliveryState.FAILED),
    ],
)
def test_delivery_is_the_weakest_of_this_version(
    connection: sa.Connection, states: list[str], weakest: DeliveryState
) -> None:
    add(connection, "1")
    rank(connection, "1", version=2)
    rows = [(2, state) for state in states] + [(1, "failed")]
    for number, (version, state) in enumerate(rows):
        connection.execute(sa.insert(database.delivery).values(
            sop_instance_uid=f"1.{number}", destination="pacs", study_instance_uid="1", version=version, state=state,
            updated_at=NOW))
    assert shown(connection, "1").delivery is weakest


def test_the_list_is_read_by_urgency_then_by_wait(connection: sa.Connection) -> None:
    add(connection, "historical", lane="historical", waited=9e6, order_priority=int(Priority.STAT))
    add(connection, "late routine", waited=10)
    add(connection, "early routine", waited=50)
    add(connection, "ordered stat", waited=5, order_priority=int(Priority.STAT))
    add(connection, "flagged", waited=1)
    add(connection, "flagged before", waited=20)
    add(connection, "forgotten", waited=PROMOTION_SECONDS + 10)
    for uid in ("flagged", "flagged before"):
        rank(connection, uid, ai_priority=Priority.HIGH)
    wanted = ["ordered stat", "flagged before", "forgotten", "flagged", "early routine", "late routine", "historical"]
    assert order(connection) == wanted
    assert order(connection, limit=3) == wanted[:3]


def test_json_has_the_keys_of_the_contract(connection: sa.Connection) -> None:
    add(connection, "1", patient_id="P1", accession_number="A1", modality="DX")
    rank(connection, "1", ai_priority=Priority.STAT, findings=[FINDING], decisive_at=NOW)
    value = worklist.to_json(shown(connection, "1"))
    assert value.pop("time_to_flag_ms") is not None
    (finding,) = value.pop("findings")
    assert value == {
        "study_instance_uid": "1", "accession_number": "A1", "patient_id": "P1", "modality": "DX", "lane": "fresh",
        "priority": "STAT", "order_priority": "ROUTINE", "ai_priority": "STAT", "state": "confirmed", "reason": "",
        "findings_state": "pending", "report_state": "pending", "delivery": "none", "time_to_notify_ms": None,
        "demo_model": False, "version": 1, "waiting_since": "2027-01-15T07:59:00+00:00",
    }
    assert {key: finding[key] for key in ("concept", "code", "presence", "score", "side", "present_above")} == {
        "concept": "Pneumothorax", "code": "36118008", "presence": "present", "score": 0.93, "side": "left",
        "present_above": 0.71}


def placed(uid: int, order_priority: Priority, ai_priority: Priority | None, waited: float) -> WorklistEntry:
    priority = order_priority if ai_priority is None else Priority.higher(order_priority, ai_priority)
    return WorklistEntry(
        study_instance_uid=f"1.{uid}", patient_id="", accession_number="", modality="", lane=Lane.FRESH, version=1,
        state=EntryState.CONFIRMED, reason="", order_priority=order_priority, ai_priority=ai_priority,
        priority=priority, findings=(), findings_state=FindingsState.PENDING, report_state=ReportState.PENDING,
        delivery=DeliveryState.NONE, waiting_since=datetime.fromtimestamp(NOW - waited, UTC), time_to_flag_ms=None,
        time_to_notify_ms=None, demo_model=False,
    )


PRIORITIES = st.sampled_from(Priority)
WAITED = st.integers(-60, 3 * int(PROMOTION_SECONDS))
PLACES = st.tuples(PRIORITIES, st.none() | PRIORITIES, WAITED)


@given(st.lists(PLACES, min_size=1, max_size=8), st.data())
def test_no_study_ranks_lower_because_of_its_own_ai_result(places: list[Any], data: st.DataObject) -> None:
    studies = [placed(uid, *place) for uid, place in enumerate(places)]
    one = data.draw(st.integers(0, len(studies) - 1))
    without = placed(one, places[one][0], None, places[one][2])

    def place(study: WorklistEntry) -> int:
        others = studies[:one] + studies[one + 1:]
        return sorted([*others, study], key=lambda entry: worklist.order_key(entry, NOW)).index(study)

    assert place(studies[one]) <= place(without)


RESULTS = st.lists(st.tuples(
    st.sampled_from([(Phase.PROVISIONAL, EntryState.PROVISIONAL), (Phase.RANKED, EntryState.CONFIRMED),
                     *((Phase.RANKED, state) for state in worklist.WITHOUT_AI)]),
    st.none() | st.sampled_from([Priority.STAT, Priority.HIGH, Priority.ROUTINE]), st.integers(1, 3)), max_size=6)
STUDIES = st.lists(st.tuples(st.sampled_from([Priority.STAT, Priority.HIGH, Priority.ROUTINE]), WAITED, RESULTS,
                             st.sampled_from(["fresh", "fresh", "historical", "prior"])), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def board() -> Iterator[sa.Engine]:
    """A database of its own, in memory."""
    engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
    database.metadata.create_all(engine)
    yield engine
    engine.dispose()


@settings(max_examples=30, deadline=None)
@given(studies=STUDIES)
def test_whatever_ai_said_of_a_study_and_in_whatever_order_it_stands_no_lower(
    board: sa.Engine, studies: list[Any]
) -> None:
    """Provisional, confirmed, failed, withdrawn and not evaluable results in any order and lane, several versions."""
    with board.connect() as connection:
        for number, (ordered, waited, _, lane) in enumerate(studies):
            add(connection, str(number), waited=waited, order_priority=int(ordered), lane=lane)
        for number, (ordered, _, results, lane) in enumerate(studies):
            without = order(connection).index(str(number))
            own = ordered if lane == "fresh" else Priority.HISTORICAL
            for (phase, state), found, version in results:
                worklist.advance(connection, str(number), version, phase, state=state, ai_priority=found)
                assert order(connection).index(str(number)) <= without
                said = shown(connection, str(number))
                assert said.state not in worklist.WITHOUT_AI or said.priority is own
        connection.rollback()


@given(st.sampled_from([*EntryState]), PRIORITIES, WAITED)
def test_the_place_does_not_depend_on_what_ai_could_not_do(
    state: EntryState, priority: Priority, waited: float
) -> None:
    entry = placed(1, priority, None, waited)
    assert worklist.order_key(replace(entry, state=state), NOW) == worklist.order_key(entry, NOW)


@given(WAITED)
def test_nothing_overtakes_a_stat_study_by_waiting(waited: float) -> None:
    stat, routine = placed(1, Priority.STAT, None, 0), placed(2, Priority.ROUTINE, None, waited)
    assert worklist.order_key(stat, NOW) < worklist.order_key(routine, NOW)
    assert worklist.is_promoted(routine, NOW) is (waited > PROMOTION_SECONDS)
