"""Storage commitment for senders: what the archive commits is passed on, nothing else, whoever goes missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from node import audit
from node.arrivals import OTHER_PIXELS
from node.commitment import action_information
from node.database import audit_event, commitment_request, instance, transaction
from node.delivery import requests
from node.demo.pacs import PacsSwitches, SmallPacs
from node.dicom_client import COMMITMENT_INSTANCE
from node.domain import CommitmentReport, CommitmentRequest
from node.errors import BadInput
from tests.tools.commitment import SENDER, RelayNode, Sender, Told, pair, relay_node, send_action, send_action_bytes
from tests.tools.documents import document
from tests.tools.network import Namespace, free_port
from tests.tools.orthanc import Orthanc
from tests.tools.receiver import CT, ENGINES, EXPLICIT_LITTLE, made, receiver, send, sent, store

TRANSACTION = "1.2.3.99"
ALL_COMMITTED, FAILURES_EXIST = 1, 2
SUCCESS, PROCESSING_FAILURE, NO_SUCH_INSTANCE, INVALID_ARGUMENT = 0x0000, 0x0110, 0x0112, 0x0115
CLASS_CONFLICT, NO_SUCH_ACTION, NOT_AUTHORISED = 0x0119, 0x0123, 0x0124
MR = "1.2.840.10008.5.1.4.1.1.4"


@pytest.fixture
def sender() -> Iterator[Sender]:
    with Sender() as sender:
        yield sender


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[SmallPacs]:
    with SmallPacs("PACS", tmp_path / "pacs") as pacs:
        yield pacs


@pytest.fixture
def world(engine: sa.Engine, data_dir: Path, archive: SmallPacs, sender: Sender) -> Iterator[RelayNode]:
    with relay_node(engine, data_dir, archive.port, sender) as world:
        archive.meet("AINODE", "127.0.0.1", world.port)
        yield world


@pytest.fixture
def simple(sqlite: sa.Engine, data_dir: Path, archive: SmallPacs, sender: Sender) -> Iterator[RelayNode]:
    """The same on SQLite only."""
    with relay_node(sqlite, data_dir, archive.port, sender) as world:
        archive.meet("AINODE", "127.0.0.1", world.port)
        yield world


@pytest.fixture(params=ENGINES)
def either(
    request: pytest.FixtureRequest, sqlite: sa.Engine, data_dir: Path, archive: SmallPacs, sender: Sender
) -> Iterator[RelayNode]:
    """The same with each engine of reception."""
    with relay_node(sqlite, data_dir, archive.port, sender, receive_engine=request.param) as world:
        archive.meet("AINODE", "127.0.0.1", world.port)
        yield world


def stored(world: RelayNode, archive: SmallPacs | None, *uids: str) -> list[tuple[str, str]]:
    """Instances that the node has read, and the archive has too if one is given."""
    instances = [made(uid) for uid in uids]
    for one in instances:
        assert send(world.port, one) == SUCCESS
        if archive is not None:
            assert send(archive.port, one) == SUCCESS
    world.read_all()
    return [pair(one) for one in instances]


def actions(world: RelayNode) -> list[str]:
    """Audit actions about storage commitment, in their order."""
    columns = audit_event.c
    with world.node.engine.connect() as connection:
        query = sa.select(columns.action).where(columns.action.like("commitment.%"))
        return list(connection.scalars(query.order_by(columns.at, columns.seq)))


# What is passed on.


def test_what_the_archive_committed_is_reported_on_a_new_association(
    world: RelayNode, archive: SmallPacs, sender: Sender
) -> None:
    instances = stored(world, archive, "1.2.3.4", "1.2.3.5")
    assert sender.ask(world.port, TRANSACTION, instances) == SUCCESS
    world.until(lambda: world.state() == "reported")
    assert sender.told == [Told(TRANSACTION, ALL_COMMITTED, instances, [], same=False)]
    assert archive.committed == {"1.2.3.4", "1.2.3.5"}
    assert actions(world) == [f"commitment.{what}" for what in ("received", "requested", "answered", "reported")]
    with world.node.engine.connect() as connection:
        assert audit.verify(connection).problems == ()


def test_what_the_archive_lacks_is_reported_as_failed_beside_the_rest(
    world: RelayNode, archive: SmallPacs, sender: Sender
) -> None:
    [there] = stored(world, archive, "1.2.3.4")
    [missing] = stored(world, None, "1.2.3.5")
    sender.ask(world.port, TRANSACTION, [there, missing])
    world.until(lambda: sender.told)
    assert sender.told == [
        Told(TRANSACTION, FAILURES_EXIST, [there], [(*missing, NO_SUCH_INSTANCE)], same=False)]


def test_what_the_node_never_had_fails_and_the_archive_is_not_asked_about_it(
    simple: RelayNode, archive: SmallPacs, sender: Sender
) -> None:
    [ours] = stored(simple, archive, "1.2.3.4")
    send(archive.port, made("1.2.3.5"))
    sender.ask(simple.port, TRANSACTION, [ours, (CT, "1.2.3.5"), (MR, ours[1])])
    simple.until(lambda: sender.told)
    failed = [(CT, "1.2.3.5", NO_SUCH_INSTANCE), (MR, ours[1], CLASS_CONFLICT)]
    assert sender.told == [Told(TRANSACTION, FAILURES_EXIST, [ours], failed, same=False)]
    assert archive.committed == {ours[1]}


def test_when_nothing_is_ours_the_archive_is_not_asked(simple: RelayNode, archive: SmallPacs, sender: Sender) -> None:
    sender.ask(simple.port, TRANSACTION, [(CT, "1.2.3.5")])
    simple.until(lambda: sender.told)
    assert sender.told[0].failed == [(CT, "1.2.3.5", NO_SUCH_INSTANCE)]
    assert "commitment.requested" not in actions(simple)


@pytest.mark.parametrize("state", ["conflict", "removed"])
def test_an_instance_that_came_with_two_pictures_is_never_committed(
    simple: RelayNode, archive: SmallPacs, sender: Sender, state: str
) -> None:
    """The archive has one of them under that UID, and the sender would delete the other."""
    [one] = stored(simple, archive, "1.2.3.4")
    send(simple.port, made("1.2.3.4"))
    with transaction(simple.node.engine) as connection:
        connection.execute(sa.update(instance).where(instance.c.id == 2).values(state=state, reason=OTHER_PIXELS))
    sender.ask(simple.port, TRANSACTION, [one])
    simple.until(lambda: sender.told)
    assert sender.told[0].failed == [(*one, PROCESSING_FAILURE)]


def test_nothing_is_asked_before_the_clerk_has_read_what_arrived(
    simple: RelayNode, archive: SmallPacs, sender: Sender
) -> None:
    send(simple.port, made("1.2.3.4"))
    send(archive.port, made("1.2.3.4"))
    sender.ask(simple.port, TRANSACTION, [(CT, "1.2.3.4")])
    simple.turn()
    assert (simple.state(), "commitment.requested" in actions(simple)) == ("waiting", False)
    simple.read_all()
    simple.until(lambda: sender.told)
    assert sender.told[0].event_type == ALL_COMMITTED


# On which association.


@pytest.mark.parametrize("roles", [[], [build_role(StorageCommitmentPushModel, scu_role=True)]],
                         ids=["no role proposed", "the role of SCU proposed"])
def test_a_sender_that_waits_is_told_on_the_association_that_asked(
    either: RelayNode, archive: SmallPacs, sender: Sender, roles: Sequence[Any]
) -> None:
    instances = stored(either, archive, "1.2.3.4")
    with sender.association(either.port, roles=roles) as association:
        assert Sender.ask_on(association, TRANSACTION, instances) == SUCCESS
        either.until(lambda: either.state() == "reported")
    assert sender.told == [Told(TRANSACTION, ALL_COMMITTED, instances, [], same=True)]


def test_two_requests_on_one_association_are_both_told_on_it(
    either: RelayNode, archive: SmallPacs, sender: Sender
) -> None:
    one, other = stored(either, archive, "1.2.3.4", "1.2.3.5")
    with sender.association(either.port) as association:
        Sender.ask_on(association, "1.1", [one])
        Sender.ask_on(association, "1.2", [other])
        either.until(lambda: len(sender.told) == 2)
    assert {(told.transaction_uid, told.same) for told in sender.told} == {("1.1", True), ("1.2", True)}


def test_an_association_goes_on_while_it_is_told(either: RelayNode, archive: SmallPacs, sender: Sender) -> None:
    instances = stored(either, archive, "1.2.3.4")
    sender.hesitates.set()
    contexts = [build_context(Verification), build_context(CT, EXPLICIT_LITTLE)]
    with sender.association(either.port, contexts=contexts) as association:
        Sender.ask_on(association, TRANSACTION, instances)
        either.until(lambda: sender.told)
        assert association.send_c_echo().Status == SUCCESS
        assert store(association, made("1.2.3.5")) == SUCCESS
        sender.hesitates.clear()
        either.until(lambda: either.state() == "reported")


def test_a_sender_that_refuses_on_its_own_association_is_told_on_a_new_one(
    either: RelayNode, archive: SmallPacs, sender: Sender
) -> None:
    instances = stored(either, archive, "1.2.3.4")
    sender.statuses = [PROCESSING_FAILURE]
    with sender.association(either.port) as association:
        Sender.ask_on(association, TRANSACTION, instances)
        either.until(lambda: either.state() == "reported")
    assert [told.same for told in sender.told] == [True, False]


def test_a_report_that_waits_for_an_association_goes_on_a_new_one_when_that_ends(
    either: RelayNode, archive: SmallPacs, sender: Sender
) -> None:
    instances = stored(either, archive, "1.2.3.4")
    with sender.association(either.port) as association:
        Sender.ask_on(association, TRANSACTION, instances)
        association.abort()
    either.until(lambda: either.state() == "reported")
    assert [told.same for told in sender.told] == [False]


def test_a_sender_whose_association_fails_while_it_is_told_is_told_on_a_new_one(
    simple: RelayNode, archive: SmallPacs, sender: Sender
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("not one of the node's errors")

    instances = stored(simple, archive, "1.2.3.4")
    with sender.association(simple.port) as association:
        Sender.ask_on(association, TRANSACTION, instances)
        for served in simple.node.server._entity.active_associations:
            served.dimse.send_msg = broken
        simple.until(lambda: simple.state() == "reported")
    assert [told.same for told in sender.told] == [False]


# An archive that does not do its part.


@contextmanager
def archive_that_answers(status: int) -> Iterator[int]:
    """The port of an archive that answers every request with ``status`` and never reports."""
    entity = AE("PACS")
    entity.add_supported_context(StorageCommitmentPushModel)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_ACTION, lambda _event: (status, None))])
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def test_a_silent_archive_is_asked_again_and_then_the_sender_hears_a_failure(
    engine: sa.Engine, data_dir: Path, tmp_path: Path, sender: Sender
) -> None:
    silent = PacsSwitches(never_report=True)
    with (SmallPacs("PACS", tmp_path / "pacs", silent) as archive,
          relay_node(engine, data_dir, archive.port, sender, timeout_seconds=2.0,
                     commitment_timeout_seconds=0.1) as world):
        instances = stored(world, archive, "1.2.3.4")
        sender.ask(world.port, TRANSACTION, instances)
        world.until(lambda: sender.told)
        assert actions(world).count("commitment.requested") > 1
        row, = world.requests()
    assert sender.told == [Told(TRANSACTION, FAILURES_EXIST, [], [(*instances[0], PROCESSING_FAILURE)], same=False)]
    assert row["reason"] == "archive did not commit within 2 s"


def test_a_late_answer_to_an_earlier_request_counts(simple: RelayNode, archive: SmallPacs, sender: Sender) -> None:
    instances = stored(simple, archive, "1.2.3.4")
    archive.switches = PacsSwitches(never_report=True)
    sender.ask(simple.port, TRANSACTION, instances)
    simple.turn()
    with transaction(simple.node.engine) as connection:
        connection.execute(sa.update(commitment_request).values(next_at=0.0))
    simple.until(lambda: actions(simple).count("commitment.requested") == 2)
    report_about(simple, transactions(simple)[0], committed=instances)
    simple.until(lambda: sender.told)
    assert sender.told[0].event_type == ALL_COMMITTED


def test_after_the_sender_was_told_a_late_answer_changes_nothing(
    simple: RelayNode, archive: SmallPacs, sender: Sender
) -> None:
    instances = stored(simple, archive, "1.2.3.4")
    archive.switches = PacsSwitches(never_report=True)
    sender.ask(simple.port, TRANSACTION, instances)
    simple.turn()
    with transaction(simple.node.engine) as connection:
        connection.execute(sa.update(commitment_request).values(next_at=0.0, requested_at=0.0))
    simple.until(lambda: simple.state() == "reported")
    report_about(simple, transactions(simple)[0], committed=instances)
    simple.turn()
    assert [told.event_type for told in sender.told] == [FAILURES_EXIST]
    assert simple.requests()[0]["committed"] == 0


def transactions(world: RelayNode) -> list[str]:
    """The node's own, with the archive."""
    with world.node.engine.connect() as connection:
        query = sa.text("SELECT transaction_uid FROM commitment ORDER BY requested_at")
        return list(connection.scalars(query))


