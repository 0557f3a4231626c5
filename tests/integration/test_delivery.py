"""Delivery against a small PACS and both databases: what is proved, what is tried again, what is given up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import dcmread
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from node import audit, delivery
from node.commitment import commitment_report
from node.config import DeliverySection, Destination
from node.database import commitment, transaction, worklist_entry
from node.database import delivery as delivery_table
from node.database import report as report_table
from node.delivery import Office, Selection
from node.delivery.commitment import AUTOMATIC_ROUNDS
from node.delivery.rules import gate, judge, retry_delay, weakest
from node.demo.pacs import PacsSwitches, SmallPacs
from node.dicom_client import DicomClient, TimeOuts
from node.domain import JSON, CommitmentReport, DeliveryState, Priority, ReportKind, ReportObject, StoreOutcome
from node.errors import BadInput, PeerError, PeerRefused
from tests.tools.documents import document
from tests.tools.network import free_port
from tests.tools.waiting import wait_until

STUDY, VERSION, CHAIN = "1.2.3", 1, "clerk-0"
SETTINGS = DeliverySection(retry_seconds=(2, 10), last_repeats=1, commitment_timeout_seconds=60)
QUEUED, SENT, STORED = DeliveryState.QUEUED, DeliveryState.SENT, DeliveryState.STORED
COMMITTED, FAILED, DISCARDED = DeliveryState.COMMITTED, DeliveryState.FAILED, DeliveryState.DISCARDED


@dataclass(frozen=True)
class Job:
    stage: str
    key: str
    arguments: JSON
    delay_seconds: float


@dataclass
class Jobs:
    """A job engine that runs one job when told to, and never a key twice."""

    waiting: list[Job] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    def put(
        self, connection: sa.Connection, *, stage: str, key: str, priority: int, arguments: JSON,
        delay_seconds: float = 0, partition: str = "", after: str = "",
    ) -> None:
        assert arguments["priority"] == int(priority)
        if key not in self.used:
            self.used.add(key)
            self.waiting.append(Job(stage, key, arguments, delay_seconds))

    def run(self, office: Office) -> Job:
        """The oldest job, whatever its delay."""
        job = self.waiting.pop(0)
        result: JSON = {}
        if job.stage == delivery.SEND:
            result = delivery.send(office, job.arguments)
        elif job.stage == delivery.COMMIT:
            result = delivery.request(office, job.arguments)
        with transaction(office.engine) as connection:
            if job.stage == delivery.SEND:
                delivery.record(office, connection, job.arguments, result)
            elif job.stage == delivery.COMMIT:
                delivery.record_request(office, connection, job.arguments, result)
            else:
                delivery.check(office, connection, job.arguments)
        return job

    def run_all(self, office: Office) -> list[Job]:
        return [self.run(office) for _ in iter(lambda: bool(self.waiting), False)]


@dataclass
class FakeClient:
    """A destination that answers what it is told to: per store call a status for every file, or an error."""

    answers: list[int | PeerError | None] = field(default_factory=list)
    commitments: list[CommitmentReport | PeerError | None] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    stored: list[list[str]] = field(default_factory=list)
    asked: list[tuple[str, list[str]]] = field(default_factory=list)

    def echo(self, destination: Destination) -> None: ...

    def store(self, destination: Destination, files: Sequence[Path]) -> list[StoreOutcome]:
        self.stored.append([file.stem for file in files])
        answer = self.answers.pop(0)
        if isinstance(answer, PeerError):
            raise answer
        return [StoreOutcome(sop_instance_uid=file.stem, sent=True, status=answer) for file in files]

    def request_commitment(
        self, destination: Destination, transaction_uid: str, references: Sequence[tuple[str, str]]
    ) -> CommitmentReport | None:
        self.asked.append((transaction_uid, [uid for _, uid in references]))
        answer = self.commitments.pop(0)
        if isinstance(answer, PeerError):
            raise answer
        return answer and replace(answer, transaction_uid=transaction_uid)

    def find_instances(
        self, destination: Destination, study_instance_uid: str, series_instance_uid: str,
        sop_instance_uids: Sequence[str],
    ) -> frozenset[str]:
        return frozenset(self.held & set(sop_instance_uids))


def pacs_at(port: int, storage_commitment: bool = False, name: str = "pacs") -> Destination:
    return Destination(
        name=name, ae_title="PACS", host="127.0.0.1", port=port, storage_commitment=storage_commitment)


@dataclass
class World:
    """Two written reports of one study, a job engine, and an office."""

    engine: sa.Engine
    folder: Path
    reports: list[ReportObject]
    jobs: Jobs = field(default_factory=Jobs)

    def office(self, client: Any, *destinations: Destination) -> Office:
        return Office(
            engine=self.engine, chain=CHAIN, put=self.jobs.put, client=client, settings=SETTINGS,
            destinations={one.name: one for one in destinations}, data_dir=self.folder, allow_demo=False)

    def queue(self, *destinations: Destination) -> int:
        return self.commit(lambda connection: delivery.queue(
            connection, CHAIN, self.jobs.put, STUDY, VERSION, self.reports, destinations, Priority.HIGH))

    def commit(self, work: Callable[[sa.Connection], Any]) -> Any:
        with transaction(self.engine) as connection:
            return work(connection)

    def requeue(self) -> int:
        count = self.commit(lambda connection: delivery.requeue(connection, CHAIN, self.jobs.put, SETTINGS))
        assert isinstance(count, int)
        return count

    @property
    def rows(self) -> dict[str, JSON]:
        rows = self.commit(delivery.list_deliveries)
        return {row["sop_instance_uid"]: row for row in rows}

    @property
    def states(self) -> list[DeliveryState]:
        return [DeliveryState(self.rows[uid]["state"]) for uid in self.uids]

    @property
    def uids(self) -> list[str]:
        return [item.sop_instance_uid for item in self.reports]

    @property
    def actions(self) -> list[str]:
        return [event["action"] for event in self.commit(lambda connection: list(audit.events(connection, STUDY)))]

    @property
    def transactions(self) -> list[str]:
        query = sa.select(commitment.c.transaction_uid).order_by(commitment.c.requested_at)
        return list(self.commit(lambda connection: connection.execute(query).scalars().all()))


@pytest.fixture
def world(engine: sa.Engine, tmp_path: Path) -> World:
    reports = []
    for kind in ReportKind:
        path = document(tmp_path, study=STUDY)
        dataset = dcmread(path)
        reports.append(ReportObject(
            kind=kind, sop_class_uid=dataset.SOPClassUID, sop_instance_uid=dataset.SOPInstanceUID,
            series_instance_uid=dataset.SeriesInstanceUID, study_instance_uid=STUDY, version=VERSION, path=path.name))
    with transaction(engine) as connection:
        for item in reports:
            values = {**vars(item), "kind": item.kind.value, "created_at": 0.0}
            connection.execute(sa.insert(report_table).values(**values))
        connection.execute(sa.insert(worklist_entry).values(
            study_instance_uid=STUDY, waiting_since=0.0, updated_at=0.0))
    return World(engine, tmp_path, reports)


@contextmanager
def node_listening(world: World) -> Iterator[tuple[int, list[str]]]:
    """The receiver's part: N-EVENT-REPORT on a new association, on which the archive is the SCP."""
    heard: list[str] = []

    def on_report(event: Any) -> tuple[int, None]:
        answer = commitment_report(event.event_information)
        world.commit(lambda connection: delivery.record_commitment(connection, "receiver-0", answer))
        heard.append(answer.transaction_uid)
        return 0x0000, None

    entity = AE("AINODE")
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, on_report)])
    try:
        yield server.server_address[1], heard
    finally:
        server.shutdown()


