"""Volumes are scored when their series is quiet, and again, with more slices, when their study is complete."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from node.domain import EntryState, Priority
from node.quiet_series import EARLY_PRIORITY, EARLY_SERIES
from tests.tools.instances import chest
from tests.tools.node_in_process import StraightNode
from tests.tools.site import pipeline_for
from tests.tools.volumes import ct_slice

STUDY = "1.2.3"
Make = Callable[..., StraightNode]


def slices(first: int, last: int, **attributes: Any) -> list[Dataset]:
    """Slices of one axial CT of today."""
    stated = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": f"{STUDY}.9", "StudyDate": f"{date.today():%Y%m%d}"}
    stored = np.arange(64, dtype=np.uint16).reshape(8, 8) * 16
    return [ct_slice(stored + number, number, SOPInstanceUID=f"{STUDY}.{number}", **{**stated, **attributes})
            for number in range(first, last + 1)]


@pytest.fixture
def make(engine: sa.Engine, tmp_path: Path) -> Make:
    """A node for CT on both databases: eight slices of a volume, two of them early."""
    triage = {"max_images": 8, "early_images": 2}
    return lambda **sections: StraightNode(engine, tmp_path, **{
        "pipelines": [pipeline_for("CT", tmp_path)], "models": {"triage": triage}, **sections})


def test_a_quiet_series_is_flagged_by_a_few_slices_and_confirmed_by_more(make: Make) -> None:
    node = make()
    node.triage.present = {"pneumothorax"}
    node.take(*slices(1, 40))
    assert node.entry(STUDY).state is EntryState.RECEIVING
    assert node.early() == [EARLY_SERIES]
    entry = node.entry(STUDY)
    assert (entry.state, entry.priority, node.dossier(STUDY)["images_analysed"]) == (
        EntryState.PROVISIONAL, Priority.STAT, 2)
    assert [len(uids) for uids, _ in node.triage.calls] == [2]
    node.complete()
    assert [len(uids) for uids, _ in node.triage.calls] == [2, 6]
    assert (node.entry(STUDY).state, node.dossier(STUDY)["images_analysed"]) == (EntryState.CONFIRMED, 8)
    assert "8 of 40 slices of the main acquisition were analysed, evenly spread." in node.dossier(STUDY)["remarks"]


def test_series_besides_the_main_acquisition_are_told_as_not_analysed(make: Make) -> None:
    node = make()
    other = slices(31, 33, SeriesInstanceUID=f"{STUDY}.8", SeriesNumber="8")
    node.evaluate(*slices(1, 20), *other)
    notes = node.dossier(STUDY)
    assert (notes["images"]["series"], notes["images"]["series_evaluated"]) == (2, 1)
    assert "1 of 2 series were analysed." in notes["remarks"]
    assert all("1 of 2 series were analysed." in one.to_json() for one in node.reports(STUDY))


def test_what_changed_is_shown_when_the_result_is_confirmed(make: Make) -> None:
    node = make()
    node.triage.by_image = {f"{STUDY}.20": {"pneumothorax": 0.9}, f"{STUDY}.1": {"edema": 0.5}}
    node.take(*slices(1, 20))
    node.early()
    assert node.entry(STUDY).ai_priority is Priority.ROUTINE
    node.complete()
    changed = node.dossier(STUDY)["changed"]
    assert changed["priority"] == {"from": "ROUTINE", "to": "STAT"}
    assert [(one["finding"], one["from"], one["to"]) for one in changed["findings"]] == [
        ("pneumothorax", "absent", "present"), ("edema", "absent", "undetermined")]
    assert node.run_of(STUDY).results["rank"]["changed"] == changed


def test_a_result_that_was_never_provisional_did_not_change(make: Make) -> None:
    node = make()
    node.evaluate(*slices(1, 4))
    assert node.dossier(STUDY)["changed"] == {}


def test_a_series_is_put_forward_once_for_what_it_has(make: Make) -> None:
    node = make()
    node.take(*slices(1, 4))
    assert node.early() == [EARLY_SERIES]
    assert node.early() == []
    node.take(*slices(5, 6))
    assert node.quiet_series.put_forward() == 0  # not quiet yet
    assert node.early() == [EARLY_SERIES]


def test_a_study_that_was_completed_meanwhile_is_left_to_its_version(make: Make) -> None:
    node = make()
    node.take(*slices(1, 4))
    node.quiet()
    assert node.quiet_series.put_forward() == 1
    assert node.versions.complete_due() == 1
    node.jobs.run()
    assert node.actions(STUDY).count("stage.early") == 1
    assert [priority for _, priority in node.triage.calls] == [Priority.ROUTINE]


def test_early_slices_run_behind_what_is_complete_and_before_what_is_old() -> None:
    assert Priority.ROUTINE < EARLY_PRIORITY < Priority.HISTORICAL


def test_under_load_what_is_complete_runs_before_early_slices(make: Make) -> None:
    node = make()
    node.take(*slices(1, 4, StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.9.9"))
    node.early()
    node.clock.wait(node.config.study.quiet_seconds - 2 * node.config.study.series_quiet_seconds)
    node.take(*slices(11, 14))
    node.clock.wait(node.config.study.series_quiet_seconds)
    assert (node.quiet_series.put_forward(), node.versions.complete_due()) == (1, 1)
    ran = node.jobs.run()
    assert ran[0] == "plan" and ran[-1] == EARLY_SERIES
    assert node.entry("1.2.9").state is EntryState.CONFIRMED


def test_a_projection_of_a_study_that_has_its_rank_is_not_scored_early(make: Make) -> None:
    node = make(pipelines=[{"name": "chest"}])
    assert node.evaluate(chest("1.2.4")).state is EntryState.CONFIRMED
    scored, early = len(node.triage.calls), node.jobs.stages["early"]
    arguments = {"instance_id": 1, "study_instance_uid": "1.2.4", "priority": int(Priority.ROUTINE)}
    assert early.work({**arguments, "version": 1}) == {"end": True, "reason": "the study has its rank"}
    assert len(node.triage.calls) == scored
    assert "scores" in early.work({**arguments, "version": 2})  # of a late image, for the version to come


def test_neither_projections_nor_what_no_model_may_see_are_scored_again(make: Make) -> None:
    node = make(pipelines=[{"name": "chest"}])
    node.take(chest("1.2.4"), *slices(1, 4))
    assert node.early() == [EARLY_SERIES]
    assert [uids for uids, _ in node.triage.calls] == [["1.2.4.1"]]
    assert node.entry(STUDY).state is EntryState.RECEIVING


def test_a_localiser_and_a_second_acquisition_are_said_not_to_be_analysed(make: Make) -> None:
    node = make()
    scout = slices(90, 90, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    node.take(*slices(1, 6), *scout, *slices(50, 52, AcquisitionNumber=2))
    node.complete()
    remarks = " ".join(node.dossier(STUDY)["remarks"])
    assert "1 other acquisition was not analysed." in remarks
    assert "1 of 10 images were not evaluated: localizer." in remarks