def report_about(world: RelayNode, transaction_uid: str, *, committed: Sequence[tuple[str, str]]) -> None:
    """As the receiver hears it from an archive."""
    answer = CommitmentReport(
        transaction_uid=transaction_uid, committed=tuple(uid for _, uid in committed), failed=())
    world.record(answer)


def test_a_report_that_names_a_part_waits_for_the_rest(simple: RelayNode, archive: SmallPacs, sender: Sender) -> None:
    one, other = stored(simple, archive, "1.2.3.4", "1.2.3.5")
    archive.switches = PacsSwitches(never_report=True)
    sender.ask(simple.port, TRANSACTION, [one, other])
    simple.turn()
    report_about(simple, transactions(simple)[0], committed=[one])
    assert simple.state() == "asked"
    report_about(simple, transactions(simple)[0], committed=[other, (CT, "1.2.3.6")])
    simple.until(lambda: sender.told)
    assert sender.told == [Told(TRANSACTION, ALL_COMMITTED, [one, other], [], same=False)]


def test_an_archive_that_refuses_for_good_is_a_failure_at_once(
    sqlite: sa.Engine, data_dir: Path, sender: Sender
) -> None:
    with archive_that_answers(NOT_AUTHORISED) as port, relay_node(sqlite, data_dir, port, sender) as world:
        instances = stored(world, None, "1.2.3.4")
        sender.ask(world.port, TRANSACTION, instances)
        world.until(lambda: sender.told)
        assert actions(world).count("commitment.refused") == 1
    assert sender.told[0].failed == [(*instances[0], PROCESSING_FAILURE)]