def test_reports_are_stored_and_committed_and_the_bytes_are_ours(world: World, tmp_path: Path) -> None:
    client = DicomClient("AINODE", TimeOuts(commitment=0))
    with SmallPacs("PACS", tmp_path / "pacs") as pacs, node_listening(world) as (port, _):
        pacs.meet("AINODE", "127.0.0.1", port)
        destination = pacs_at(pacs.port, storage_commitment=True)
        office = world.office(client, destination)
        assert world.queue(destination) == 2
        world.jobs.run(office)
        world.jobs.run(office)
        assert pacs.wait_for(lambda pacs: pacs.committed == set(world.uids), timeout=30)
        assert [job.stage for job in world.jobs.run_all(office)] == ["commit-check"]
        assert dcmread(pacs.objects[world.uids[0]].file) == dcmread(tmp_path / world.reports[0].path)
    assert world.states == [COMMITTED] * 2
    for action, count in (("delivery.queued", 2), ("delivery.stored", 2), ("commitment.requested", 1),
                          ("delivery.committed", 2)):
        assert world.actions.count(action) == count
    assert world.commit(audit.verify).problems == ()


def test_queueing_twice_changes_nothing(world: World) -> None:
    assert world.queue(pacs_at(104)) == 2
    assert world.queue(pacs_at(104)) == 0
    assert [job.key for job in world.jobs.waiting] == [f"send:{STUDY}:v1:pacs:r1:a1"]
    assert world.actions == ["delivery.queued"] * 2


