"""Retention: what is removed by age and for space, what never is, and what later stages say about it."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from node import delivery, versions
from node.config import RetentionSection
from node.database import (
    arriving,
    audit_event,
    commitment_request,
    connect,
    embedding,
    instance,
    metadata,
    report,
    run,
    score,
    study,
    transaction,
)
from node.database import delivery as deliveries
from node.errors import BadInput, StorageError
from node.housekeeping.retention import DAY, InPieces, Retention
from tests.tools.disks import small_disk
from tests.tools.instances import chest, document, rejection_note
from tests.tools.node_in_process import CHAIN, StraightNode

STUDY, OTHER = "1.2.3", "1.2.4"
LONG_AGO = 0.0


class Store(StraightNode):
    """A node whose store is kept with ``days`` and ``min_free_mb``."""

    def keeper(self, days: int = 0, min_free_mb: int = 0, **more: Any) -> Retention:
        committing = [one.name for one in self.config.destinations if one.storage_commitment]
        settings = RetentionSection(days=days, min_free_mb=min_free_mb)
        return Retention(self.engine, self.data_dir, CHAIN, settings, committing, **more)

    def expire(self) -> int:
        return sum(self.keeper(days=30).expire())

    def done(self, *images: Dataset, received_at: float = LONG_AGO) -> None:
        """A study that went all its way, some time ago."""
        self.evaluate(*images)
        self.change(instance, instance.c.study_instance_uid == images[0].StudyInstanceUID, received_at=received_at)

    def change(self, table: sa.Table, which: sa.ColumnElement[bool], **values: Any) -> None:
        with transaction(self.engine) as connection:
            connection.execute(sa.update(table).where(which).values(**values))

    def states(self, uid: str = STUDY) -> list[str]:
        with self.engine.connect() as connection:
            query = sa.select(instance.c.state).where(instance.c.study_instance_uid == uid)
            return list(connection.scalars(query.order_by(instance.c.id)))

    def derived(self) -> dict[str, int]:
        """Rows of scores and of vectors, by study."""
        with self.engine.connect() as connection:
            return dict(Counter(uid for table in (score, embedding)
                                for uid in connection.scalars(sa.select(table.c.study_instance_uid))))

    def files(self) -> int:
        return sum(1 for path in (self.data_dir / "instances").rglob("*.dcm"))

    def removals(self) -> int:
        with self.engine.connect() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(audit_event).where(
                audit_event.c.action == "instance.removed")) or 0


@pytest.fixture
def store(sqlite: sa.Engine, tmp_path: Path) -> Store:
    return Store(sqlite, tmp_path / "data")


@pytest.fixture
def anywhere(engine: sa.Engine, tmp_path: Path) -> Store:
    """The same on both databases, for what depends on how they lock and compare."""
    return Store(engine, tmp_path / "data")


def test_a_finished_study_is_removed_when_it_is_old(anywhere: Store) -> None:
    anywhere.done(chest(STUDY), chest(STUDY, 2), document(STUDY, 5))
    assert anywhere.expire() == 3
    assert (anywhere.states(), anywhere.files(), anywhere.removals()) == (["removed"] * 3, 0, 3)
    assert anywhere.expire() == 0


def test_scores_and_vectors_go_with_their_instances_and_others_stay(anywhere: Store) -> None:
    anywhere.done(chest(STUDY), chest(STUDY, 2))
    anywhere.evaluate(chest(OTHER))
    anywhere.change(instance, sa.and_(instance.c.study_instance_uid == STUDY, instance.c.sop_instance_uid.like("%2")),
                    state="missing")
    assert anywhere.derived() == {STUDY: 4, OTHER: 2}
    assert anywhere.expire() == 1
    assert anywhere.derived() == {OTHER: 2}
    assert len(anywhere.reports(STUDY)) == 2 and anywhere.entry(STUDY).findings


def test_a_study_goes_as_a_whole_when_its_last_instance_is_old(store: Store) -> None:
    store.done(chest(STUDY))
    store.take(document(STUDY, 5))
    assert (store.expire(), store.files()) == (0, 2)


def test_zero_days_keep_everything(store: Store) -> None:
    store.done(chest(STUDY))
    assert list(store.keeper().expire()) == []


def test_reports_are_kept(store: Store) -> None:
    store.done(chest(STUDY))
    store.expire()
    assert len(store.reports(STUDY)) == 2


def test_folders_that_were_emptied_go_too(store: Store) -> None:
    store.done(chest(STUDY))
    store.expire()
    assert list((store.data_dir / "instances").glob("*/*/*")) == []


def not_complete(store: Store) -> None:
    store.change(study, sa.true(), open=True)


def asked_to_run_again(store: Store) -> None:
    with transaction(store.engine) as connection:
        versions.request_replay(connection, CHAIN, STUDY)


def running(store: Store) -> None:
    store.change(run, sa.true(), state="running")


def unread(store: Store) -> None:
    store.mailbox.receive(document(STUDY, 7))
    store.change(instance, sa.true(), received_at=LONG_AGO)


def still_arriving(store: Store) -> None:
    with transaction(store.engine) as connection:
        connection.execute(sa.insert(arriving).values(
            slot="s", association="a", study_instance_uid=STUDY, series_instance_uid="1", beat_at=time.time()))


def waiting_for_a_replay(store: Store) -> None:
    """A late image that came after the last version the day allowed."""
    store.take(chest(STUDY, 2))
    store.change(study, sa.true(), open=False, last_received_at=time.time())
    store.change(instance, sa.true(), received_at=LONG_AGO)


def dead_letter(store: Store) -> None:
    store.change(deliveries, sa.true(), state="failed")


def on_its_way(store: Store) -> None:
    store.change(deliveries, sa.true(), state="sent")


def not_yet_committed(store: Store) -> None:
    store.change(deliveries, sa.true(), state="stored")


def promised_to_a_sender(store: Store) -> None:
    with transaction(store.engine) as connection:
        connection.execute(sa.insert(commitment_request).values(
            transaction_uid="1.9", calling_ae_title="CR1", source_host="h", archive="pacs", state="asked",
            instances=[["1.2", f"{STUDY}.1"]], requested_at=0.0, next_at=0.0))


@pytest.mark.parametrize("hold", [
    not_complete, asked_to_run_again, running, unread, still_arriving, waiting_for_a_replay, dead_letter, on_its_way,
    not_yet_committed, promised_to_a_sender], ids=lambda hold: hold.__name__)
def test_a_study_that_is_not_finished_is_kept(anywhere: Store, hold: Any) -> None:
    anywhere.done(chest(STUDY))
    hold(anywhere)
    kept = anywhere.files()
    assert (anywhere.expire(), sum(anywhere.keeper(min_free_mb=1 << 40).make_room())) == (0, 0)
    assert anywhere.files() == kept


def test_what_a_killed_receiver_had_begun_holds_nothing(anywhere: Store) -> None:
    anywhere.done(chest(STUDY))
    still_arriving(anywhere)
    anywhere.change(arriving, sa.true(), beat_at=0.0)
    assert anywhere.expire() == 1


def test_a_discarded_delivery_holds_nothing(store: Store) -> None:
    store.done(chest(STUDY))
    dead_letter(store)
    with transaction(store.engine) as connection:
        delivery.discard(connection, CHAIN, delivery.Selection(study_instance_uid=STUDY))
    assert store.expire() == 1


def test_stored_is_enough_where_nobody_asks_for_commitment(store: Store) -> None:
    store.done(chest(STUDY))
    not_yet_committed(store)
    assert sum(Retention(store.engine, store.data_dir, CHAIN, RetentionSection(days=30), []).expire()) == 1


def test_a_failed_study_goes_by_age_and_not_for_space(store: Store) -> None:
    store.done(chest(STUDY))
    store.change(run, sa.true(), state="failed")
    assert (sum(store.keeper(min_free_mb=1 << 40).make_room()), store.expire()) == (0, 1)


def test_a_prior_goes_by_age_although_no_version_ever_ran(store: Store) -> None:
    store.take(chest(STUDY))
    store.change(study, sa.true(), lane="prior", open=False)
    store.change(instance, sa.true(), received_at=LONG_AGO)
    assert store.expire() == 1


def test_what_belongs_to_no_study_goes_by_age(store: Store) -> None:
    """Our own object coming back opens none."""
    store.mailbox.receive(document(OTHER, 5))
    store.change(instance, sa.true(), received_at=LONG_AGO)
    assert store.expire() == 0  # nobody read it yet
    store.change(instance, sa.true(), state="echo")
    assert store.expire() == 1


def test_quarantine_has_the_same_age(store: Store) -> None:
    folder = store.data_dir / "quarantine"
    folder.mkdir(parents=True)
    for name, age in ("a" * 64, 40 * DAY), ("b" * 64, DAY):
        (folder / f"{name}.dcm").write_bytes(b"refused")
        os.utime(folder / f"{name}.dcm", (time.time() - age,) * 2)
    assert store.expire() == 1
    assert [path.name for path in folder.iterdir()] == [f"{'b' * 64}.dcm"]


def test_a_process_killed_before_the_file_went_leaves_no_row_that_promises_it(store: Store) -> None:
    store.done(chest(STUDY))
    killed = Killed(store.engine, store.data_dir, CHAIN, RetentionSection(days=30), [])
    with pytest.raises(SystemExit):
        sum(killed.expire())
    assert (store.states(), store.files()) == (["removed"], 1)


class Killed(Retention):
    """Ends between the row and the file."""

    def _unlink(self, path: Path) -> None:
        raise SystemExit


def test_a_disk_that_cannot_be_written_costs_no_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.done(chest(STUDY))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StorageError, match="nothing is removed"):
        store.expire()
    assert store.states() == ["accepted"]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Store]:
    """A store on a disk of eight megabytes; the database is elsewhere."""
    engine = connect(f"sqlite:///{tmp_path / 'small.sqlite'}")
    metadata.create_all(engine)
    with small_disk(tmp_path / "disk", 8) as disk:
        yield Store(engine, disk)
        engine.dispose()


def big(uid: str) -> Dataset:
    """An image of a good megabyte."""
    return chest(uid, ImageComments="x" * 1_200_000)


def test_for_space_the_oldest_studies_go_and_no_more_than_needed(small: Store) -> None:
    for number, uid in enumerate(("1.2.5", STUDY, OTHER)):
        small.done(big(uid), received_at=float(number))
    free = small.keeper().free_mb()
    assert sum(small.keeper(min_free_mb=free + 2).make_room()) == 2
    assert [small.states(uid) for uid in ("1.2.5", STUDY, OTHER)] == [["removed"], ["removed"], ["accepted"]]
    assert list(small.keeper(min_free_mb=free + 2).make_room()) == []


def test_when_nothing_more_may_go_it_is_said_once_an_hour(
    small: Store, caplog: pytest.LogCaptureFixture
) -> None:
    small.done(big(STUDY))
    dead_letter(small)
    hours = iter((0.0, 0.5, 1.0))
    at = [next(hours)]
    keeper = small.keeper(min_free_mb=100, clock=lambda: 10_000 + at[0] * 3600)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert sum(keeper.make_room()) == 0
            at[0] = next(hours, 0.0)
    told = [record for record in caplog.records if getattr(record, "action", "") == "retention.exhausted"]
    with small.engine.connect() as connection:
        audited = connection.scalars(sa.select(audit_event.c.action)).all().count("retention.exhausted")
    assert (len(told), audited, small.files()) == (2, 2, 1)


def test_long_work_is_done_in_pieces_and_begins_again_in_its_time() -> None:
    at = [100.0]

    def work() -> Iterator[int]:
        for _ in range(5):
            at[0] += 0.03
            yield 1

    rounds = InPieces(60.0, work, clock=lambda: at[0])
    assert [rounds.turn() for _ in range(4)] == [2, 2, 1, 0]
    at[0] += 60
    assert rounds.turn() == 2


def test_a_study_without_its_images_is_not_run_again(anywhere: Store) -> None:
    anywhere.done(chest(STUDY))
    anywhere.expire()
    with pytest.raises(BadInput, match="1 images were removed by the retention rules; have them sent again"):
        asked_to_run_again(anywhere)
    assert not anywhere.versions.complete_due()


def test_sent_again_a_removed_study_is_run_again(store: Store) -> None:
    store.done(chest(STUDY))
    store.expire()
    store.take(chest(STUDY))
    store.complete()
    asked_to_run_again(store)
    assert (store.run_of(STUDY).version, store.run_of(STUDY).state) == (2, "done")


def test_a_late_image_of_a_removed_study_is_reported_as_what_it_is(store: Store) -> None:
    store.done(chest(STUDY))
    store.expire()
    store.take(chest(STUDY, 2))
    store.complete()
    assert "Not part of this evaluation: 1 images were removed by the retention rules." in store.dossier(
        STUDY)["remarks"]


def test_a_rejected_image_withdraws_its_result_also_when_its_file_is_gone(anywhere: Store) -> None:
    anywhere.done(chest(STUDY))
    anywhere.expire()
    anywhere.take(rejection_note(STUDY, 9, chest(STUDY)))
    anywhere.complete()
    assert (anywhere.states()[0], anywhere.entry(STUDY).state.value) == ("rejected", "withdrawn")


def test_reports_of_a_removed_study_are_still_known_as_ours(store: Store) -> None:
    store.done(chest(STUDY))
    (first, *_) = store.reports(STUDY)
    store.expire()
    store.take(first)
    assert store.states()[-1] == "echo"
    with store.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(report)) == 2