def test_an_archive_that_is_away_is_asked_when_it_is_back(
    engine: sa.Engine, data_dir: Path, tmp_path: Path, sender: Sender
) -> None:
    port = free_port()
    with relay_node(engine, data_dir, port, sender, retry_seconds=[0.05], last_repeats=100) as world:
        instances = stored(world, None, "1.2.3.4")
        sender.ask(world.port, TRANSACTION, instances)
        world.until(lambda: "commitment.refused" in actions(world))
        with SmallPacs("PACS", tmp_path / "pacs", port=port) as archive:
            archive.meet("AINODE", "127.0.0.1", world.port)
            stored(world, archive, "1.2.3.4")
            world.until(lambda: sender.told)
    assert sender.told[0].event_type == ALL_COMMITTED


def test_an_archive_that_left_the_configuration_is_a_failure(
    simple: RelayNode, archive: SmallPacs, sender: Sender
) -> None:
    instances = stored(simple, archive, "1.2.3.4")
    sender.ask(simple.port, TRANSACTION, instances)
    with transaction(simple.node.engine) as connection:
        connection.execute(sa.update(commitment_request).values(archive="gone"))
    simple.until(lambda: sender.told)
    assert "destinations has no 'gone' any more" in simple.requests()[0]["reason"]


def test_orthanc_commits_what_a_sender_asked_for(
    namespace: Namespace, sqlite: sa.Engine, data_dir: Path, tmp_path: Path
) -> None:
    """Node, sender and archive are in the namespace; Orthanc reports on an association of its own."""
    port, documents = 11112, [sent(document(tmp_path)), sent(document(tmp_path))]
    with ExitStack() as stack:
        sender = namespace.call(stack.enter_context, Sender())
        orthanc = stack.enter_context(
            Orthanc(namespace, tmp_path / "orthanc", {"AINODE": ("127.0.0.1", port)}, ae_title="PACS"))
        world = namespace.call(
            stack.enter_context, relay_node(sqlite, data_dir, orthanc.port, sender, port=port))
        for place, one in ((port, documents[0]), (port, documents[1]), (orthanc.port, documents[0])):
            assert namespace.call(send, place, one) == SUCCESS
        world.read_all()
        instances = [pair(one) for one in documents]
        assert namespace.call(sender.ask, port, TRANSACTION, instances) == SUCCESS
        namespace.call(world.until, lambda: sender.told)
    assert sender.told == [
        Told(TRANSACTION, FAILURES_EXIST, instances[:1], [(*instances[1], NO_SUCH_INSTANCE)], same=False)]