def test_every_destination_has_its_own_rows_and_jobs(world: World) -> None:
    assert world.queue(pacs_at(104), pacs_at(105, name="vna")) == 4
    assert [job.arguments["destination"] for job in world.jobs.waiting] == ["pacs", "vna"]


def test_the_second_clock_stops_at_the_first_proof_and_stays(world: World) -> None:
    def clock() -> float | None:
        query = sa.select(worklist_entry.c.notified_at)
        value = world.commit(lambda connection: connection.execute(query).scalar_one())
        return None if value is None else float(value)

    destination = pacs_at(104)
    office = world.office(FakeClient([None, 0x0000, 0x0000]), destination)
    world.queue(destination)
    world.jobs.run(office)
    assert clock() is None
    world.jobs.run(office)
    first = clock()
    assert first is not None
    world.commit(lambda connection: connection.execute(sa.update(delivery_table).values(state="queued")))
    delivery_again = world.office(FakeClient([0x0000]), destination)
    arguments = delivery.Attempt(
        study_instance_uid=STUDY, version=VERSION, destination="pacs", priority=Priority.HIGH).arguments
    result = delivery.send(delivery_again, arguments)
    world.commit(lambda connection: delivery.record(delivery_again, connection, arguments, result))
    assert clock() == first


def test_a_destination_that_is_down_is_tried_by_the_schedule_and_then_given_up(world: World) -> None:
    destination = pacs_at(free_port())
    office = world.office(DicomClient("AINODE"), destination)
    world.queue(destination)
    ran = world.jobs.run_all(office)
    assert [(job.key[-2:], job.delay_seconds) for job in ran] == [("a1", 0), ("a2", 2), ("a3", 10), ("a4", 10)]
    assert world.states == [FAILED] * 2
    assert "gave up after 4 attempts" in world.rows[world.uids[0]]["reason"]


def test_a_destination_that_is_full_gets_it_on_the_next_attempt(world: World, tmp_path: Path) -> None:
    with SmallPacs("PACS", tmp_path / "pacs", PacsSwitches(refuse_first=True)) as pacs:
        destination = pacs_at(pacs.port)
        office = world.office(DicomClient("AINODE"), destination)
        world.queue(destination)
        world.jobs.run(office)
        assert world.states == [QUEUED] * 2
        world.jobs.run(office)
    assert world.states == [STORED] * 2
    assert world.rows[world.uids[0]]["attempts"] == 2


