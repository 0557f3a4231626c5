"""Earlier studies from real archives: what they answer, what they send, and how long they are listened to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as MOVE

from node import routing
from node.config import Config, PriorSource
from node.dicom_archive import MOST_MATCHES, DicomArchive
from node.dicom_client import DicomClient
from node.domain import ImageHead, Lane
from node.errors import PeerError
from node.intake import Intake, lanes
from node.server import Server
from tests.tools.instances import chest
from tests.tools.network import Namespace, free_port
from tests.tools.orthanc import Orthanc
from tests.tools.radiographs import write
from tests.tools.receiver import Receiver, rows_of

CURRENT = ImageHead(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.1", sop_instance_uid="1.2.9.1", study_instance_uid="1.2.9",
    series_instance_uid="1.2.9.9", transfer_syntax_uid="1.2.840.10008.1.2.1", modality="DX",
    body_part_examined="CHEST", patient_id="D1", issuer_of_patient_id="HOSPITAL", patient_birth_date="19800101",
    patient_sex="F", study_date="20260520", study_time="120000")
PATIENT = {"PatientID": "D1", "IssuerOfPatientID": "HOSPITAL", "PatientBirthDate": "19800101", "PatientSex": "F",
           "PatientName": "Drawn^One"}
SECONDS = 20.0
QR_PORT = 11104


def source(port: int, **more: Any) -> PriorSource:
    return PriorSource(**{"name": "archive", "ae_title": "PACS", "host": "127.0.0.1", "port": port, **more})


def image(folder: Path, study: str, **attributes: Any) -> Path:
    made = chest(study, 1, **{**PATIENT, "StudyDate": "20200101", "StudyTime": "090000", "StudyID": "1",
                              "SeriesNumber": 1, **attributes})
    return write(made, folder / f"{study}.dcm")


def archived(folder: Path) -> list[Path]:
    """Two patients who share name and ID under two issuers, one whose birth date was changed, and the same day's."""
    return [image(folder, "1.2.1"), image(folder, "1.2.2", IssuerOfPatientID="OTHER"),
            image(folder, "1.2.3", PatientBirthDate="19800110", StudyDate="20210101"),
            image(folder, "1.2.4", StudyDate="20260520", StudyTime="110000"),
            image(folder, "1.2.5", StudyDate="20260520", StudyTime="130000"),
            image(folder, "1.2.6", PatientID="D11"),
            image(folder, "1.2.7", PatientID="D1*", StudyDate="20190101")]


def chosen(archive: DicomArchive, at: PriorSource, current: ImageHead = CURRENT) -> set[str]:
    """Studies that pass the rules by what the archive answers, series and all."""
    passed = set()
    for study in archive.find_studies(at, current, SECONDS):
        for series, _ in archive.find_series(at, study, SECONDS):
            if not routing.no_prior(current, series, single_issuer=at.single_issuer, seen=False):
                passed.add(series.study_instance_uid)
    return passed


@pytest.fixture
def receiver(namespace: Namespace, sqlite: sa.Engine, tmp_path: Path) -> Iterator[Receiver]:
    """The node's receiver inside the private network, where archives may bind what they like."""
    config, data_dir = Config(node={"port": 0}), tmp_path / "data"
    server = Server(config, intake(sqlite, data_dir), lambda answer: None, sqlite, "receiver")
    yield Receiver(namespace.call(server.start), server, sqlite, data_dir)
    namespace.call(server.stop)


@pytest.fixture
def archive(receiver: Receiver) -> DicomArchive:
    return DicomArchive("AINODE", intake(receiver.engine, receiver.data_dir))


def intake(engine: sa.Engine, data_dir: Path) -> Intake:
    return Intake(engine, data_dir, "clerk", 0, lane=lanes("AINODE", Config().study))


