"""``ainode check --store``: files and rows that lost each other, after every way a process can be killed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.config import RetentionSection
from node.database import audit_event, instance, report, run, study, transaction
from node.errors import StorageError
from node.housekeeping.consistency import Findings, StoreCheck
from node.housekeeping.recovery import Recovery
from node.housekeeping.retention import Retention
from node.intake import Intake
from tests.tools.instances import chest, document, encoded
from tests.tools.node_in_process import CHAIN, StraightNode
from tests.tools.receiver import made

STUDY = "1.2.3"
HOUR = 3600.0


class Store(StraightNode):
    """A node whose store is checked."""

    def check(self) -> Findings:
        recovery, intake = Recovery(self.engine, self.data_dir, "check", 48.0), Intake(
            self.engine, self.data_dir, "check", 0)
        return StoreCheck(self.engine, self.data_dir, recovery, intake.sweep).run()

    def rows(self) -> list[sa.Row[tuple[object, ...]]]:
        with self.engine.connect() as connection:
            return list(connection.execute(sa.select(instance).order_by(instance.c.id)).all())

    def states(self) -> list[str]:
        return [str(row.state) for row in self.rows()]

    def files(self, folder: str = "instances") -> list[Path]:
        return sorted(path for path in (self.data_dir / folder).rglob("*") if path.is_file())

    def checked(self) -> list[str]:
        """What the check wrote into the audit, in order."""
        with self.engine.connect() as connection:
            query = sa.select(audit_event.c.action).where(audit_event.c.chain == "check")
            return list(connection.scalars(query.order_by(audit_event.c.seq)))

    def lose_rows(self) -> None:
        with transaction(self.engine) as connection:
            for table in (instance, study, run, report):
                connection.execute(sa.delete(table))

    def keep_old(self, *folders: str) -> None:
        """Everything was written some hours ago."""
        for folder in folders:
            for path in self.files(folder):
                os.utime(path, (time.time() - 3 * HOUR,) * 2)


@pytest.fixture
def store(sqlite: sa.Engine, tmp_path: Path) -> Store:
    return Store(sqlite, tmp_path / "data")


@pytest.fixture
def anywhere(engine: sa.Engine, tmp_path: Path) -> Store:
    """The same on both databases."""
    return Store(engine, tmp_path / "data")


def test_a_store_in_order_is_clean(anywhere: Store) -> None:
    anywhere.evaluate(chest(STUDY), chest(STUDY, 2))
    found = anywhere.check()
    assert (found.clean, found.instances, found.reports, anywhere.checked()) == (True, 2, 2, [])


def test_a_node_that_never_received_anything_is_clean(store: Store) -> None:
    assert store.check().clean


def test_rows_of_a_lost_database_are_made_from_the_files(anywhere: Store) -> None:
    anywhere.take(chest(STUDY), document(STUDY, 5))
    before = anywhere.rows()
    anywhere.lose_rows()
    assert (anywhere.check().restored, anywhere.checked()) == (2, ["store.restored"] * 2)
    compared = ("sop_class_uid", "sop_instance_uid", "study_instance_uid", "series_instance_uid", "modality",
                "transfer_syntax_uid", "path", "size", "calling_ae_title", "lane")
    assert {tuple(getattr(row, name) for name in compared) for row in anywhere.rows()} == {
        tuple(getattr(row, name) for name in compared) for row in before}
    assert [abs(row.received_at - before[0].received_at) < 60 for row in anywhere.rows()] == [True, True]
    assert anywhere.check().clean


def test_a_restored_study_is_analysed(store: Store) -> None:
    store.take(chest(STUDY))
    store.lose_rows()
    store.check()
    store.book()
    store.complete()
    assert store.run_of(STUDY).state == "done"


@pytest.mark.parametrize("spoil", [
    lambda data: b"", lambda data: b"no DICOM at all", lambda data: data[:-20],
    lambda data: data.replace(b"1.2.3.9\0", b"../3.9 \0")], ids=["empty", "foreign", "cut off", "unusable UID"])
def test_a_file_that_nobody_can_use_goes_to_quarantine(store: Store, spoil: Callable[[bytes], bytes]) -> None:
    store.take(chest(STUDY))
    store.lose_rows()
    (file,) = store.files()
    file.write_bytes(spoil(file.read_bytes()))
    assert (store.check().unusable, store.files(), len(store.files("quarantine"))) == (1, [], 1)
    assert (store.rows(), store.checked(), store.check().clean) == ([], ["store.quarantined"], True)


def test_a_receiver_killed_before_its_commit_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    reception = Intake(store.engine, store.data_dir, "receiver", 0).begin(made().request())
    reception.write([made().data])
    reception._published()
    reception._file.close()  # as the kernel does for a killed process
    assert len(store.files()) == 1
    assert (store.check().swept, store.files(), store.files("incoming"), store.rows()) == (1, [], [], [])


def test_what_is_arriving_is_left_alone(store: Store) -> None:
    reception = Intake(store.engine, store.data_dir, "receiver", 0).begin(made().request())
    reception.write([made().data])
    reception._published()  # its file has its name, its row is not there yet
    store.keep_old("instances")
    found = store.check()
    assert (found.clean, found.arriving, store.rows()) == (True, 1, [])
    reception.abandon()


def test_a_file_whose_row_came_while_the_check_ran_is_no_orphan(store: Store) -> None:
    store.take(chest(STUDY))

    class Late(StoreCheck):
        def _look_at_rows(self, inventory: object) -> None:
            """Sees none, as if they had been committed a moment later."""

    recovery = Recovery(store.engine, store.data_dir, "check", 48.0)
    assert Late(store.engine, store.data_dir, recovery, lambda: 0).run().clean


def test_a_lost_file_is_marked_and_can_be_sent_again(anywhere: Store) -> None:
    anywhere.evaluate(chest(STUDY), chest(STUDY, 2))
    anywhere.files()[0].unlink()
    found = anywhere.check()
    assert (found.lost.count, anywhere.checked()) == (1, ["store.missing"])
    assert sorted(anywhere.states()) == ["accepted", "missing"]
    assert anywhere.check().clean
    anywhere.take(chest(STUDY), chest(STUDY, 2))
    assert sorted(anywhere.states()) == ["accepted", "accepted", "duplicate", "missing"]


def test_a_result_outlives_the_image_it_was_made_from(store: Store) -> None:
    before = store.evaluate(chest(STUDY), chest(STUDY, 2))
    store.files()[0].unlink()
    store.check()
    assert store.versions.complete_due() == 0
    assert store.entry(STUDY).state is before.state


def test_a_version_that_lost_an_image_before_its_end_begins_anew(anywhere: Store) -> None:
    anywhere.take(chest(STUDY), chest(STUDY, 2))
    anywhere.quiet()
    anywhere.versions.complete_due()
    anywhere.files()[0].unlink()
    anywhere.check()
    anywhere.complete()
    assert (anywhere.run_of(STUDY).version, anywhere.run_of(STUDY).state) == (2, "done")
    assert "Not part of this evaluation: 1 images are missing from the store." in anywhere.dossier(STUDY)["remarks"]


def test_a_study_without_any_of_its_files_says_so(store: Store) -> None:
    store.take(chest(STUDY), document("1.2.4", 5))
    next(path for path in store.files() if path.stat().st_size > 1000).unlink()
    store.check()
    store.complete()
    assert store.entry(STUDY).reason == "1 images are missing from the store"


def test_a_damaged_file_is_lost_and_a_good_copy_is_taken(store: Store) -> None:
    store.take(chest(STUDY))
    (file,) = store.files()
    file.write_bytes(file.read_bytes()[:-100])
    found = store.check()
    assert (found.lost.count, found.unusable, store.states()) == (1, 1, ["missing"])
    store.take(chest(STUDY))
    assert (store.states(), store.check().clean) == (["missing", "accepted"], True)


def test_a_file_that_is_back_from_a_backup_counts_again(store: Store, tmp_path: Path) -> None:
    store.take(chest(STUDY), chest(STUDY, 2))
    (file, _) = store.files()
    shutil.copy2(file, tmp_path / "backup")
    file.unlink()
    store.check()
    shutil.copy2(tmp_path / "backup", file)
    assert store.check().restored == 1
    store.book()
    assert store.states() == ["accepted", "accepted"]


def test_a_removal_that_was_cut_short_is_finished(store: Store) -> None:
    class Killed(Retention):
        def _unlink(self, path: Path) -> None:
            raise SystemExit

    store.evaluate(chest(STUDY))
    with transaction(store.engine) as connection:
        connection.execute(sa.update(instance).values(received_at=0.0))
    with pytest.raises(SystemExit):
        sum(Killed(store.engine, store.data_dir, CHAIN, RetentionSection(days=1), []).expire())
    assert (store.check().removed, store.files(), store.states()) == (1, [], ["removed"])
    assert store.check().clean


def test_a_disk_that_is_not_mounted_loses_nothing(store: Store) -> None:
    store.take(chest(STUDY))
    (store.data_dir / "instances").rename(store.data_dir / "elsewhere")
    with pytest.raises(StorageError, match="mounted"):
        store.check()
    assert store.states() == ["accepted"]


def test_two_checks_do_not_run_at_once(store: Store) -> None:
    store.take(chest(STUDY))
    recovery = Recovery(store.engine, store.data_dir, "check", 48.0)
    with pytest.raises(StorageError, match="another"):
        StoreCheck(store.engine, store.data_dir, recovery, lambda: store.check().swept).run()


def test_reports_are_looked_at(store: Store) -> None:
    store.evaluate(chest(STUDY))
    first, second = store.files("reports")
    store.keep_old("reports")
    first.unlink()
    with transaction(store.engine) as connection:
        connection.execute(sa.delete(report).where(report.c.sop_instance_uid == second.stem))
    found = store.check()
    assert (found.lost_reports.names, found.unbooked_reports, second.exists()) == ([first.stem], 1, True)


def test_what_has_no_business_in_the_store_is_named(store: Store) -> None:
    store.take(chest(STUDY))
    for name in "instances/notes.txt", "quarantine/x.dcm", "incoming/x":
        (store.data_dir / name).parent.mkdir(exist_ok=True)
        (store.data_dir / name).write_bytes(encoded(chest(STUDY)))
    assert sorted(store.check().strange.names) == ["incoming/x", "instances/notes.txt", "quarantine/x.dcm"]