def test_only_what_is_not_proved_is_sent_again(world: World) -> None:
    destination = pacs_at(104)
    world.queue(destination)
    client = FakeClient([0xA700, 0x0000])
    office = world.office(client, destination)
    world.jobs.run(office)
    world.commit(lambda connection: connection.execute(
        sa.update(delivery_table).where(delivery_table.c.sop_instance_uid == world.uids[0]).values(state="stored")))
    world.jobs.run(office)
    assert client.stored == [[world.uids[0], world.uids[1]], [world.uids[1]]]


@pytest.mark.parametrize("answer", [0xA900, 0xC123, 0x0122, PeerRefused("calling AE title not recognised")])
def test_an_answer_that_will_not_change_is_a_dead_letter_at_once(world: World, answer: int | PeerError) -> None:
    destination = pacs_at(104)
    world.queue(destination)
    world.jobs.run(world.office(FakeClient([answer]), destination))
    assert world.states == [FAILED] * 2
    assert world.jobs.waiting == []


def test_no_answer_is_sent_and_a_later_unreachable_peer_does_not_take_that_back(world: World) -> None:
    destination = pacs_at(104)
    world.queue(destination)
    office = world.office(FakeClient([None, PeerError("unreachable")]), destination)
    world.jobs.run(office)
    world.jobs.run(office)
    assert world.states == [SENT] * 2


def test_what_went_out_without_an_answer_may_be_found_by_query(world: World) -> None:
    destination = pacs_at(104)
    world.queue(destination)
    client = FakeClient([None], held=set(world.uids))
    office = world.office(client, destination)
    world.jobs.run(office)
    world.jobs.run(office)
    assert world.states == [STORED] * 2
    assert len(client.stored) == 1


def test_a_hanging_archive_loses_nothing(world: World, tmp_path: Path) -> None:
    client = DicomClient("AINODE", TimeOuts(dimse=0.2))
    with SmallPacs("PACS", tmp_path / "pacs", PacsSwitches(hang=True)) as pacs:
        destination = pacs_at(pacs.port)
        office = world.office(client, destination)
        world.queue(destination)
        world.jobs.run(office)
        assert sorted(state.value for state in world.states) == ["queued", "sent"]
        pacs.switches = PacsSwitches()
        world.jobs.run(world.office(DicomClient("AINODE"), destination))
    assert world.states == [STORED] * 2


def test_a_destination_that_left_the_configuration_is_a_dead_letter(world: World) -> None:
    world.queue(pacs_at(104))
    world.jobs.run(world.office(FakeClient()))
    assert world.states == [FAILED] * 2
    assert "destinations has no 'pacs' any more" in world.rows[world.uids[0]]["reason"]


def test_an_attempt_that_broke_is_followed_by_the_next(world: World) -> None:
    destination = pacs_at(104)
    world.queue(destination)
    job = world.jobs.waiting.pop()
    office = world.office(FakeClient(), destination)
    world.commit(lambda connection: delivery.record_failure(office, connection, job.arguments, "disk error"))
    assert [job.delay_seconds for job in world.jobs.waiting] == [2]
    assert world.rows[world.uids[0]]["reason"] == "disk error"


def test_recording_the_same_outcome_twice_changes_nothing(world: World) -> None:
    destination = pacs_at(104, storage_commitment=True)
    world.queue(destination)
    office = world.office(FakeClient([0x0000]), destination)
    arguments = world.jobs.waiting.pop().arguments
    result = delivery.send(office, arguments)
    for _ in range(2):
        world.commit(lambda connection: delivery.record(office, connection, arguments, result))
    assert world.actions.count("delivery.stored") == 2
    assert [job.stage for job in world.jobs.waiting] == ["commit"]


def committed(*uids: str, failed: Sequence[tuple[str, int]] = ()) -> CommitmentReport:
    return CommitmentReport(transaction_uid="", committed=uids, failed=tuple(failed))


