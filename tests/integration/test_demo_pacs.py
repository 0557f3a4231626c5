"""The small PACS and its switches, against a second one that stands for the node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import BasicTextSRStorage, Comprehensive3DSRStorage, DigitalXRayImageStorageForPresentation
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from node.commitment import commitment_report
from node.config import Destination
from node.demo.pacs import ROUTED_BACK_TIMES, PacsSwitches, SmallPacs, send
from node.dicom_client import DicomClient, TimeOuts
from node.domain import CommitmentReport
from tests.tools.documents import document
from tests.tools.network import free_port
from tests.tools.waiting import wait_until

TRANSACTION = "2.25.9"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[SmallPacs]:
    """Keeps what it is sent, as the node would."""
    with SmallPacs("AINODE", tmp_path / "node") as node:
        yield node


@contextmanager
def pacs_for(node: SmallPacs, folder: Path, switches: PacsSwitches, *sources: Path) -> Iterator[SmallPacs]:
    with SmallPacs("PACS", folder / "pacs", switches, sources=sources) as pacs:
        pacs.meet(node.ae_title, "127.0.0.1", node.port)
        yield pacs


def store(pacs: SmallPacs, *files: Path) -> list[int | None]:
    return [outcome.status for outcome in send(files, "127.0.0.1", pacs.port, pacs.ae_title)]


def image(folder: Path, study: str = "1.2.3") -> Path:
    return document(folder, sop_class_uid=DigitalXRayImageStorageForPresentation, modality="DX", study=study)


def test_it_keeps_what_it_is_sent(node: SmallPacs, tmp_path: Path) -> None:
    file = document(tmp_path, study="1.2.9")
    assert store(node, file) == [0x0000]
    kept = node.objects[file.stem]
    assert (kept.study_instance_uid, kept.sop_class_uid) == ("1.2.9", Comprehensive3DSRStorage)
    assert dcmread(kept.file) == dcmread(file)


def test_waiting_for_what_does_not_happen_says_so(node: SmallPacs) -> None:
    assert not node.wait_for(lambda pacs: bool(pacs.objects), timeout=0.01)


def test_it_sends_every_object_back_three_times(node: SmallPacs, tmp_path: Path) -> None:
    file = document(tmp_path)
    with pacs_for(node, tmp_path, PacsSwitches(route_back=True)) as pacs:
        store(pacs, file)
        assert node.wait_for(lambda node: node.received == (file.stem,) * ROUTED_BACK_TIMES, timeout=30)
        assert pacs.problems == ()


def test_it_changes_identifiers_of_what_it_stores_and_routes_back(node: SmallPacs, tmp_path: Path) -> None:
    file = document(tmp_path)
    with pacs_for(node, tmp_path, PacsSwitches(route_back=True, coerce_ids=True)) as pacs:
        store(pacs, file)
        assert node.wait_for(lambda node: file.stem in node.objects, timeout=30)
    back = dcmread(node.objects[file.stem].file)
    assert (back.PatientID, back.AccessionNumber) == ("LOCAL-P1", "CA1")


def test_the_first_report_of_a_study_makes_it_send_the_study_again(node: SmallPacs, tmp_path: Path) -> None:
    mine, other = image(tmp_path), image(tmp_path, study="1.2.4")
    with pacs_for(node, tmp_path, PacsSwitches(resend_all=True), mine, other) as pacs:
        store(pacs, document(tmp_path), document(tmp_path, sop_class_uid=BasicTextSRStorage))
        assert node.wait_for(lambda node: bool(node.received), timeout=30)
        pacs.resend_sources()
        assert node.wait_for(lambda node: other.stem in node.received, timeout=30)
    assert node.received == (mine.stem, mine.stem, other.stem)


def test_the_first_report_of_a_study_brings_one_late_image(node: SmallPacs, tmp_path: Path) -> None:
    source = image(tmp_path)
    with pacs_for(node, tmp_path, PacsSwitches(add_late_image=True), source) as pacs:
        store(pacs, document(tmp_path), document(tmp_path, sop_class_uid=BasicTextSRStorage))
        assert node.wait_for(lambda node: len(node.objects) == 1, timeout=30)
    late = next(iter(node.objects.values()))
    assert late.study_instance_uid == "1.2.3"
    assert late.sop_instance_uid != source.stem


def test_it_refuses_every_instance_once(node: SmallPacs, tmp_path: Path) -> None:
    files = [document(tmp_path), document(tmp_path)]
    with pacs_for(node, tmp_path, PacsSwitches(refuse_first=True)) as pacs:
        assert store(pacs, *files) == [0xA700, 0xA700]
        assert store(pacs, *files) == [0x0000, 0x0000]


def test_it_hangs_and_then_drops_the_association(node: SmallPacs, tmp_path: Path) -> None:
    with pacs_for(node, tmp_path, PacsSwitches(hang=True, hang_seconds=0.1)) as pacs:
        assert store(pacs, document(tmp_path)) == [None]
        assert pacs.objects == {}


def test_a_node_that_is_not_there_is_a_problem_it_tells(tmp_path: Path) -> None:
    with SmallPacs("PACS", tmp_path / "pacs", PacsSwitches(route_back=True)) as pacs:
        pacs.meet("AINODE", "127.0.0.1", free_port())
        store(pacs, document(tmp_path))
        assert pacs.wait_for(lambda pacs: bool(pacs.problems), timeout=30)


@contextmanager
def reports_heard() -> Iterator[tuple[int, list[tuple[int, CommitmentReport]]]]:
    """A port on which commitment reports are taken, and (event type, report) of each."""
    heard: list[tuple[int, CommitmentReport]] = []

    def take(event: Any) -> tuple[int, None]:
        heard.append((event.event_type, commitment_report(event.event_information)))
        return 0x0000, None

    entity = AE("AINODE")
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])
    try:
        yield server.server_address[1], heard
    finally:
        server.shutdown()


def ask(pacs: SmallPacs, *references: tuple[str, str]) -> None:
    destination = Destination(name="pacs", ae_title=pacs.ae_title, host="127.0.0.1", port=pacs.port)
    DicomClient("AINODE", TimeOuts(commitment=0)).request_commitment(destination, TRANSACTION, references)


def test_it_commits_what_it_holds_and_says_why_not_for_the_rest(tmp_path: Path) -> None:
    held, of_another_class = document(tmp_path), document(tmp_path)
    with SmallPacs("PACS", tmp_path / "pacs") as pacs, reports_heard() as (port, heard):
        pacs.meet("AINODE", "127.0.0.1", port)
        store(pacs, held, of_another_class)
        ask(pacs, (Comprehensive3DSRStorage, held.stem), (BasicTextSRStorage, of_another_class.stem),
            (Comprehensive3DSRStorage, "1.2.99"))
        assert pacs.wait_for(lambda pacs: pacs.committed == {held.stem}, timeout=30)
    event_type, report = heard[0]
    assert (event_type, report.transaction_uid, report.committed) == (2, TRANSACTION, (held.stem,))
    assert dict(report.failed) == {of_another_class.stem: 0x0119, "1.2.99": 0x0112}


def test_it_loses_an_instance_when_first_asked_to_commit_it(tmp_path: Path) -> None:
    file = document(tmp_path)
    with SmallPacs("PACS", tmp_path / "pacs", PacsSwitches(lose_first=True)) as pacs, reports_heard() as (port, heard):
        pacs.meet("AINODE", "127.0.0.1", port)
        for number in (1, 2):
            store(pacs, file)
            ask(pacs, (Comprehensive3DSRStorage, file.stem))
            wait_until(lambda count=number: len(heard) == count, what=f"report {number}")
        assert pacs.wait_for(lambda pacs: pacs.committed == {file.stem}, timeout=30)
    assert [event_type for event_type, _ in heard] == [2, 1]
