"""The source archive: how many instances it counts decides when a quiet study is complete, and its silence does not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

from node import audit
from node.config import Destination
from node.database import delivery, transaction
from node.dicom_association import TimeOuts
from node.dicom_client import DicomClient
from node.dicom_query import DicomQuery
from node.errors import PeerError
from node.source import Source
from tests.tools.desk_of_clerk import CHAIN, ClerksDesk
from tests.tools.documents import document
from tests.tools.instances import chest
from tests.tools.network import Namespace, free_port
from tests.tools.orthanc import Orthanc

STUDY, OTHER = "1.2.3", "1.2.4"
QUIET, FORCED, AGAIN = 5.0, 600.0, 10.0
SOURCE = {"ae_title": "PACS", "host": "127.0.0.1", "port": 104, "ask_again_seconds": AGAIN}
QUERY = DicomQuery("AINODE", TimeOuts(connect=2.0, acse=5.0, dimse=5.0))


@dataclass
class Archive:
    """Answers with a number by study, or not at all."""

    counts: dict[str, int | None] = field(default_factory=dict)
    away: bool = False
    asked: list[str] = field(default_factory=list)
    #: Called while it is asked.
    meanwhile: Callable[[], object] = lambda: None

    def count_instances(self, archive: Destination, study_instance_uid: str) -> int | None:
        self.asked.append(study_instance_uid)
        self.meanwhile()
        if self.away:
            raise PeerError("PACS: no association")
        return self.counts.get(study_instance_uid, 0)


class Room:
    """A clerk's desk with a source archive."""

    def __init__(self, engine: sa.Engine, data_dir: Path) -> None:
        self.desk = ClerksDesk(engine, data_dir, quiet_seconds=QUIET, forced_seconds=FORCED, source=SOURCE)
        self.archive = Archive()
        self.source = Source(
            engine, CHAIN, self.desk.settings.source, self.desk.completion, self.archive, self.desk.clock)

    def round(self, seconds: float = 0.0) -> int:
        """Time passes, the archive is asked, versions are started; how many."""
        self.desk.clock.wait(seconds)
        self.source.turn()
        return self.desk.versions.complete_due()

    def take(self, *images: Dataset) -> None:
        """Images come, a moment after whatever happened before."""
        self.desk.clock.wait(0.1)
        self.desk.take(*images)

    def told(self, uid: str = STUDY) -> list[tuple[str, Any]]:
        with self.desk.engine.connect() as connection:
            return [(event["action"], event["detail"]) for event in audit.events(connection, uid)
                    if event["action"] in ("study.counted", "study.uncounted")]


@pytest.fixture
def room(engine: sa.Engine, tmp_path: Path) -> Room:
    """On both databases."""
    return Room(engine, tmp_path)


def test_a_study_waits_for_what_the_archive_counts(room: Room) -> None:
    room.archive.counts = {STUDY: 2}
    room.take(chest(STUDY, 1))
    assert room.round(QUIET) == 0
    room.take(chest(STUDY, 2))
    assert room.round(QUIET) == 1
    assert room.desk.runs(STUDY)[0].trigger == "quiet"
    assert room.told() == [
        ("study.counted", {"count": 2, "missing": 1}), ("study.counted", {"count": 2, "missing": 0})]


def test_a_study_is_not_complete_before_the_archive_was_asked(room: Room) -> None:
    room.take(chest(STUDY))
    room.desk.clock.wait(QUIET)
    assert room.desk.versions.complete_due() == 0
    assert room.round() == 1


def test_only_a_quiet_study_is_asked_for(room: Room) -> None:
    room.take(chest(STUDY))
    room.round(QUIET - 1)
    assert room.archive.asked == []


def test_while_something_is_missing_the_archive_is_asked_again_until_the_forced_limit(room: Room) -> None:
    room.archive.counts = {STUDY: 5}
    room.take(chest(STUDY))
    room.round(QUIET)
    assert [room.round(AGAIN - 1), room.round(1), room.round(AGAIN)] == [0, 0, 0]
    assert len(room.archive.asked) == 3
    assert len(room.told()) == 1  # the same answer is one event
    assert room.round(FORCED) == 1
    assert room.desk.runs(STUDY)[0].trigger == "forced"
    with room.desk.engine.connect() as connection:
        done = [event["detail"] for event in audit.events(connection, STUDY) if event["action"] == "study.completed"]
    assert done[0]["missing_by_count"] == 4


def test_what_comes_while_the_archive_answers_makes_its_answer_an_old_one(room: Room) -> None:
    room.archive.counts = {STUDY: 1}
    room.take(chest(STUDY, 1))
    room.archive.meanwhile = lambda: (room.desk.clock.wait(1), room.take(chest(STUDY, 2)))
    assert room.round(QUIET) == 0
    room.archive.meanwhile = lambda: None
    assert room.round(QUIET) == 1
    assert len(room.archive.asked) == 2


@pytest.mark.parametrize("count", [0, None], ids=["knows no such study", "does not count"])
def test_an_archive_that_says_nothing_of_use_holds_nothing_up(room: Room, count: int | None) -> None:
    room.archive.counts = {STUDY: count}
    room.take(chest(STUDY))
    assert room.round(QUIET) == 1


def test_an_archive_that_is_away_holds_nothing_up_and_not_every_study_waits_for_it(room: Room) -> None:
    room.archive.away = True
    room.take(chest(STUDY), chest(OTHER))
    assert room.round(QUIET) == 2
    assert len(room.archive.asked) == 1
    assert [action for action, _ in room.told() + room.told(OTHER)] == ["study.uncounted"] * 2
    room.archive.away = False
    room.take(chest(STUDY, 2))
    assert room.round(AGAIN) == 1
    assert len(room.archive.asked) == 2