def stored_at(world: World, client: FakeClient) -> Office:
    """An office whose destination stored both reports; the commitment job waits."""
    destination = pacs_at(104, storage_commitment=True)
    client.answers.insert(0, 0x0000)
    office = world.office(client, destination)
    world.queue(destination)
    world.jobs.run(office)
    assert world.states == [STORED] * 2
    return office


def test_a_report_on_the_association_that_asked_commits(world: World) -> None:
    office = stored_at(world, FakeClient(commitments=[committed(*world.uids)]))
    world.jobs.run_all(office)
    assert world.states == [COMMITTED] * 2


def test_the_transaction_is_on_record_before_the_request_leaves(world: World) -> None:
    class Quick(FakeClient):
        """Reports on another association before it answers the request."""

        def request_commitment(
            self, destination: Destination, transaction_uid: str, references: Sequence[tuple[str, str]]
        ) -> CommitmentReport | None:
            answer = CommitmentReport(
                transaction_uid=transaction_uid, committed=tuple(uid for _, uid in references), failed=())
            other = threading.Thread(target=world.commit, args=(
                lambda connection: delivery.record_commitment(connection, "receiver-0", answer),))
            other.start()
            other.join()
            return None

    world.jobs.run_all(stored_at(world, Quick()))
    assert world.states == [COMMITTED] * 2


def test_an_unanswered_request_is_asked_again_under_a_new_transaction(world: World) -> None:
    client = FakeClient(commitments=[None, committed(*world.uids)])
    ran = world.jobs.run_all(stored_at(world, client))
    assert [(job.stage, job.delay_seconds) for job in ran[:3]] == [("commit", 0), ("commit-check", 60), ("commit", 2)]
    assert world.states == [COMMITTED] * 2
    assert len(set(world.transactions)) == 2


def test_the_late_answer_to_an_earlier_transaction_counts(world: World) -> None:
    office = stored_at(world, FakeClient(commitments=[None, None]))
    for _ in range(3):
        world.jobs.run(office)
    first = world.transactions[0]
    world.commit(lambda connection: delivery.record_commitment(
        connection, "receiver-0", replace(committed(*world.uids), transaction_uid=first)))
    assert world.states == [COMMITTED] * 2


def test_an_archive_that_never_reports_leaves_the_objects_stored(world: World) -> None:
    world.jobs.run_all(stored_at(world, FakeClient(commitments=[None] * 4)))
    assert world.states == [STORED] * 2
    assert world.rows[world.uids[0]]["reason"] == "stored, never committed: no report came"
    assert world.actions.count("commitment.given_up") == 1


def test_an_archive_without_commitment_is_asked_once(world: World) -> None:
    client = FakeClient(commitments=[PeerRefused("no presentation context")])
    world.jobs.run_all(stored_at(world, client))
    assert world.states == [STORED] * 2
    assert len(client.asked) == 1


def test_a_repeated_report_is_heard_once(world: World) -> None:
    office = stored_at(world, FakeClient(commitments=[None]))
    world.jobs.run(office)
    answer = replace(committed(*world.uids), transaction_uid=world.transactions[0])
    for _ in range(2):
        world.commit(lambda connection: delivery.record_commitment(connection, "receiver-0", answer))
    assert world.actions.count("delivery.committed") == 2


def test_a_report_of_an_unknown_transaction_is_bad_input(world: World) -> None:
    answer = CommitmentReport(transaction_uid="2.25.1", committed=("1.2",), failed=())
    with pytest.raises(BadInput, match=r"2\.25\.1"):
        world.commit(lambda connection: delivery.record_commitment(connection, "receiver-0", answer))


