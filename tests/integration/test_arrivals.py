"""What a received instance is taken for: evidence, repeat, update, conflict, one of our own, or nothing to read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import UID

from node.arrivals import DEVICE_UID_PREFIX, REJECTION_NOTES, Arrival, Arrivals
from node.database import connect, insert_ignore, instance, metadata, node_state, report, transaction
from node.domain import ReceivedInstance
from node.errors import StorageError
from tests.tools.desk_of_clerk import ClerksDesk
from tests.tools.instances import LOSSLESS, chest, document, encoded, rejection_note

STUDY = "1.2.3"


@pytest.fixture
def desk(engine: sa.Engine, tmp_path: Path) -> ClerksDesk:
    return ClerksDesk(engine, tmp_path)


def test_a_chest_image_is_accepted_as_evidence(desk: ClerksDesk) -> None:
    (row_id,) = desk.take(chest(STUDY))
    assert (desk.instance(row_id).state, desk.evidence(STUDY)) == ("accepted", [row_id])
    assert desk.actions(STUDY) == ["instance.accepted"]


def test_a_document_is_kept_and_is_no_evidence(desk: ClerksDesk) -> None:
    (row_id,) = desk.take(document(STUDY, 5))
    assert (desk.instance(row_id).state, desk.evidence(STUDY)) == ("accepted", [])


@pytest.mark.parametrize("transfer_syntax_uid", LOSSLESS, ids=lambda uid: uid.name)
def test_the_same_pixels_in_another_syntax_are_a_duplicate(desk: ClerksDesk, transfer_syntax_uid: UID) -> None:
    (first,) = desk.take(chest(STUDY))
    (second,) = desk.take(chest(STUDY), transfer_syntax_uid=transfer_syntax_uid)
    assert (desk.instance(second).state, desk.evidence(STUDY)) == ("duplicate", [first])
    assert desk.actions(STUDY) == ["instance.accepted", "instance.duplicate"]


def test_a_header_coerced_on_the_way_is_a_duplicate(desk: ClerksDesk) -> None:
    (first,) = desk.take(chest(STUDY))
    (second,) = desk.take(chest(STUDY, PatientName="DRAWN^ONE", StationName="R2", StudyDescription="Thorax"))
    assert (desk.instance(second).state, desk.evidence(STUDY)) == ("duplicate", [first])


def test_copies_that_wait_together_are_taken_in_their_order(desk: ClerksDesk) -> None:
    first = desk.mailbox.receive(chest(STUDY))
    (second,) = desk.take(chest(STUDY))
    assert (desk.instance(first).state, desk.instance(second).state) == ("accepted", "duplicate")


@pytest.mark.parametrize("changed", [
    {"PatientID": "D2"}, {"AccessionNumber": "A2"}, {"PatientOrientation": ["R", "F"]},
], ids=lambda changed: next(iter(changed)))
def test_a_changed_identity_order_or_side_supersedes_the_first(desk: ClerksDesk, changed: dict[str, str]) -> None:
    (first,) = desk.take(chest(STUDY))
    (second,) = desk.take(chest(STUDY, **changed))
    assert (desk.instance(first).state, desk.instance(first).evidence) == ("superseded", False)
    assert (desk.instance(second).state, desk.evidence(STUDY)) == ("accepted", [second])
    assert desk.actions(STUDY) == ["instance.accepted", "instance.update"]


def test_a_corrected_patient_and_order_are_those_of_the_study(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY, PatientID="WRONG", AccessionNumber="A1"))
    desk.take(chest(STUDY, PatientID="RIGHT", AccessionNumber=""))
    assert (desk.study(STUDY).patient_id, desk.study(STUDY).accession_number) == ("RIGHT", "")


def test_other_pixels_under_the_same_uid_are_kept_apart(desk: ClerksDesk) -> None:
    (first,) = desk.take(chest(STUDY))
    (second,) = desk.take(chest(STUDY, picture=77))
    assert (desk.instance(second).state, desk.evidence(STUDY)) == ("conflict", [first])
    assert "other pixels" in desk.instance(second).reason
    assert (desk.data_dir / desk.instance(second).path).is_file()


def test_an_object_of_our_outbox_is_an_echo_and_opens_no_study(desk: ClerksDesk) -> None:
    ours = document(STUDY, 5)
    with transaction(desk.engine) as connection:
        connection.execute(sa.insert(report).values(
            sop_instance_uid=ours.SOPInstanceUID, study_instance_uid=STUDY, version=1, kind="text_report",
            sop_class_uid=ours.SOPClassUID, series_instance_uid=ours.SeriesInstanceUID, path="x", created_at=0.0))
    (row_id,) = desk.take(ours)
    assert (desk.instance(row_id).state, desk.accepted) == ("echo", [])
    with pytest.raises(sa.exc.NoResultFound):
        desk.study(STUDY)


def test_an_object_that_one_of_our_models_made_is_an_echo_under_any_uid(desk: ClerksDesk) -> None:
    equipment = Dataset()
    equipment.Manufacturer, equipment.DeviceUID = "ainode", "2.25.77"
    with transaction(desk.engine) as connection:
        insert_ignore(connection, node_state, key=f"{DEVICE_UID_PREFIX}2.25.77", value="2.25.77")
    (row_id,) = desk.take(document(STUDY, 5, ContributingEquipmentSequence=[equipment]))
    assert (desk.instance(row_id).state, desk.accepted) == ("echo", [])


@pytest.mark.parametrize("title", sorted(code for _, code in REJECTION_NOTES))
def test_a_rejection_note_takes_what_it_names_out_of_evidence(desk: ClerksDesk, title: str) -> None:
    rejected, kept = chest(STUDY, 1), chest(STUDY, 2)
    first, second = desk.take(rejected, kept)
    desk.take(rejection_note(STUDY, 7, rejected, title=title))
    assert (desk.instance(first).state, desk.evidence(STUDY)) == ("rejected", [second])


def test_a_rejected_image_that_comes_again_stays_rejected(desk: ClerksDesk) -> None:
    rejected = chest(STUDY, 1)
    desk.take(rejected)
    desk.take(rejection_note(STUDY, 7, rejected))
    desk.take(rejected)
    assert desk.evidence(STUDY) == []


def test_an_image_that_comes_after_its_rejection_is_rejected(desk: ClerksDesk) -> None:
    desk.take(rejection_note(STUDY, 7, chest(STUDY, 1)))
    (row_id,) = desk.take(chest(STUDY, 1))
    assert (desk.instance(row_id).state, desk.evidence(STUDY)) == ("rejected", [])


def test_a_note_that_marks_images_for_another_purpose_rejects_nothing(desk: ClerksDesk) -> None:
    image = chest(STUDY, 1)
    (first,) = desk.take(image)
    desk.take(rejection_note(STUDY, 7, image, title="113000"))
    assert desk.evidence(STUDY) == [first]


def test_a_note_rejects_nothing_of_another_study(desk: ClerksDesk) -> None:
    other = chest("1.2.4", 1)
    (first,) = desk.take(other)
    desk.take(rejection_note(STUDY, 7, other))
    assert desk.evidence("1.2.4") == [first]


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"\0" * 4096),
                                    lambda path: path.unlink()], ids=["empty", "zeros", "gone"])
def test_a_file_that_cannot_be_read_is_named_and_stops_nothing(desk: ClerksDesk, damage: object) -> None:
    damaged, sound = desk.mailbox.receive(chest(STUDY)), desk.mailbox.receive(chest("1.2.4"))
    assert callable(damage)
    damage(desk.data_dir / desk.instance(damaged).path)
    desk.clerk.book()
    assert (desk.instance(damaged).state, desk.evidence(STUDY)) == ("unreadable", [])
    assert desk.instance(damaged).reason
    assert desk.evidence("1.2.4") == [sound]


def test_truncated_pixels_are_evidence_whose_fate_is_decided_later(desk: ClerksDesk) -> None:
    image = chest(STUDY)
    row_id = desk.mailbox.receive_bytes(image, encoded(image)[:-500])
    desk.clerk.book()
    assert desk.evidence(STUDY) == [row_id]


def test_texts_that_no_database_takes_stop_nothing(desk: ClerksDesk) -> None:
    image = chest(STUDY, PatientID="AXYB", StudyDate="20260101")
    spoiled = encoded(image).replace(b"AXYB", b"A\0\xffB").replace(b"20260101", b"2026\x000\r1")
    row_id = desk.mailbox.receive_bytes(image, spoiled)
    desk.clerk.book()
    assert desk.instance(row_id).state == "accepted"


class Spoiling(Arrivals):
    """Finds a text in one study that PostgreSQL does not take."""

    def classify(self, arrived: ReceivedInstance) -> Arrival:
        spoiled = arrived.study_instance_uid == STUDY
        return replace(super().classify(arrived), reason="\0" if spoiled else "")


def test_an_instance_the_database_does_not_take_holds_up_nobody(postgres_url: str, tmp_path: Path) -> None:
    engine = connect(postgres_url)
    metadata.create_all(engine)
    desk = ClerksDesk(engine, tmp_path)
    desk.clerk.arrivals = Spoiling(engine, tmp_path)
    spoiled, sound = desk.mailbox.receive(chest(STUDY)), desk.mailbox.receive(chest("1.2.4"))
    desk.clerk.book()
    assert (desk.instance(spoiled).state, desk.evidence("1.2.4")) == ("unreadable", [sound])
    engine.dispose()


class Stumbling(Arrivals):
    """Classifies one study so that booking it breaks with an error nobody foresaw."""

    def classify(self, arrived: ReceivedInstance) -> Arrival:
        stumbles = arrived.study_instance_uid == STUDY
        return replace(super().classify(arrived), rejects=(None,) if stumbles else ())  # type: ignore[arg-type]


def test_an_instance_that_breaks_the_booking_holds_up_nobody(desk: ClerksDesk) -> None:
    desk.clerk.arrivals = Stumbling(desk.engine, desk.data_dir)
    stumbling, sound = desk.mailbox.receive(chest(STUDY)), desk.mailbox.receive(chest("1.2.4"))
    desk.clerk.book()
    assert (desk.instance(stumbling).state, desk.evidence("1.2.4")) == ("unreadable", [sound])


class Locked:
    """Stands where the studies are while another process keeps the database locked."""

    def record(self, connection: sa.Connection, arrival: Arrival) -> None:
        raise StorageError("locked") from sa.exc.OperationalError("UPDATE", {}, Exception("database is locked"))


def test_a_locked_database_blames_no_instance(desk: ClerksDesk) -> None:
    desk.clerk.studies = Locked()  # type: ignore[assignment]
    waiting = desk.mailbox.receive(chest(STUDY))
    with pytest.raises(StorageError):
        desk.clerk.book()
    assert desk.instance(waiting).state == "received"


def test_an_instance_that_cannot_be_read_for_now_waits_and_holds_up_nobody(desk: ClerksDesk) -> None:
    blocked, sound = desk.mailbox.receive(chest(STUDY)), desk.mailbox.receive(chest("1.2.4"))
    path = desk.data_dir / desk.instance(blocked).path
    data = path.read_bytes()
    path.unlink()
    path.mkdir()  # what a disk that does not answer looks like, also to root
    desk.clerk.book()
    assert (desk.instance(blocked).state, desk.evidence("1.2.4")) == ("received", [sound])
    path.rmdir()
    path.write_bytes(data)
    desk.clerk.postponed.clear()
    desk.clerk.book()
    assert desk.evidence(STUDY) == [blocked]


def test_a_database_that_fails_while_reading_leaves_the_instance_for_later(sqlite_url: str, tmp_path: Path) -> None:
    engine = connect(sqlite_url)
    metadata.create_all(engine)
    desk = ClerksDesk(engine, tmp_path)
    row_id = desk.mailbox.receive(chest(STUDY))
    report.drop(engine)
    desk.clerk.book()
    report.create(engine)
    assert desk.instance(row_id).state == "received"
    desk.clerk.postponed.clear()
    desk.clerk.book()
    assert desk.evidence(STUDY) == [row_id]
    engine.dispose()


def test_nothing_is_looked_at_twice(desk: ClerksDesk) -> None:
    desk.take(chest(STUDY), document(STUDY, 5))
    with desk.engine.connect() as connection:
        assert "received" not in set(connection.scalars(sa.select(instance.c.state)))
    assert desk.clerk.book() == 0
