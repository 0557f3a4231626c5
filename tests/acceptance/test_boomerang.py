"""Archives as they are in the field: they send back, change, repeat, refuse and hang, all beside one node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import BasicTextSRStorage, Comprehensive3DSRStorage

from node.demo.pacs import ROUTED_BACK_TIMES, PacsSwitches, SmallPacs
from node.demo.phantom_dicom import drawn_dataset
from sr_writer import read_back
from tests.tools.network import Namespace
from tests.tools.orthanc import Orthanc
from tests.tools.running_node import AE_TITLE, RunningNode
from tests.tools.waiting import wait_until

SEED = 760
REPORTS = sorted([Comprehensive3DSRStorage, BasicTextSRStorage])

SWITCHES = {
    "ROUTE": PacsSwitches(route_back=True),
    "COERCE": PacsSwitches(route_back=True, coerce_ids=True),
    "RESEND": PacsSwitches(resend_all=True),
    "LATE": PacsSwitches(add_late_image=True),
    "REFUSE": PacsSwitches(refuse_first=True),
    "HANG": PacsSwitches(hang=True),
}
"""An archive per AE title; each is its own modality, sends one study, and alone gets that study's reports."""

ARCHIVE = "ORTHANC"


@dataclass
class Field:
    """One node between small archives that misbehave and a real one. ``studies`` by AE title."""

    node: RunningNode
    namespace: Namespace
    archive: Orthanc
    pacs: dict[str, SmallPacs]
    studies: dict[str, str]
    folder: Path

    def run_states(self, title: str) -> list[tuple[int, str]]:
        rows = self.node.rows("SELECT version, state FROM run WHERE study_instance_uid = :uid ORDER BY version",
                              uid=self.studies[title])
        return [(row.version, row.state) for row in rows]

    def arrivals(self, title: str) -> Counter[tuple[str, str]]:
        """How often each SOP Instance of the study came, by UID and what the node made of it."""
        rows = self.node.rows(
            "SELECT sop_instance_uid, state FROM instance WHERE study_instance_uid = :uid", uid=self.studies[title])
        return Counter((row.sop_instance_uid, row.state) for row in rows)

    def wait_for_arrivals(self, title: str, wanted: Counter[tuple[str, str]]) -> None:
        wait_until(lambda: self.arrivals(title) == wanted, 60, f"{wanted} of {title}")

    def written(self, title: str) -> list[str]:
        """SOP Instance UIDs of the reports the node wrote for the study."""
        rows = self.node.rows("SELECT sop_instance_uid FROM report WHERE study_instance_uid = :uid",
                              uid=self.studies[title])
        return [row.sop_instance_uid for row in rows]

    def source(self, title: str) -> str:
        return str(pydicom.dcmread(self.folder / f"{title}.dcm", stop_before_pixels=True).SOPInstanceUID)


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    """Everything sent and everything proved, but for the archive that hangs."""
    folder = tmp_path_factory.mktemp("boomerang")
    with ExitStack() as stack:
        namespace = stack.enter_context(Namespace())
        files = {title: drawn(folder / f"{title}.dcm", SEED + number)
                 for number, title in enumerate([*SWITCHES, ARCHIVE])}
        pacs = stack.enter_context(archives(namespace, files, folder))
        node = RunningNode(folder / "node", namespace=namespace, **routes(pacs))
        archive = stack.enter_context(Orthanc(
            namespace, folder / "orthanc", {AE_TITLE: ("127.0.0.1", node.port)}, ae_title=ARCHIVE))
        stack.enter_context(node)
        node.start()
        for one in pacs.values():
            one.meet(AE_TITLE, "127.0.0.1", node.port)
            outcome, = namespace.call(one.send, one.sources)
            assert outcome.status == 0x0000
        storescu(namespace, node, files[ARCHIVE])
        studies = {title: str(pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID)
                   for title, path in files.items()}
        made = Field(node=node, namespace=namespace, archive=archive, pacs=pacs, studies=studies, folder=folder)
        node.wait_for_studies({uid: {"delivery": "committed", "version": 2 if title == "LATE" else 1}
                               for title, uid in studies.items() if title != "HANG"})
        yield made


@contextmanager
def archives(namespace: Namespace, files: dict[str, Path], folder: Path) -> Iterator[dict[str, SmallPacs]]:
    """Small archives that listen in the namespace; a test that ends one puts another in its place."""
    running = {title: open_archive(namespace, SmallPacs(title, folder / title, switches, sources=[files[title]]))
               for title, switches in SWITCHES.items()}
    try:
        yield running
    finally:
        for one in running.values():
            one.__exit__(None, None, None)


def open_archive(namespace: Namespace, archive: SmallPacs) -> SmallPacs:
    return namespace.call(archive.__enter__)


def routes(pacs: dict[str, SmallPacs]) -> dict[str, Any]:
    """A destination per archive, and a pipeline per sender that delivers to that one alone."""
    ports = {title: one.port for title, one in pacs.items()} | {ARCHIVE: 4242}
    destinations = [{"name": title.lower(), "ae_title": title, "host": "127.0.0.1", "port": port,
                     "storage_commitment": True} for title, port in ports.items()]
    pipelines = [{"name": title.lower(), "match": {"calling_ae_titles": [title]}, "destinations": [title.lower()]}
                 for title in ports]
    return {"destinations": destinations, "pipelines": pipelines}