# A sender that is not there.


def test_a_sender_that_is_away_is_told_when_it_is_back(
    engine: sa.Engine, data_dir: Path, archive: SmallPacs
) -> None:
    away = Sender(port=free_port())
    with relay_node(engine, data_dir, archive.port, away, retry_seconds=[0.05], last_repeats=100) as world:
        archive.meet("AINODE", "127.0.0.1", world.port)
        instances = stored(world, archive, "1.2.3.4")
        away.ask(world.port, TRANSACTION, instances)
        world.until(lambda: "commitment.report_deferred" in actions(world))
        with away:
            world.until(lambda: world.state() == "reported")
    assert away.told == [Told(TRANSACTION, ALL_COMMITTED, instances, [], same=False)]


def test_a_sender_that_never_comes_back_is_given_up_visibly_and_told_on_demand(
    engine: sa.Engine, data_dir: Path, archive: SmallPacs
) -> None:
    away = Sender(port=free_port())
    with relay_node(engine, data_dir, archive.port, away) as world:
        archive.meet("AINODE", "127.0.0.1", world.port)
        away.ask(world.port, TRANSACTION, stored(world, archive, "1.2.3.4"))
        world.until(lambda: world.state() == "unreported")
        assert actions(world).count("commitment.report_deferred") == 3
        assert "gave up after 4 attempts to report" in world.requests()[0]["reason"]
        with away:
            with transaction(engine) as connection:
                assert requests.retry(connection, "command-line") == 1
            world.until(lambda: world.state() == "reported")
    assert [told.event_type for told in away.told] == [ALL_COMMITTED]