def dcmqrscp(namespace: Namespace, folder: Path, port: int) -> None:
    (folder / "store").mkdir(parents=True)
    configuration = folder / "dcmqrscp.cfg"
    configuration.write_text(
        f"NetworkTCPPort = {QR_PORT}\nMaxPDUSize = 16384\nMaxAssociations = 4\n"
        f"HostTable BEGIN\nainode = (AINODE, 127.0.0.1, {port})\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nPACS {folder / 'store'} RW (20, 1024mb) ANY\nAETable END\n", encoding="ascii")
    process = namespace.popen(["dcmqrscp", "-c", configuration, str(QR_PORT)])
    namespace.wait_for_port(QR_PORT, process)


def lanes_of(receiver: Receiver) -> list[tuple[str, str]]:
    return sorted((row.study_instance_uid, row.lane) for row in rows_of(receiver.engine))


@pytest.mark.parametrize("retrieve", ["move", "get"])
def test_dcmtk_answers_and_sends(namespace: Namespace, tmp_path: Path, receiver: Receiver, archive: DicomArchive,
                                 retrieve: str) -> None:
    dcmqrscp(namespace, tmp_path / "qr", receiver.port)
    at = source(QR_PORT, retrieve=retrieve, single_issuer=True)
    namespace.call(DicomClient("AINODE").store, at.archive, archived(tmp_path))
    # It does not say body parts: the images have to.
    assert namespace.call(chosen, archive, at) == namespace.call(chosen, archive, source(QR_PORT)) == {"1.2.1", "1.2.4"}
    (study,) = (one for one in namespace.call(archive.find_studies, at, CURRENT, SECONDS)
                if one.study_instance_uid == "1.2.4")
    ((series, count),) = namespace.call(archive.find_series, at, study, SECONDS)
    assert count is None and namespace.call(archive.retrieve, at, series, SECONDS) == 1
    assert lanes_of(receiver) == [("1.2.4", Lane.PRIOR.value)]


@pytest.mark.parametrize("retrieve", ["move", "get"])
def test_orthanc_answers_and_sends(namespace: Namespace, tmp_path: Path, receiver: Receiver, archive: DicomArchive,
                                   retrieve: str) -> None:
    with Orthanc(namespace, tmp_path / "orthanc", {"AINODE": ("127.0.0.1", receiver.port)}, ae_title="PACS") as pacs:
        at = source(pacs.port, retrieve=retrieve)
        namespace.call(DicomClient("AINODE").store, at.archive, archived(tmp_path))
        assert namespace.call(chosen, archive, at) == {"1.2.1", "1.2.4"}
        studies = {one.study_instance_uid: one for one in namespace.call(archive.find_studies, at, CURRENT, SECONDS)}
        ((series, count),) = namespace.call(archive.find_series, at, studies["1.2.1"], SECONDS)
        assert (count, series.body_part_examined, series.modality) == (1, "CHEST", "CR")
        assert namespace.call(archive.retrieve, at, series, SECONDS) == 1
    assert lanes_of(receiver) == [("1.2.1", Lane.PRIOR.value)]


def test_an_archive_that_does_not_know_us_as_a_destination_is_an_error(
        namespace: Namespace, tmp_path: Path, archive: DicomArchive) -> None:
    dcmqrscp(namespace, tmp_path / "qr", free_port())
    at = source(QR_PORT)
    namespace.call(DicomClient("AINODE").store, at.archive, [image(tmp_path, "1.2.1")])
    stranger = DicomArchive("STRANGER", archive._intake)
    (study,) = namespace.call(stranger.find_studies, at, CURRENT, SECONDS)
    ((series, _),) = namespace.call(stranger.find_series, at, study, SECONDS)
    with pytest.raises(PeerError, match="C-MOVE was answered with 0xA801"):
        namespace.call(stranger.retrieve, at, series, SECONDS)


@pytest.fixture
def asking(sqlite: sa.Engine, tmp_path: Path) -> DicomArchive:
    return DicomArchive("AINODE", intake(sqlite, tmp_path))


