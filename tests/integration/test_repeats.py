"""The same instance again, sent over the network and booked by the clerk: what it is taken for in the end."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from node.arrivals import DEVICE_UID_PREFIX
from node.database import insert_ignore, node_state, report, transaction
from tests.tools.desk_of_clerk import ClerksDesk
from tests.tools.instances import chest, document, encoded, rejection_note
from tests.tools.raw_sender import RawSender
from tests.tools.receiver import Receiver, Sent, receiver

SUCCESS = 0x0000
STUDY = "1.2.3"


@dataclass(frozen=True)
class Hospital:
    """A receiver, and the clerk who books what it received."""

    node: Receiver
    desk: ClerksDesk

    def send(self, image: Dataset, syntax: UID = ExplicitVRLittleEndian, **command: Any) -> int:
        """Send and book; the status."""
        sent = Sent(image.SOPClassUID, image.SOPInstanceUID, syntax, as_sent(image, syntax))
        with RawSender(self.node.port, (sent.sop_class_uid, (syntax,))) as sender:
            status = sender.store(sent, **command).status
        while self.desk.clerk.book():
            pass
        return status

    def states(self) -> list[str]:
        return [row.state for row in self.node.rows()]


def as_sent(image: Dataset, syntax: UID) -> bytes:
    if syntax != DeflatedExplicitVRLittleEndian:
        return encoded(image, syntax)
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(encoded(image)) + stream.flush()


@pytest.fixture
def hospital(sqlite: sa.Engine, data_dir: Path, engine_name: str) -> Iterator[Hospital]:
    with receiver(sqlite, data_dir, receive={"engine": engine_name}) as node:
        yield Hospital(node, ClerksDesk(sqlite, data_dir))


@dataclass(frozen=True)
class Again:
    """What comes after the first image, and the states of both rows in the end."""

    image: Callable[[], Dataset]
    states: tuple[str, str]
    syntax: UID = ExplicitVRLittleEndian


REPEATS = {
    "the same bytes": Again(lambda: chest(STUDY), ("accepted", "duplicate")),
    "another syntax": Again(lambda: chest(STUDY), ("accepted", "duplicate"), ImplicitVRLittleEndian),
    "compressed": Again(lambda: chest(STUDY), ("accepted", "duplicate"), RLELossless),
    "deflated": Again(lambda: chest(STUDY), ("accepted", "duplicate"), DeflatedExplicitVRLittleEndian),
    "a coerced name": Again(lambda: chest(STUDY, PatientName="DRAWN^ONE^^DR"), ("accepted", "duplicate")),
    "coerced descriptions": Again(
        lambda: chest(STUDY, StudyDescription="THORAX 2 VIEWS", StationName="CR9"), ("accepted", "duplicate")),
    "coerced and compressed": Again(
        lambda: chest(STUDY, StudyDescription="Thorax"), ("accepted", "duplicate"), RLELossless),
    "another patient": Again(lambda: chest(STUDY, PatientID="D2"), ("superseded", "accepted")),
    "another order": Again(lambda: chest(STUDY, AccessionNumber="A2"), ("superseded", "accepted")),
    "the other side": Again(lambda: chest(STUDY, PatientOrientation=["R", "F"]), ("superseded", "accepted")),
    "another series": Again(lambda: chest(STUDY, SeriesInstanceUID="1.2.3.99"), ("superseded", "accepted")),
    "another study": Again(
        lambda: chest("1.2.4", SOPInstanceUID=f"{STUDY}.1"), ("superseded", "accepted")),
    "other pixels": Again(lambda: chest(STUDY, picture=77), ("accepted", "conflict")),
    "other pixels and patient": Again(lambda: chest(STUDY, picture=77, PatientID="D2"), ("accepted", "conflict")),
    "no pixels": Again(lambda: chest(STUDY, PixelData=None), ("accepted", "conflict")),
}


@pytest.mark.parametrize("name", REPEATS)
def test_every_repeat_is_acknowledged_kept_and_told_apart(hospital: Hospital, name: str) -> None:
    again = REPEATS[name]
    assert hospital.send(chest(STUDY)) == SUCCESS
    assert hospital.send(again.image(), again.syntax) == SUCCESS
    assert tuple(hospital.states()) == again.states
    assert hospital.node.received() == [encoded(chest(STUDY)), as_sent(again.image(), again.syntax)]


def test_a_repeat_under_another_uid_of_the_command_is_the_same_instance(hospital: Hospital) -> None:
    hospital.send(chest(STUDY))
    assert hospital.send(chest(STUDY), e1000=b"9.8.7\0") == SUCCESS
    assert hospital.states() == ["accepted", "duplicate"]


def test_the_third_is_compared_with_the_one_that_counts(hospital: Hospital) -> None:
    for image in (chest(STUDY), chest(STUDY, PatientID="D2"), chest(STUDY, PatientID="D2"), chest(STUDY)):
        assert hospital.send(image) == SUCCESS
    assert hospital.states() == ["superseded", "superseded", "duplicate", "accepted"]


def test_our_own_object_is_acknowledged_and_counts_for_nothing(hospital: Hospital) -> None:
    ours = document(STUDY, 5)
    with transaction(hospital.desk.engine) as connection:
        connection.execute(sa.insert(report).values(
            sop_instance_uid=ours.SOPInstanceUID, study_instance_uid=STUDY, version=1, kind="text_report",
            sop_class_uid=ours.SOPClassUID, series_instance_uid=ours.SeriesInstanceUID, path="x", created_at=0.0))
    assert hospital.send(ours) == SUCCESS
    assert (hospital.states(), hospital.desk.accepted) == (["echo"], [])


def test_an_object_of_one_of_our_models_is_an_echo_whatever_a_pacs_made_of_it(hospital: Hospital) -> None:
    equipment = Dataset()
    equipment.Manufacturer, equipment.DeviceUID = "ainode", "2.25.77"
    with transaction(hospital.desk.engine) as connection:
        insert_ignore(connection, node_state, key=f"{DEVICE_UID_PREFIX}2.25.77", value="2.25.77")
    changed = document("1.9.9", 5, ContributingEquipmentSequence=[equipment], PatientName="COERCED")
    assert hospital.send(changed) == SUCCESS
    assert (hospital.states(), hospital.desk.accepted) == (["echo"], [])


def test_a_rejection_note_takes_its_images_out_of_use(hospital: Hospital) -> None:
    image = chest(STUDY)
    for one in (image, rejection_note(STUDY, 7, image), image):
        assert hospital.send(one) == SUCCESS
    assert hospital.states() == ["rejected", "accepted", "rejected"]
