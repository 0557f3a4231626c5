"""Intake by itself: what is on disk and in the database after each way an instance can go."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pydicom
import pytest
import sqlalchemy as sa

from node import audit
from node.database import audit_event, connect, metadata
from node.errors import ClassMismatch, OutOfSpace, StorageError, UnusableIdentity
from node.intake import IMPLEMENTATION_CLASS_UID, Intake, Reception
from tests.tools.disks import small_disk
from tests.tools.receiver import CHAIN, CT, Sent, actions_of, files_in, made, real, rows_of, stored_data_set


@pytest.fixture
def intake(sqlite: sa.Engine, data_dir: Path) -> Intake:
    return Intake(sqlite, data_dir, CHAIN, 0)


def written(intake: Intake, sent: Sent, **command: str) -> Reception:
    reception = intake.begin(sent.request(**command))
    reception.write([sent.data[:100], memoryview(sent.data)[100:]])
    return reception


def test_an_instance_is_a_part_10_file_with_the_bytes_that_came(intake: Intake, data_dir: Path) -> None:
    sent = real("MR_small_bigendian.dcm")
    received = written(intake, sent).finish()
    path = data_dir / received.path
    assert files_in(data_dir) == [path]
    assert stored_data_set(path) == sent.data
    assert path.stat().st_size == received.size
    meta = pydicom.dcmread(path).file_meta
    assert meta.TransferSyntaxUID == sent.transfer_syntax_uid
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.SourceApplicationEntityTitle == "MODALITY"
    assert meta.FileMetaInformationGroupLength == len(path.read_bytes()) - len(sent.data) - 144


def test_a_file_is_named_by_a_generated_id_and_never_by_a_uid(intake: Intake) -> None:
    received = written(intake, made("1.2.3.4")).finish()
    root, year, month, day, hour, name = received.path.split("/")
    assert root == "instances"
    assert datetime.strptime(year + month + day + hour, "%Y%m%d%H")
    assert len(name) == 32 + len(".dcm")
    assert "1.2.3.4" not in received.path


def test_row_and_audit_event_say_the_same(intake: Intake, sqlite: sa.Engine) -> None:
    received = written(intake, made()).finish()
    row = rows_of(sqlite)[0]
    assert (row.path, row.state, row.modality, row.lane) == (received.path, "received", "CT", "fresh")
    with sqlite.connect() as connection:
        event = connection.execute(sa.select(audit_event)).one()
        assert audit.verify(connection).problems == ()
    assert event.action == "instance.received"
    assert (event.sop_instance_uid, event.study_instance_uid) == ("1.2.3.4", "1.2.3.1")
    assert json.loads(event.detail)["path"] == row.path


def test_the_clerk_is_woken_after_the_commit(sqlite: sa.Engine, data_dir: Path) -> None:
    seen: list[int] = []
    intake = Intake(sqlite, data_dir, CHAIN, 0, wake=lambda: seen.append(len(rows_of(sqlite))))
    written(intake, made()).finish()
    assert seen == [1]


@pytest.mark.parametrize(
    "uid", ["", "../../etc/passwd", "/etc/passwd", "1.2/3", "1.2\x003", "1" * 65, "1.2 OR 1=1", "1.2\n"]
)
def test_an_unusable_uid_in_the_command_is_refused_before_a_file_is_made(
    intake: Intake, sqlite: sa.Engine, data_dir: Path, uid: str
) -> None:
    with pytest.raises(UnusableIdentity, match="SOP Instance UID"):
        intake.begin(made().request(sop_instance_uid=uid))
    assert files_in(data_dir) == []
    assert actions_of(sqlite) == ["instance.refused"]


@pytest.mark.parametrize("sent", [made(study=""), made(series="../../x"), made(study="1" * 65), made("")], ids=repr)
def test_unusable_uids_in_the_data_set_go_to_quarantine(
    intake: Intake, sqlite: sa.Engine, data_dir: Path, sent: Sent
) -> None:
    with pytest.raises(UnusableIdentity):
        written(intake, sent, sop_instance_uid="1.2.3.4").finish()
    kept, = files_in(data_dir)
    assert kept.parent == data_dir / "quarantine"
    assert stored_data_set(kept) == sent.data
    assert rows_of(sqlite) == []
    assert actions_of(sqlite) == ["instance.refused"]


def test_a_sender_that_retries_fills_one_file_of_quarantine(intake: Intake, data_dir: Path) -> None:
    for _ in range(3):
        with pytest.raises(UnusableIdentity):
            written(intake, made(study="")).finish()
    assert len(files_in(data_dir)) == 1


def test_another_class_than_the_commands_is_refused_and_dropped(
    intake: Intake, sqlite: sa.Engine, data_dir: Path
) -> None:
    with pytest.raises(ClassMismatch, match=CT):
        written(intake, made(sop_class="1.2.840.10008.5.1.4.1.1.4"), sop_class_uid=CT).finish()
    assert files_in(data_dir) == []
    assert actions_of(sqlite) == ["instance.refused"]


def test_a_missing_class_is_that_of_the_command(intake: Intake) -> None:
    assert written(intake, made(sop_class=""), sop_class_uid=CT).finish().sop_class_uid == CT


def test_an_instance_keeps_the_uid_of_its_data_set(intake: Intake, sqlite: sa.Engine) -> None:
    assert written(intake, made("1.2.3.4"), sop_instance_uid="9.9").finish().sop_instance_uid == "1.2.3.4"
    with sqlite.connect() as connection:
        detail = connection.execute(sa.select(audit_event.c.detail)).scalar_one()
    assert json.loads(detail)["affected_sop_instance_uid"] == "9.9"


@pytest.mark.parametrize("filling", [1 << 17, 900_000])
def test_uids_far_from_the_beginning_are_found(intake: Intake, filling: int) -> None:
    assert written(intake, made(filling=filling)).finish().study_instance_uid == "1.2.3.1"


def test_less_space_than_the_reserve_is_refused_at_once(sqlite: sa.Engine, data_dir: Path) -> None:
    with pytest.raises(OutOfSpace, match="min_free_disk_mb"):
        Intake(sqlite, data_dir, CHAIN, 1 << 40).begin(made().request())
    assert files_in(data_dir) == []


@pytest.fixture
def megabyte(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "small", megabytes=1) as folder:
        yield folder


def test_a_disk_that_fills_up_leaves_nothing_behind(sqlite: sa.Engine, megabyte: Path) -> None:
    reception = Intake(sqlite, megabyte, CHAIN, 0).begin(made().request())
    with pytest.raises(OutOfSpace):
        reception.write([bytes(1 << 19)] * 5)
    reception.abandon()
    assert files_in(megabyte) == []


def test_an_abandoned_instance_leaves_no_row_and_no_file(intake: Intake, sqlite: sa.Engine, data_dir: Path) -> None:
    written(intake, made()).abandon()
    assert (files_in(data_dir), rows_of(sqlite)) == ([], [])


def test_abandoning_after_the_end_removes_nothing(intake: Intake, data_dir: Path) -> None:
    reception = written(intake, made())
    received = reception.finish()
    reception.abandon()
    assert files_in(data_dir) == [data_dir / received.path]


def test_a_commit_that_fails_takes_the_file_with_it(intake: Intake, sqlite: sa.Engine, data_dir: Path) -> None:
    audit_event.drop(sqlite)
    with pytest.raises(StorageError):
        written(intake, made()).finish()
    assert (files_in(data_dir), rows_of(sqlite)) == ([], [])


def test_a_death_between_file_and_commit_is_swept(tmp_path: Path, data_dir: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'later.sqlite'}")  # no tables yet: nothing can be recorded or asked
    with pytest.raises(StorageError):
        written(Intake(engine, data_dir, CHAIN, 0), made()).finish()
    assert len(files_in(data_dir)) == 2  # its name in incoming and its final one
    metadata.create_all(engine)
    assert Intake(engine, data_dir, CHAIN, 0).sweep() == 1
    assert files_in(data_dir) == []
    engine.dispose()


def test_a_death_after_the_commit_keeps_the_instance(intake: Intake, data_dir: Path) -> None:
    received = written(intake, made()).finish()
    hour = "".join(received.path.split("/")[1:5])
    left = data_dir / "incoming" / f"{hour}-{Path(received.path).stem}.part"
    left.hardlink_to(data_dir / received.path)
    assert intake.sweep() == 1
    assert files_in(data_dir) == [data_dir / received.path]


def test_sweeping_leaves_what_is_still_arriving(intake: Intake, sqlite: sa.Engine, data_dir: Path) -> None:
    reception = written(intake, made())
    assert Intake(sqlite, data_dir, "another-process", 0).sweep() == 0
    assert reception.finish().sop_instance_uid == "1.2.3.4"


def test_the_same_instance_twice_is_two_rows(intake: Intake, sqlite: sa.Engine) -> None:
    written(intake, made()).finish()
    written(intake, made()).finish()
    assert [row.sop_instance_uid for row in rows_of(sqlite)] == ["1.2.3.4", "1.2.3.4"]


def test_instances_come_in_from_many_threads(engine: sa.Engine, data_dir: Path) -> None:
    intake = Intake(engine, data_dir, CHAIN, 0)

    def several(number: int) -> None:
        for count in range(5):
            written(intake, made(f"1.2.{number}.{count}")).finish()

    threads = [threading.Thread(target=several, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({row.sop_instance_uid for row in rows_of(engine)}) == 40
    with engine.connect() as connection:
        assert audit.verify(connection).problems == ()