def test_a_sender_is_called_where_it_is_a_destination_when_peers_do_not_say(
    sqlite: sa.Engine, data_dir: Path, archive: SmallPacs
) -> None:
    with relay_node(sqlite, data_dir, archive.port) as world:
        archive.meet("AINODE", "127.0.0.1", world.port)
        assert Sender(ae_title="PACS").ask(world.port, TRANSACTION, stored(world, archive, "1.2.3.4")) == SUCCESS


def test_a_sender_that_could_not_be_told_is_not_authorised(
    sqlite: sa.Engine, data_dir: Path, archive: SmallPacs
) -> None:
    with relay_node(sqlite, data_dir, archive.port) as world:
        assert Sender().ask(world.port, TRANSACTION, [(CT, "1.2.3.4")]) == NOT_AUTHORISED
        assert world.requests() == []


# The same request again, and requests that cannot be one.


def test_the_same_request_again_is_asked_once_and_told_again(
    world: RelayNode, archive: SmallPacs, sender: Sender
) -> None:
    instances = stored(world, archive, "1.2.3.4", "1.2.3.5")
    for _ in range(2):
        assert sender.ask(world.port, TRANSACTION, instances) == SUCCESS
    world.until(lambda: world.state() == "reported")
    assert actions(world).count("commitment.requested") == 1
    assert sender.ask(world.port, TRANSACTION, instances[::-1]) == SUCCESS
    world.until(lambda: len(sender.told) == 2)
    assert sender.told[0] == sender.told[1]
    assert actions(world).count("commitment.requested") == 1