def drawn(path: Path, seed: int) -> Path:
    drawn_dataset(seed, salt=str(path)).save_as(path, enforce_file_format=True)
    return path


def storescu(namespace: Namespace, node: RunningNode, *files: Path) -> None:
    namespace.run(["storescu", "-R", "-aet", ARCHIVE, "-aec", AE_TITLE, "127.0.0.1", str(node.port), *files])


@pytest.mark.parametrize("title", ["ROUTE", "COERCE", "RESEND", "REFUSE"])
def test_a_study_has_one_set_of_reports(field: Field, title: str) -> None:
    kept = field.pacs[title].objects
    assert sorted(one.sop_class_uid for one in kept.values()) == REPORTS
    assert sorted(kept) == sorted(field.written(title))
    assert field.run_states(title) == [(1, "done")]


@pytest.mark.parametrize("title", ["ROUTE", "COERCE"])
def test_what_an_archive_sends_back_reopens_nothing(field: Field, title: str) -> None:
    back = Counter({(uid, "echo"): ROUTED_BACK_TIMES for uid in field.written(title)})
    field.wait_for_arrivals(title, back + Counter([(field.source(title), "accepted")]))
    assert field.node.actions(field.studies[title]).count("instance.echo") == len(REPORTS) * ROUTED_BACK_TIMES
    nothing_is_open(field, title)


def nothing_is_open(field: Field, title: str) -> None:
    row, = field.node.rows("SELECT open, version FROM study WHERE study_instance_uid = :uid", uid=field.studies[title])
    assert (bool(row.open), row.version) == (False, 1)
    assert field.run_states(title) == [(1, "done")]


def test_a_real_archive_may_send_everything_back_three_times(field: Field) -> None:
    uids = field.written(ARCHIVE)
    files = [field.folder / f"{uid}.dcm" for uid in uids]
    for uid, file in zip(uids, files, strict=True):
        file.write_bytes(field.archive.instance_file(uid))
    for _ in range(ROUTED_BACK_TIMES):
        storescu(field.namespace, field.node, *files)
    back = Counter({(uid, "echo"): ROUTED_BACK_TIMES for uid in uids})
    field.wait_for_arrivals(ARCHIVE, back + Counter([(field.source(ARCHIVE), "accepted")]))
    nothing_is_open(field, ARCHIVE)
    held = Counter((str(one.StudyInstanceUID), str(one.SOPClassUID)) for one in field.archive.datasets())
    assert held == Counter([(field.studies[ARCHIVE], kind) for kind in REPORTS])


def test_sources_sent_again_reopen_nothing(field: Field) -> None:
    source = field.source("RESEND")
    field.wait_for_arrivals("RESEND", Counter([(source, "accepted"), (source, "duplicate")]))
    nothing_is_open(field, "RESEND")


def test_a_late_image_brings_a_second_report_that_names_the_first(field: Field) -> None:
    assert field.run_states("LATE") == [(1, "done"), (2, "done")]
    kept = field.pacs["LATE"].objects.values()
    assert sorted(one.sop_class_uid for one in kept) == sorted(REPORTS * 2)
    for kind in REPORTS:
        said = [read_back.summary(pydicom.dcmread(one.file)) for one in kept if one.sop_class_uid == kind]
        first, = (one for one in said if not one["predecessor"])
        second, = (one for one in said if one["predecessor"])
        assert second["predecessor"] == [first["sop_instance_uid"]]
    assert field.node.worklist()[field.studies["LATE"]]["version"] == 2


def test_a_refused_report_is_sent_again(field: Field) -> None:
    assert Counter(field.pacs["REFUSE"].received) == dict.fromkeys(field.written("REFUSE"), 2)


def test_every_commitment_report_was_answered(field: Field) -> None:
    assert {title: one.problems for title, one in field.pacs.items() if one.problems} == {}


def test_an_archive_that_hangs_delays_nobody_else_and_gets_its_reports_when_it_is_back(field: Field) -> None:
    hanging, study = field.pacs["HANG"], field.studies["HANG"]
    assert hanging.wait_for(lambda pacs: bool(pacs.received), 60)
    entry = field.node.worklist()[study]
    assert (entry["state"], entry["report_state"]) == ("confirmed", "written")
    assert entry["delivery"] in ("queued", "sent"), "it was proved while the archive hung"
    hanging.__exit__(None, None, None)
    back = open_archive(field.namespace, SmallPacs("HANG", field.folder / "back", port=hanging.port))
    field.pacs["HANG"] = back
    back.meet(AE_TITLE, "127.0.0.1", field.node.port)
    field.node.wait_for_studies({study: {"delivery": "committed"}})
    assert sorted(back.objects) == sorted(field.written("HANG"))
    assert field.run_states("HANG") == [(1, "done")]