def test_reports_of_our_own_that_the_archive_has_are_not_missing(room: Room) -> None:
    room.archive.counts = {STUDY: 3}
    room.take(chest(STUDY))
    with transaction(room.desk.engine) as connection:
        for number, state in enumerate(("committed", "sent", "queued")):
            connection.execute(sa.insert(delivery).values(
                sop_instance_uid=f"2.25.{number}", destination="pacs", study_instance_uid=STUDY, version=1,
                state=state, updated_at=0.0))
    assert room.round(QUIET) == 1


def test_a_clock_that_is_set_does_not_make_an_answer_last_for_ever(room: Room) -> None:
    room.archive.counts = {STUDY: 1}
    room.take(chest(STUDY))
    room.desk.clock.wait(QUIET)
    room.source.turn()
    room.desk.clock.set(-3 * 3600.0)
    assert room.desk.versions.complete_due() == 0
    assert room.round(QUIET) == 1
    assert len(room.archive.asked) == 2


def test_the_archive_is_asked_on_a_thread_of_its_own(room: Room) -> None:
    threads, done = list[threading.Thread](), threading.Event()
    room.archive.meanwhile = lambda: (threads.append(threading.current_thread()), done.set())
    room.take(chest(STUDY))
    room.desk.clock.wait(QUIET)
    working = threading.Thread(target=room.source.run, daemon=True)
    working.start()
    assert done.wait(30)
    room.source.stopping.set()
    working.join(30)
    assert threads == [working]


# The query itself.

def at(port: int) -> Destination:
    return Destination(name="study.source", ae_title="PACS", host="127.0.0.1", port=port)


@contextmanager
def archive(*levels: list[Dataset], status: int = 0x0000, model: Any = None) -> Iterator[tuple[Destination, list[str]]]:
    """An archive that gives these matches at STUDY and at SERIES level, and the levels it was asked at."""
    asked: list[str] = []

    def find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(event.identifier.QueryRetrieveLevel)
        for match in levels[len(asked) - 1] if status == 0x0000 else []:
            yield 0xFF00, match
        yield status, None

    entity = AE("PACS")
    entity.add_supported_context(model or StudyRootQueryRetrieveInformationModelFind)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)])
    try:
        yield at(server.server_address[1]), asked
    finally:
        server.shutdown()


def match(**values: Any) -> Dataset:
    made = Dataset()
    made.StudyInstanceUID = STUDY
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def test_the_number_of_the_study_is_taken() -> None:
    with archive([match(NumberOfStudyRelatedInstances=7)]) as (peer, asked):
        assert QUERY.count_instances(peer, STUDY) == 7
    assert asked == ["STUDY"]


def test_a_study_the_archive_does_not_know_has_none() -> None:
    with archive([]) as (peer, _):
        assert QUERY.count_instances(peer, STUDY) == 0


@pytest.mark.parametrize("said", [match(), match(NumberOfStudyRelatedInstances="")], ids=["absent", "empty"])
def test_without_a_number_of_the_study_those_of_its_series_are_added(said: Dataset) -> None:
    series = [match(NumberOfSeriesRelatedInstances=number) for number in (2, 3)]
    with archive([said], series) as (peer, asked):
        assert QUERY.count_instances(peer, STUDY) == 5
    assert asked == ["STUDY", "SERIES"]


def test_an_archive_that_does_not_know_the_attributes_cannot_count() -> None:
    with archive([match()], [match(NumberOfSeriesRelatedInstances=2), match()]) as (peer, _):
        assert QUERY.count_instances(peer, STUDY) is None


@pytest.mark.parametrize("refusal", [{"status": 0xA700}, {"model": Verification}], ids=["failure", "no query"])
def test_a_query_that_fails_is_an_error(refusal: dict[str, Any]) -> None:
    with archive([], **refusal) as (peer, _), pytest.raises(PeerError):
        QUERY.count_instances(peer, STUDY)


def test_an_archive_that_is_not_there_is_an_error() -> None:
    with pytest.raises(PeerError):
        QUERY.count_instances(at(free_port()), STUDY)


def test_orthanc_counts(namespace: Namespace, tmp_path: Path) -> None:
    files = [document(tmp_path), document(tmp_path, series="1.2.3.2")]
    modalities = {"AINODE": ("127.0.0.1", 11112)}
    with Orthanc(namespace, tmp_path / "orthanc", modalities, ae_title="PACS") as orthanc:
        namespace.call(DicomClient("AINODE").store, at(orthanc.port), files)
        assert namespace.call(QUERY.count_instances, at(orthanc.port), STUDY) == 2
        assert namespace.call(QUERY.count_instances, at(orthanc.port), OTHER) == 0


def test_an_archive_of_dcmtk_that_does_not_count_says_so(namespace: Namespace, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    configuration = tmp_path / "dcmqrscp.cfg"
    configuration.write_text(
        "NetworkTCPPort = 11104\nMaxPDUSize = 16384\nMaxAssociations = 4\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nPACS {tmp_path / 'store'} RW (9, 1024mb) ANY\nAETable END\n",
        encoding="ascii")
    process = namespace.popen(["dcmqrscp", "-c", configuration, "11104"])
    namespace.wait_for_port(11104, process)
    namespace.call(DicomClient("AINODE").store, at(11104), [document(tmp_path)])
    assert namespace.call(QUERY.count_instances, at(11104), STUDY) is None
    assert namespace.call(QUERY.count_instances, at(11104), OTHER) == 0
