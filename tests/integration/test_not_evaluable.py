"""A shoe, a knee, a blank, a page of text, a child: not evaluable, with the reason, from arrival to worklist."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage, VLPhotographicImageStorage

from node.database import connect, metadata
from node.demo.phantom_dicom import decoy
from node.domain import DeliveryState, EntryState, ReportState
from tests.tools.instances import chest
from tests.tools.node_in_process import StraightNode
from tests.tools.radiographs import radiograph
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