def test_what_the_archive_lost_is_sent_again_in_a_new_round(world: World, tmp_path: Path) -> None:
    client = DicomClient("AINODE", TimeOuts(commitment=0))
    with (SmallPacs("PACS", tmp_path / "pacs", PacsSwitches(lose_first=True)) as pacs,
          node_listening(world) as (port, heard)):
        pacs.meet("AINODE", "127.0.0.1", port)
        destination = pacs_at(pacs.port, storage_commitment=True)
        office = world.office(client, destination)
        world.queue(destination)
        world.jobs.run(office)
        world.jobs.run(office)
        wait_until(lambda: len(heard) == 1, what="a commitment report")
        assert world.requeue() == 2
        assert [job.stage for job in world.jobs.waiting] == ["commit-check", "send"]
        assert world.jobs.waiting[-1].key.endswith(":r2:a1")
        assert world.jobs.waiting[-1].delay_seconds == 2
        for _ in range(3):
            world.jobs.run(office)
        assert pacs.wait_for(lambda pacs: pacs.committed == set(world.uids), timeout=30)
    assert world.states == [COMMITTED] * 2


def test_an_archive_that_loses_everything_it_stores_is_given_up(world: World) -> None:
    lost = [committed(failed=[(uid, 0x0112) for uid in world.uids]) for _ in range(AUTOMATIC_ROUNDS)]
    client = FakeClient(answers=[0x0000] * AUTOMATIC_ROUNDS, commitments=list(lost))
    office = stored_at(world, client)
    rounds = 0
    world.jobs.run_all(office)
    while world.requeue():
        rounds += 1
        world.jobs.run_all(office)
    assert rounds == AUTOMATIC_ROUNDS - 1
    assert world.states == [FAILED] * 2


def test_another_failure_reason_is_a_dead_letter_and_the_rest_is_committed(world: World) -> None:
    client = FakeClient(commitments=[committed(world.uids[1], failed=[(world.uids[0], 0x0119)])])
    world.jobs.run_all(stored_at(world, client))
    assert world.states == [FAILED, COMMITTED]
    assert "0x0119" in world.rows[world.uids[0]]["reason"]


def test_a_retry_starts_a_new_round_of_what_is_not_proved(world: World) -> None:
    destination = pacs_at(104)
    world.queue(destination)
    world.jobs.run(world.office(FakeClient([0xA900]), destination))
    assert world.commit(lambda connection: delivery.retry(connection, "cli", Selection(study_instance_uid=STUDY))) == 2
    assert world.requeue() == 2
    assert world.requeue() == 0
    assert world.states == [QUEUED] * 2
    world.jobs.run_all(world.office(FakeClient([0x0000]), destination))
    assert world.states == [STORED] * 2
    assert world.commit(lambda connection: delivery.retry(connection, "cli", Selection())) == 0


def test_rows_of_different_rounds_meet_in_one_none_of_them_was_in(world: World) -> None:
    destination = pacs_at(104)
    world.queue(destination)
    one = Selection(sop_instance_uid=world.uids[0])
    world.commit(lambda connection: delivery.retry(connection, "cli", one))
    world.requeue()
    world.commit(lambda connection: delivery.retry(connection, "cli", Selection()))
    world.requeue()
    assert {row["round"] for row in world.rows.values()} == {3}
    client = FakeClient([0x0000])
    world.jobs.run_all(world.office(client, destination))
    assert [sorted(sent) for sent in client.stored] == [sorted(world.uids)]


def test_what_an_attempt_of_an_old_round_brings_back_is_left_to_the_new_round(world: World) -> None:
    destination = pacs_at(104)
    world.queue(destination)
    old = world.jobs.waiting.pop()
    office = world.office(FakeClient([0xA900]), destination)
    result = delivery.send(office, old.arguments)
    world.commit(lambda connection: delivery.retry(connection, "cli", Selection()))
    world.requeue()
    world.commit(lambda connection: delivery.record(office, connection, old.arguments, result))
    assert world.states == [QUEUED] * 2


