"""Instances that end together: one sync, one transaction, and each its own answer."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from node import audit
from node.database import instance
from node.errors import StorageError
from node.intake import Intake
from node.intake.durability import Disk
from node.intake.files import InstanceFiles
from node.intake.group import Group
from node.intake.incoming import LARGE
from tests.tools.receiver import CHAIN, files_in, made, rows_of
from tests.tools.waiting import wait_until


def run(works: Sequence[Callable[[], None]]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    return threads


class Gate:
    """Work of a group that stands still until it is opened, and notes what it was called with."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.calls: list[list[int]] = []

    def __call__(self, items: Sequence[int]) -> Sequence[Exception | None]:
        self.calls.append(list(items))
        assert self.open.wait(30)
        return [ValueError(str(item)) if item % 2 else None for item in items]


def test_who_comes_while_one_works_is_done_together() -> None:
    gate, outcomes = Gate(), dict[int, str]()
    group: Group[int] = Group(gate)

    def join(number: int) -> None:
        try:
            group.join(number)
            outcomes[number] = "done"
        except ValueError as error:
            outcomes[number] = f"error {error}"

    first = run([lambda: join(0)])
    wait_until(lambda: gate.calls, 10, "the first to lead")
    others = run([lambda n=number: join(n) for number in range(1, 6)])
    wait_until(lambda: len(group._waiting) == 5, 10, "the others to wait")
    gate.open.set()
    for thread in (*first, *others):
        thread.join()
    assert [sorted(call) for call in gate.calls] == [[0], [1, 2, 3, 4, 5]]
    assert outcomes == {0: "done", 1: "error 1", 2: "done", 3: "error 3", 4: "done", 5: "error 5"}


def test_work_that_breaks_tells_everybody_and_leaves_the_group_usable() -> None:
    def broken(items: Sequence[int]) -> Sequence[Exception | None]:
        if 0 in items:
            raise OSError("disk")
        return [None] * len(items)

    group: Group[int] = Group(broken)
    with pytest.raises(OSError, match="disk"):
        group.join(0)
    group.join(1)


def test_many_threads_are_all_served() -> None:
    seen: list[int] = []
    group: Group[int] = Group(lambda items: [seen.append(item) for item in items])
    threads = run([lambda n=number: [group.join(n * 100 + count) for count in range(100)] for number in range(8)])
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(800))


class Disks(Disk):
    """Notes how files were made durable, on a clock of its own; a file takes ``each`` seconds, all take ``whole``."""

    def __init__(self, folder: Path, each: float, whole: float) -> None:
        self.at, self.each, self.whole = 0.0, each, whole
        self.done: list[str] = []
        super().__init__(folder, lambda: self.at)

    def _sync_each(self, descriptors: Sequence[int], folders: Collection[str]) -> None:
        self.at += self.each * len(descriptors)
        self.done.append("each")

    def _sync_whole(self) -> None:
        self.at += self.whole
        self.done.append("whole")


@pytest.mark.parametrize(("each", "whole", "chosen"), [(0.005, 0.006, "whole"), (0.001, 0.5, "each")])
def test_the_cheaper_way_to_make_files_durable_is_learned(
    tmp_path: Path, each: float, whole: float, chosen: str
) -> None:
    disk = Disks(tmp_path, each, whole)
    for _ in range(40):
        disk.secure([0] * 4, {str(tmp_path)})
    assert disk.done[-20:].count(chosen) >= 18


def test_the_other_way_is_tried_again_in_time(tmp_path: Path) -> None:
    disk = Disks(tmp_path, 0.001, 1.0)
    for _ in range(10):
        disk.secure([0] * 4, {str(tmp_path)})
    disk.whole = 0.0001
    for _ in range(400):
        disk.secure([0] * 4, {str(tmp_path)})
    assert disk.done[-1] == "whole"


@pytest.mark.parametrize(("size", "synced"), [(1000, False), (LARGE, True)])
def test_a_large_file_is_synced_by_itself(data_dir: Path, size: int, synced: bool) -> None:
    files = InstanceFiles(data_dir, 0)
    file = files.open(b"")
    file.write((bytes(size),))
    file.sync_if_large()
    assert file.is_synced is synced
    file.publish()
    files.secure([file])
    file.discard()


def test_a_file_alone_is_synced_alone(tmp_path: Path) -> None:
    disk = Disks(tmp_path, 1.0, 0.0)
    disk.secure([0], {str(tmp_path)})
    assert disk.done == ["each"]


def test_both_ways_work_on_a_real_file_system(tmp_path: Path) -> None:
    disk, descriptor = Disk(tmp_path), os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
    disk._sync_whole()
    disk._sync_each([descriptor], {str(tmp_path)})
    os.close(descriptor)


def finish_together(intake: Intake, uids: Sequence[str]) -> dict[str, str]:
    """Finish receptions in as many threads; how each ended."""
    outcomes: dict[str, str] = {}
    receptions = [(uid, intake.begin(made(uid).request())) for uid in uids]

    def finish(uid: str, number: int) -> None:
        try:
            receptions[number][1].finish()
            outcomes[uid] = "kept"
        except StorageError:
            outcomes[uid] = "refused"

    for uid, reception in receptions:
        reception.write([made(uid).data])
    for thread in run([lambda u=uid, n=number: finish(u, n) for number, uid in enumerate(uids)]):
        thread.join()
    return outcomes


def test_an_instance_the_database_does_not_take_fails_alone(engine: sa.Engine, data_dir: Path) -> None:
    refuse_one(engine, "1.2.3")
    uids = [f"1.2.{number}" for number in range(8)]
    outcomes = finish_together(Intake(engine, data_dir, CHAIN, 0), uids)
    assert outcomes == {uid: "refused" if uid == "1.2.3" else "kept" for uid in uids}
    assert sorted(row.sop_instance_uid for row in rows_of(engine)) == [uid for uid in uids if uid != "1.2.3"]
    assert len(files_in(data_dir)) == 7
    with engine.connect() as connection:
        assert audit.verify(connection).problems == ()


def refuse_one(engine: sa.Engine, uid: str) -> None:
    """From now on the database does not take a row for this SOP Instance UID."""
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.execute(sa.text(
                f"CREATE TRIGGER poison BEFORE INSERT ON {instance.name} WHEN NEW.sop_instance_uid = '{uid}' "
                "BEGIN SELECT RAISE(ABORT, 'poison'); END"))
        else:
            connection.execute(sa.text(
                f"ALTER TABLE {instance.name} ADD CONSTRAINT poison CHECK (sop_instance_uid <> '{uid}')"))


def test_a_commit_whose_answer_is_lost_is_success(sqlite: sa.Engine, data_dir: Path) -> None:
    """The connection broke after the commit: the rows are there, and nothing is written twice."""
    broken = iter([True])

    def lose_the_answer(_connection: sa.Connection) -> None:
        if next(broken, False):
            raise sa.exc.OperationalError("COMMIT", {}, Exception("the answer is lost"))

    intake = Intake(sqlite, data_dir, CHAIN, 0)
    reception = intake.begin(made("1.2.3").request())
    reception.write([made("1.2.3").data])
    real_commit = sqlite.dialect.do_commit

    def commit(connection: object) -> None:
        real_commit(connection)
        lose_the_answer(connection)

    sqlite.dialect.do_commit = commit
    try:
        reception.finish()
    finally:
        sqlite.dialect.do_commit = real_commit
    assert [row.sop_instance_uid for row in rows_of(sqlite)] == ["1.2.3"]
    assert len(files_in(data_dir)) == 1
