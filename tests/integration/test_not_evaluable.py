"""A shoe, a knee, a blank, a page of text, a child: not evaluable, with the reason, from arrival to worklist."""

from __future__ import annotations

import json
import threading
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage, VLPhotographicImageStorage

from node.app import Base, Models, note_refused
from node.config import Config
from node.database import audit_event, connect, metadata
from node.demo.phantom_dicom import decoy
from node.domain import DeliveryState, EntryState, Priority, ReportState
from node.roles import Role, take_slot
from tests.tools.instances import chest
from tests.tools.node_in_process import StraightNode
from tests.tools.radiographs import radiograph
from tests.tools.site import pipeline_for
from tests.tools.volumes import ct_slice
from tests.unit.test_plausibility import page

STUDY = "1.2.3"


def of_study(stored: np.ndarray) -> Dataset:  # type: ignore[type-arg]
    """Those pixels under the header of a chest radiograph of today."""
    image, header = radiograph(stored), chest(STUDY)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "StudyDate", "AccessionNumber"):
        setattr(image, keyword, header[keyword].value)
    return image


def knee() -> Dataset:
    image = decoy(3)
    image.StudyInstanceUID = STUDY
    return image


CASES: dict[str, tuple[Dataset, str]] = {
    "a shoe as a photograph": (chest(STUDY, SOPClassUID=VLPhotographicImageStorage, Modality="XC"), ""),
    "a shoe as a secondary capture": (chest(STUDY, SOPClassUID=SecondaryCaptureImageStorage, Modality="OT"), ""),
    "a knee": (knee(), "body part"),
    "a blank": (of_study(np.full((80, 80), 700, np.uint16)), "blank image: 99 % of its values lie between 700 and 700"),
    "a page of text": (of_study(page()), "looks like a page or a screen of text"),
    "a child": (chest(STUDY, PatientAge="009Y"), "age 9 years, needs 18 or over"),
}


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_said_about_it_and_the_reason_is_shown(name: str, sqlite_url: str, tmp_path: Path) -> None:
    image, reason = CASES[name]
    engine = connect(sqlite_url)
    metadata.create_all(engine)
    node = StraightNode(engine, tmp_path)
    entry = node.evaluate(image)
    assert (entry.state, entry.report_state, entry.delivery, entry.ai_priority) == (
        EntryState.NOT_EVALUABLE, ReportState.WITHHELD, DeliveryState.NONE, None)
    assert entry.reason and reason in entry.reason
    assert node.triage.calls == []
    engine.dispose()


def test_a_refused_prompt_set_leaves_its_studies_without_ai_and_the_others_alone(
    engine: sa.Engine, tmp_path: Path
) -> None:
    pipeline = pipeline_for("CT", tmp_path)
    node = StraightNode(
        engine, tmp_path, refused={pipeline["prompt_set"]: "'edema' turns round"}, pipelines=[{}, pipeline])
    volume = node.evaluate(ct_slice(
        np.arange(64, dtype=np.uint16).reshape(8, 8), 1, StudyInstanceUID="1.2.4", StudyDate=f"{date.today():%Y%m%d}"))
    assert (volume.state, volume.reason) == (
        EntryState.NOT_EVALUABLE, "the prompt set was refused: 'edema' turns round")
    assert (volume.report_state, volume.delivery, node.triage.calls) == (
        ReportState.WITHHELD, DeliveryState.NONE, [])
    assert node.evaluate(chest(STUDY)).state is EntryState.CONFIRMED


def test_an_image_that_arrives_for_a_refused_prompt_set_is_not_scored_early(engine: sa.Engine, tmp_path: Path) -> None:
    node = StraightNode(engine, tmp_path, refused={"demo-chest": "it inverts"})
    node.take(chest(STUDY))
    assert (node.actions(STUDY).count("stage.early"), node.triage.calls) == (1, [])
    node.complete()
    assert (node.entry(STUDY).state, node.entry(STUDY).priority) == (EntryState.NOT_EVALUABLE, Priority.ROUTINE)


def test_a_worker_notes_each_refused_prompt_set_once_in_the_audit(engine: sa.Engine, tmp_path: Path) -> None:
    base = Base(config=Config(node={"data_dir": tmp_path}), engine=engine, slot=take_slot(tmp_path, Role.WORKER),
                role=Role.WORKER, incarnation="", stopping=threading.Event(), failed=threading.Event())
    note_refused(base, Models(refused={"fundus": "it inverts"}))
    with engine.connect() as connection:
        (detail,) = connection.scalars(
            sa.select(audit_event.c.detail).where(audit_event.c.action == "prompt_set.refused"))
    assert json.loads(detail) == {"prompt_set": "fundus", "reason": "it inverts"}
