"""``kill -9`` of every role, at every stage: each study ends with one set of reports, no more and no less."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import BasicTextSRStorage, Comprehensive3DSRStorage, generate_uid

from node.demo.pacs import SmallPacs
from node.demo.phantom_dicom import drawn_dataset
from node.pipeline import SEQUENCE
from tests.tools.running_node import AE_TITLE, RunningNode
from tests.tools.waiting import wait_until

SEED = 740
ROLES = ("receiver", "clerk", "worker", "web")

MOMENTS = (
    ("clerk", "plan"), ("worker", "decode"), ("clerk", "guard"), ("worker", "triage"), ("clerk", "write"),
    ("worker", "rank"), ("clerk", "deliver"), ("worker", "findings"), ("clerk", "send"), ("clerk", "commit"),
    ("web", "notify"), ("worker", "early"),
)
"""Which role is killed while it runs which job. The worker starts slowly, so its moments lie apart."""

IMAGES = 12
"""Of the study during whose C-STOREs the receiver is killed."""


@dataclass(frozen=True, kw_only=True)
class Survivor:
    """A node whose every role was killed, when all its work was done."""

    node: RunningNode
    pacs: SmallPacs
    studies: list[str]
    torn: str


@pytest.fixture
def survivor(database_url: str, tmp_path: Path) -> Iterator[Survivor]:
    with ExitStack() as stack:
        pacs = stack.enter_context(SmallPacs("PACS", tmp_path / "pacs"))
        node = stack.enter_context(RunningNode(tmp_path / "node", database_url, destinations=[
            {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port, "storage_commitment": True}]))
        pacs.meet(AE_TITLE, "127.0.0.1", node.port)
        torn = tear_reception(node, tmp_path)
        for role in ROLES[1:]:
            node.start_role(role)
        studies = [torn, *(strike(node, pacs, tmp_path, number, *moment) for number, moment in enumerate(MOMENTS))]
        node.wait_for_role("web")
        node.wait_for_studies({uid: {"delivery": "committed"} for uid in studies})
        wait_until(lambda: not unfinished(node), 60, "the last jobs")
        yield Survivor(node=node, pacs=pacs, studies=studies, torn=torn)


def tear_reception(node: RunningNode, folder: Path) -> str:
    """Kill the receiver in the middle of an association; the modality sends everything once more."""
    images = one_study(folder)
    node.start_role("receiver")
    node.wait_for_role("receiver")
    sender = subprocess.Popen(storescu(node, images), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(node.rows("SELECT 1 FROM instance")) >= 3, 60, "the first instances")
    node.kill_role("receiver")
    assert sender.wait(60) != 0, "everything was received before the receiver was killed"
    node.start_role("receiver")
    node.wait_for_role("receiver")
    subprocess.run(storescu(node, images), check=True, timeout=60)
    return str(pydicom.dcmread(images[0], stop_before_pixels=True).StudyInstanceUID)


def storescu(node: RunningNode, images: list[Path]) -> list[str]:
    return ["storescu", "-aec", AE_TITLE, "127.0.0.1", str(node.port), *map(str, images)]


def one_study(folder: Path) -> list[Path]:
    """The same drawn chest under several SOP Instance UIDs."""
    image, paths = drawn_dataset(SEED, salt=str(folder)), []
    for number in range(IMAGES):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.InstanceNumber = number + 1
        paths.append(folder / f"image-{number}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    return paths


def strike(node: RunningNode, pacs: SmallPacs, folder: Path, number: int, role: str, job: str) -> str:
    """Send a study, kill ``role`` as the study's ``job`` runs, or has just been done, and start it again."""
    image = drawn_dataset(SEED + 1 + number, salt=str(folder))
    path = folder / f"study-{number}.dcm"
    image.save_as(path, enforce_file_format=True)
    outcome, = pacs.send([path])
    assert outcome.status == 0x0000
    study = str(image.StudyInstanceUID)
    wait_until(lambda: began(node, study, job), 120, f"{job} of study {number}, see {node.log}")
    node.kill_role(role)
    node.start_role(role)
    return study


def began(node: RunningNode, study: str, job: str) -> bool:
    """Whether a worker took the study's job, or finished it since the last look.

    A stage that goes on in the job of the one before it has begun when that one is committed.
    """
    stages = [stage.name for stage in SEQUENCE]
    if job in stages and (at := stages.index(job)) and SEQUENCE[at].queue is SEQUENCE[at - 1].queue:
        return f"stage.{stages[at - 1]}" in node.actions(study)
    key = f"{job}:{study}:%"
    if job == "early":
        found = node.rows("SELECT id FROM instance WHERE study_instance_uid = :study", study=study)
        key = f"early:{found[0].id}"
    states = node.rows(f"SELECT status FROM {jobs(node)} WHERE workflow_uuid LIKE :key", key=key)
    return any(row.status in ("PENDING", "SUCCESS") for row in states)


def unfinished(node: RunningNode) -> list[Any]:
    """Jobs that wait or run; a check for a commitment report that came long ago may still wait for its time."""
    return list(node.rows(f"SELECT workflow_uuid, status FROM {jobs(node)} WHERE status <> 'SUCCESS' "
                          "AND name <> 'commit-check'"))


def jobs(node: RunningNode) -> str:
    return "workflow_status" if node.database_url.startswith("sqlite") else "dbos.workflow_status"


def test_whatever_is_killed_each_study_has_one_set_of_reports(survivor: Survivor) -> None:
    held = Counter((kept.study_instance_uid, kept.sop_class_uid) for kept in survivor.pacs.objects.values())
    kinds = (Comprehensive3DSRStorage, BasicTextSRStorage)
    assert held == Counter([(study, kind) for study in survivor.studies for kind in kinds])
    # The same bytes may be sent twice, when the answer to the first time was lost. Other ones never are.
    assert set(survivor.pacs.received) == set(survivor.pacs.objects)
    every_stage_took_effect_once(survivor)
    the_torn_study_is_whole(survivor)
    assert list((survivor.node.data_dir / "incoming").iterdir()) == []
    assert survivor.node.ainode("audit", "verify").returncode == 0


def every_stage_took_effect_once(survivor: Survivor) -> None:
    runs = survivor.node.rows("SELECT study_instance_uid, version, state FROM run")
    assert sorted(map(tuple, runs)) == sorted((study, 1, "done") for study in survivor.studies)
    for study in survivor.studies:
        counted = Counter(action for action in survivor.node.actions(study) if action.startswith("stage."))
        counted.pop("stage.early")
        assert counted.pop("stage.localise", 0) <= 1  # beside the sequence, where there is something to show
        assert counted == {f"stage.{stage.name}": 1 for stage in SEQUENCE}
        entry = survivor.node.worklist()[study]
        assert (entry["state"], entry["report_state"]) == ("confirmed", "written")


def the_torn_study_is_whole(survivor: Survivor) -> None:
    """Every image counts once, although some came twice."""
    rows = survivor.node.rows("SELECT state, path FROM instance WHERE study_instance_uid = :study",
                              study=survivor.torn)
    counted = Counter(row.state for row in rows)
    assert counted["accepted"] == IMAGES
    assert counted.keys() <= {"accepted", "duplicate"}
    report, = (kept.file for kept in survivor.pacs.objects.values()
               if (kept.study_instance_uid, kept.sop_class_uid) == (survivor.torn, Comprehensive3DSRStorage))
    evidence, = pydicom.dcmread(report).CurrentRequestedProcedureEvidenceSequence
    assert len(evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence) == IMAGES