def test_a_discarded_delivery_is_not_sent_and_no_longer_counts(world: World) -> None:
    destination = pacs_at(104)
    world.queue(destination)
    assert world.commit(lambda connection: delivery.discard(connection, "cli", Selection(destination="pacs"))) == 2
    client = FakeClient()
    world.jobs.run_all(world.office(client, destination))
    assert (world.states, client.stored) == ([DISCARDED] * 2, [])
    assert world.commit(lambda connection: delivery.of_study(connection, STUDY, VERSION)) is DeliveryState.NONE


def test_the_state_of_a_study_is_its_weakest_proof(world: World) -> None:
    def state() -> DeliveryState:
        found = world.commit(lambda connection: delivery.of_study(connection, STUDY, VERSION))
        assert isinstance(found, DeliveryState)
        return found

    assert state() is DeliveryState.NONE
    office = stored_at(world, FakeClient(commitments=[committed(world.uids[0])]))
    world.jobs.run(office)
    assert state() is STORED
    world.queue(pacs_at(105, name="vna"))
    assert state() is QUEUED


@pytest.mark.parametrize(("states", "expected"), [
    ([], "none"), ([DISCARDED], "none"), ([COMMITTED, STORED], "stored"), ([SENT, STORED], "sent"),
    ([QUEUED, SENT], "queued"), ([FAILED, QUEUED], "failed"), ([COMMITTED, DISCARDED], "committed"),
])
def test_the_weakest_of(states: list[DeliveryState], expected: str) -> None:
    assert weakest(states).value == expected


@pytest.mark.parametrize(("sent", "status", "state"), [
    (True, 0x0000, STORED), (True, 0xB000, STORED), (True, 0xB007, STORED), (True, 0x0111, STORED),
    (True, 0xA700, QUEUED), (True, 0x0110, QUEUED), (True, 0x0213, QUEUED), (True, None, SENT), (False, None, QUEUED),
    (True, 0xA900, FAILED), (False, 0xC000, FAILED), (False, 0x0122, FAILED), (True, 0x0124, FAILED),
])
def test_what_an_answer_proves(sent: bool, status: int | None, state: DeliveryState) -> None:
    assert judge(sent, status) is state


def test_the_last_delay_repeats_and_then_no_attempt_is_left() -> None:
    settings = DeliverySection(retry_seconds=(2, 10), last_repeats=2)
    assert [retry_delay(settings, attempt) for attempt in range(1, 6)] == [2, 10, 10, 10, None]


@pytest.mark.parametrize(("host", "allowed"), [
    ("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True), ("LOCALHOST", True),
    ("10.0.0.1", False), ("pacs.example.org", False), ("0.0.0.0", False), ("localhost.example.org", False),
])
def test_a_demo_model_delivers_to_this_machine_only(host: str, allowed: bool) -> None:
    destination = Destination(name="pacs", ae_title="PACS", host=host, port=104)
    assert (gate(destination, demo_model=True, allow_demo=False) == "") is allowed
    assert gate(destination, demo_model=True, allow_demo=True) == ""
    assert gate(destination, demo_model=False, allow_demo=False) == ""


def test_a_demo_result_does_not_follow_its_destination_to_another_machine(world: World) -> None:
    destination = pacs_at(free_port())
    world.queue(destination)
    world.commit(lambda connection: connection.execute(sa.update(report_table).values(demo=True)))
    moved = destination.model_copy(update={"host": "192.0.2.7"})
    client = FakeClient()
    world.jobs.run_all(world.office(client, moved))
    assert world.states == [FAILED] * 2
    assert "is not this machine" in world.rows[world.uids[0]]["reason"]
    assert client.stored == []


def test_what_an_older_version_has_waiting_is_not_sent_after_a_newer_one(world: World) -> None:
    destination = pacs_at(free_port())
    world.queue(destination)
    assert world.commit(lambda connection: delivery.supersede(connection, CHAIN, STUDY, VERSION + 1)) == 2
    client = FakeClient()
    world.jobs.run_all(world.office(client, destination))
    assert world.states == [DISCARDED] * 2
    assert client.stored == []