def test_a_transaction_in_use_for_other_instances_is_refused(
    simple: RelayNode, archive: SmallPacs, sender: Sender
) -> None:
    one, other = stored(simple, archive, "1.2.3.4", "1.2.3.5")
    assert sender.ask(simple.port, TRANSACTION, [one]) == SUCCESS
    assert sender.ask(simple.port, TRANSACTION, [other]) == INVALID_ARGUMENT
    simple.until(lambda: sender.told)
    assert sender.told == [Told(TRANSACTION, ALL_COMMITTED, [one], [], same=False)]


def test_two_senders_may_use_one_transaction_uid(sqlite: sa.Engine, data_dir: Path, archive: SmallPacs) -> None:
    with (Sender("CT1") as one, Sender("CT2") as other,
          relay_node(sqlite, data_dir, archive.port, one, other) as world):
        archive.meet("AINODE", "127.0.0.1", world.port)
        first, second = stored(world, archive, "1.2.3.4", "1.2.3.5")
        one.ask(world.port, TRANSACTION, [first])
        other.ask(world.port, TRANSACTION, [second])
        world.until(lambda: one.told and other.told)
        assert (one.told[0].committed, other.told[0].committed) == ([first], [second])


def information(change: Callable[[Dataset], None]) -> Dataset:
    made_one = action_information(TRANSACTION, [(CT, "1.2.3.4")])
    change(made_one)
    return made_one