@contextmanager
def answering(find: Callable[[Any], Iterator[tuple[int, Dataset | None]]], model: Any = FIND) -> Iterator[PriorSource]:
    entity = AE("PACS")
    entity.add_supported_context(model)
    event = evt.EVT_C_FIND if model is FIND else evt.EVT_C_MOVE
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(event, find)])
    try:
        yield source(server.server_address[1])
    finally:
        server.shutdown()


def match(**values: Any) -> Dataset:
    made = Dataset()
    made.StudyInstanceUID = "1.2.1"
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize("match_of", [
    lambda: match(PatientID="D1\\D2"), lambda: match(PatientID="D" * 65536), lambda: match(PatientID=""),
    match, lambda: match(PatientID="D1", PatientName="N" * 65536, StudyDescription="x" * 65536,
                         PatientBirthDate="yesterday", PatientSex="F\\M"),
], ids=["two", "long", "empty", "absent", "nonsense"])
def test_hostile_answers_are_nobody(asking: DicomArchive, match_of: Callable[[], Dataset]) -> None:
    with answering(lambda event: iter([(0xFF00, match_of()), (0x0000, None)])) as at:
        (study,) = asking.find_studies(at, CURRENT, SECONDS)
    assert len(study.patient_id) <= 64 and study.study_description == ""
    assert routing.other_patient(CURRENT, study, single_issuer=True)


@pytest.mark.parametrize("uid", ["", "../../etc", "1" * 65, "1.2\\1.3"])
def test_a_study_without_a_usable_uid_is_none(asking: DicomArchive, uid: str) -> None:
    with answering(lambda event: iter([(0xFF00, match(StudyInstanceUID=uid)), (0x0000, None)])) as at:
        assert asking.find_studies(at, CURRENT, SECONDS) == []


def test_the_patient_id_alone_is_asked_for_and_no_name(asking: DicomArchive) -> None:
    asked: list[Dataset] = []

    def find(event: Any) -> Iterator[tuple[int, None]]:
        asked.append(event.identifier)
        yield 0x0000, None

    with answering(find) as at:
        asking.find_studies(at, CURRENT, SECONDS)
    assert (asked[0].PatientID, asked[0].StudyDate, asked[0].QueryRetrieveLevel) == ("D1", "-20260520", "STUDY")
    assert "PatientName" not in asked[0]


def test_an_archive_without_end_is_not_listened_to_for_ever(asking: DicomArchive) -> None:
    def find(event: Any) -> Iterator[tuple[int, Dataset]]:
        while not event.is_cancelled:
            yield 0xFF00, match()

    with answering(find) as at, pytest.raises(PeerError, match=f"more than {MOST_MATCHES}"):
        asking.find_studies(at, CURRENT, SECONDS)


@pytest.mark.parametrize("model", [FIND, MOVE])
def test_a_slow_archive_is_listened_to_until_the_time_limit(asking: DicomArchive, model: Any) -> None:
    done = threading.Event()

    def slowly(event: Any) -> Iterator[Any]:
        done.wait(30)
        yield 0

    series = ImageHead(sop_class_uid="", sop_instance_uid="", study_instance_uid="1.2.1", series_instance_uid="1.2.2",
                       transfer_syntax_uid="", modality="CR")
    try:
        with answering(slowly, model) as at, pytest.raises(PeerError):
            if model is FIND:
                asking.find_studies(at, CURRENT, 0.5)
            else:
                asking.retrieve(at, series, 0.5)
    finally:
        done.set()


def test_an_archive_that_is_away_or_has_no_time_left_is_an_error(asking: DicomArchive) -> None:
    with pytest.raises(PeerError, match="no association"):
        asking.find_studies(source(free_port()), CURRENT, SECONDS)
    with pytest.raises(PeerError, match="no time left"):
        asking.find_studies(source(free_port()), CURRENT, 0.0)