def nested(depth: int) -> bytes:
    """A Referenced SOP Sequence in an item of a Referenced SOP Sequence and so on, of undefined lengths."""
    return (b"\x08\x00\x99\x11SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * depth


HOSTILE: dict[str, Callable[[Dataset], None]] = {
    "no transaction": lambda asked: asked.pop("TransactionUID"),
    "an empty transaction": lambda asked: setattr(asked, "TransactionUID", ""),
    "a path for a transaction": lambda asked: setattr(asked, "TransactionUID", "../../etc/passwd"),
    "two transactions": lambda asked: setattr(asked, "TransactionUID", ["1.2", "1.3"]),
    "no sequence": lambda asked: asked.pop("ReferencedSOPSequence"),
    "an empty sequence": lambda asked: setattr(asked, "ReferencedSOPSequence", []),
    "an empty item": lambda asked: setattr(asked, "ReferencedSOPSequence", [Dataset()]),
    "a long UID": lambda asked: setattr(asked.ReferencedSOPSequence[0], "ReferencedSOPInstanceUID", "1." * 400 + "1"),
    "a UID of SQL": lambda asked: setattr(asked.ReferencedSOPSequence[0], "ReferencedSOPClassUID", "1'; DROP TABLE"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_request_nobody_could_answer_is_an_invalid_argument(
    simple: RelayNode, sender: Sender, change: Callable[[Dataset], None]
) -> None:
    with sender.association(simple.port) as association:
        assert send_action(association, information(change)) == INVALID_ARGUMENT
        assert Sender.ask_on(association, TRANSACTION, [(CT, "1.2.3.4")]) == SUCCESS
    assert len(simple.requests()) == 1


@pytest.mark.parametrize("data", [b"\xff" * 37, b"\x08\x00", b"\x08\x00\x95\x11UI\xff\x00" + b"1" * 9, nested(3000)],
                         ids=["noise", "two bytes", "cut off", "nested without end"])
def test_bytes_that_are_no_data_set_are_an_invalid_argument_and_the_association_goes_on(
    simple: RelayNode, sender: Sender, data: bytes
) -> None:
    with sender.association(simple.port) as association:
        assert send_action_bytes(association, data) == INVALID_ARGUMENT
        assert Sender.ask_on(association, TRANSACTION, [(CT, "1.2.3.4")]) == SUCCESS


def test_other_actions_and_instances_are_told_apart(simple: RelayNode, sender: Sender) -> None:
    asked = action_information(TRANSACTION, [(CT, "1.2.3.4")])
    with sender.association(simple.port) as association:
        assert send_action(association, asked, action=2) == NO_SUCH_ACTION
        assert send_action(association, asked, instance_uid="1.2.3") == NO_SUCH_INSTANCE
        assert send_action(association, None) == INVALID_ARGUMENT
    assert simple.requests() == []


def test_ten_thousand_instances_are_one_request(simple: RelayNode, archive: SmallPacs, sender: Sender) -> None:
    [ours] = stored(simple, archive, "1.2.3.4")
    many = [(CT, f"1.2.3.9.{number}") for number in range(9_999)]
    assert sender.ask(simple.port, TRANSACTION, [ours, *many]) == SUCCESS
    simple.until(lambda: sender.told)
    assert sender.told[0].committed == [ours]
    assert len(sender.told[0].failed) == len(many)


def test_a_database_that_fails_is_a_failure_and_not_a_promise(simple: RelayNode, sender: Sender) -> None:
    with transaction(simple.node.engine) as connection:
        connection.execute(sa.text("DROP TABLE commitment_request"))
    assert sender.ask(simple.port, TRANSACTION, [(CT, "1.2.3.4")]) == PROCESSING_FAILURE


# Where the service is off.


def test_a_sender_is_refused_the_context_while_the_service_is_off(sqlite: sa.Engine, data_dir: Path) -> None:
    with receiver(sqlite, data_dir) as node:
        for roles in ([], [build_role(StorageCommitmentPushModel, scu_role=True)]):
            with Sender().association(node.port, roles=roles, contexts=[build_context(Verification)]) as association:
                assert [one.abstract_syntax for one in association.accepted_contexts] == [Verification]


def test_an_archive_may_report_without_a_role_while_the_service_is_off_and_may_not_ask(
    sqlite: sa.Engine, data_dir: Path
) -> None:
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104, "storage_commitment": True}
    with receiver(sqlite, data_dir, destinations=[pacs]) as node, Sender("PACS").association(node.port) as association:
        assert Sender.ask_on(association, TRANSACTION, [(CT, "1.2.3.4")]) == NOT_AUTHORISED
        said = action_information("1.2", [(CT, "1.2.3.4")])
        reply, _ = association.send_n_event_report(said, 1, StorageCommitmentPushModel, COMMITMENT_INSTANCE)
        assert reply.Status == SUCCESS
        assert [report.transaction_uid for report in node.commitments] == ["1.2"]


# Rows.


def test_a_request_that_is_over_for_long_is_forgotten_and_an_open_one_is_not(sqlite: sa.Engine) -> None:
    request = CommitmentRequest(
        transaction_uid="1.1", calling_ae_title=SENDER, source_host="127.0.0.1", association="a1",
        instances=((CT, "1.2.3.4"),))
    with transaction(sqlite) as connection:
        requests.take(connection, "receiver", request, "archive")
        connection.execute(sa.update(commitment_request).values(requested_at=0.0))
        assert requests.forget(connection) == 0
        connection.execute(sa.update(commitment_request).values(state="reported"))
        assert requests.forget(connection) == 1


def test_a_report_of_an_unknown_transaction_is_bad_input_with_the_service_on(simple: RelayNode) -> None:
    with pytest.raises(BadInput, match="not one of ours"):
        report_about(simple, "1.9", committed=[])
