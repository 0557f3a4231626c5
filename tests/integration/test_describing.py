"""What the findings stage asks, by prompt: images as stored, the run that knows the order, and second ranks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from node.database import audit_event, connect, metadata
from node.domain import Abilities, FindingsState, ModelImage, Presence, Question, WorklistEntry
from node.inference.medgemma import MedGemma
from node.inference.prompt_sets import load_findings_prompt
from tests.integration.test_priors import EARLIER, SOURCE, Site
from tests.tools.instances import chest
from tests.tools.node_in_process import StraightNode
from tests.tools.recording_model import RecordingModel, report
from tests.tools.site import pipeline_for
from tests.tools.slides import level, stained
from tests.tools.volumes import ct_slice

STUDY = "1.2.3"
Make = Callable[..., StraightNode]
CHEST = {"prompt_set": "demo-chest", "findings_prompt": "chest-xray-report"}


def replies(question: Question) -> str:
    """An effusion; a pneumothorax too where an order speaks of one."""
    words = ["pleural effusion", *(["pneumothorax"] if "pneumothorax?" in str(question.content[-1]) else [])]
    return report(*words, urgency="urgent")


@pytest.fixture
def model() -> RecordingModel:
    return RecordingModel(replies=replies, yes={"pleural effusion": 0.9})


@pytest.fixture
def make(sqlite_url: str, tmp_path: Path, model: RecordingModel) -> Iterator[Make]:
    """Makes a node with one pipeline that asks ``model``."""
    engine = connect(sqlite_url)
    metadata.create_all(engine)

    def made(pipeline: dict[str, Any], **sections: Any) -> StraightNode:
        reader: Any = MedGemma(model, load_findings_prompt(pipeline["findings_prompt"]))
        node = StraightNode(engine, tmp_path, findings=reader, pipelines=[pipeline], **sections)
        node.triage.present = {"effusion"}
        return node

    yield made
    engine.dispose()


def shown(question: Question) -> list[ModelImage | str]:
    return [part for part in question.content[:-1] if isinstance(part, ModelImage) or "SLICE" in part]


def findings_event(node: StraightNode) -> Any:
    with node.engine.connect() as connection:
        query = sa.select(audit_event.c.detail).where(audit_event.c.action == "stage.findings")
        return json.loads(connection.scalars(query).one())


def volume(count: int, **attributes: Any) -> list[Dataset]:
    """Slices of one axial CT of today, slice n at n - 200 HU everywhere."""
    return [ct_slice(np.full((8, 8), 824 + number, np.uint16), number, StudyInstanceUID=STUDY, PatientName="A^B",
                     PatientID="P1", StudyDate=f"{date.today():%Y%m%d}", **attributes)
            for number in range(1, count + 1)]


def test_a_ct_is_shown_in_three_windows_with_a_label_after_each_of_85_slices(
    make: Make, model: RecordingModel, tmp_path: Path
) -> None:
    node = make({**pipeline_for("CT", tmp_path), "findings_prompt": "ct-chest-report"})
    node.evaluate(*volume(100))
    asked = shown(model.asked[0])
    assert asked[1::2] == [f"SLICE {number}" for number in range(1, 86)]
    pixels = [image.pixels[0, 0].tolist() for image in asked[::2] if isinstance(image, ModelImage)]
    numbers = [1 + round(step / 85 * 99) for step in range(1, 86)]
    windows = ((-1024, 1024), (-135, 215), (0, 80))
    assert pixels == [[int(np.rint(np.clip((number - 200 - low) / (high - low), 0, 1) * 255))
                       for low, high in windows] for number in numbers]
    assert findings_event(node)["images"] == 85
    (evidence,) = node.reports(STUDY)[0].CurrentRequestedProcedureEvidenceSequence
    named = {str(one.ReferencedSOPInstanceUID) for series in evidence.ReferencedSeriesSequence
             for one in series.ReferencedSOPSequence}
    assert named >= {image.sop_instance_uid for image in model.asked[0].images}
    assert node.entry(STUDY).findings_state is FindingsState.DONE


def test_values_that_are_no_hounsfield_units_are_not_asked_about(
    make: Make, model: RecordingModel, tmp_path: Path
) -> None:
    node = make({**pipeline_for("CT", tmp_path), "findings_prompt": "ct-chest-report"})
    entry = node.evaluate(*volume(4, RescaleType="US"))
    assert (entry.findings_state, model.asked) == (FindingsState.WITHHELD, [])
    assert "the windows are for Hounsfield units" in node.dossier(STUDY)["findings_reason"]
    assert entry.report_state.value == "written"


def test_a_prompt_about_a_volume_is_not_asked_about_a_radiograph(make: Make, model: RecordingModel) -> None:
    node = make({**CHEST, "findings_prompt": "ct-chest-report"})
    assert node.evaluate(chest(STUDY)).findings_state is FindingsState.WITHHELD
    assert node.dossier(STUDY)["findings_reason"] == (
        "prompt 'ct-chest-report' is about a volume, and the study has none")
    assert model.asked == []


def test_patches_are_cut_as_the_prompt_says_whatever_triage_takes(
    make: Make, model: RecordingModel, tmp_path: Path
) -> None:
    node = make({**pipeline_for("SM", tmp_path), "findings_prompt": "histopathology-report"})
    node.triage.takes = 16
    model.replies = lambda _: report("malignancy")
    node.evaluate(level(stained(64, 64), 64, 1.0, 1, StudyInstanceUID=STUDY, PatientName="S^O", PatientID="S1",
                        StudyDate=f"{date.today():%Y%m%d}"))
    (image,) = model.asked[0].images
    assert image.pixels.shape == (896, 896, 3)


def ordered(make: Make, *, context: bool = True, **attributes: Any) -> tuple[StraightNode, WorklistEntry]:
    node = make(CHEST, models={"findings": {"context": context}})
    told = {"ReasonForTheRequestedProcedure": "pneumothorax?", "PatientAge": "063Y", **attributes}
    return node, node.evaluate(chest(STUDY, **told))


def test_without_the_setting_the_model_is_told_nothing_of_the_order(make: Make, model: RecordingModel) -> None:
    node, _ = ordered(make, context=False)
    (asked,) = model.asked
    assert "pneumothorax?" not in str(asked.content) and "with_order" not in node.dossier(STUDY)


def test_a_finding_that_needs_the_order_is_flagged_and_is_never_present(make: Make, model: RecordingModel) -> None:
    node, entry = ordered(make)
    first, second = model.asked
    assert first.images[0].pixels is second.images[0].pixels
    assert "pneumothorax?" not in str(first.content[-1]) and "pneumothorax?" in str(second.content[-1])
    assert node.finding(STUDY, "pneumothorax").presence is not Presence.PRESENT
    assert [one.finding for one in entry.findings if one.presence is Presence.PRESENT] == ["effusion"]
    notes = node.dossier(STUDY)
    assert notes["with_order"]["context_only"] == ["pneumothorax"]
    assert any(remark.startswith("Named only when the order was known") for remark in notes["remarks"])
    event = findings_event(node)
    assert event["with_order"]["context_only"] == ["pneumothorax"]
    assert set(event["with_order"]["told"]) >= {"age", "indication"} and "pneumothorax?" not in str(event)


def test_an_order_that_names_the_patient_is_told_without_the_name(make: Make, model: RecordingModel) -> None:
    ordered(make, PatientName="Doe^Jane", PatientID="X-4711", ReasonForTheRequestedProcedure="Jane Doe X-4711 cough",
            PatientBirthDate="19630402")
    text = str(model.asked[1].content[-1])
    assert "cough" in text and not any(secret in text for secret in ("Jane", "Doe", "4711", "1963"))


def test_the_second_run_may_fail_and_changes_nothing(make: Make, model: RecordingModel) -> None:
    model.replies = lambda question: "no JSON" if "pneumothorax?" in str(question.content[-1]) else replies(question)
    node, entry = ordered(make)
    assert entry.findings_state is FindingsState.DONE
    assert node.dossier(STUDY)["with_order"]["state"] == "failed"


def test_yes_ranks_stand_in_dossier_and_audit_with_the_model_that_gave_them(
    make: Make, model: RecordingModel
) -> None:
    node = make(CHEST)
    node.evaluate(chest(STUDY))
    notes, event = node.dossier(STUDY), findings_event(node)
    ranks = notes["yes_ranks"]
    assert (ranks["is"], ranks["by_finding"]["effusion"], ranks["withheld"]) == ("a rank, not a probability", 0.9, "")
    assert ranks["model_sha256"] == event["model_sha256"] and event["yes_ranks"] == ranks["by_finding"]
    assert event["prompt"] == notes["findings_prompt"] == {
        "name": "chest-xray-report", "version": "1", "sha256": load_findings_prompt("chest-xray-report").sha256}
    assert notes["urgency"] == "urgent"


def test_yes_ranks_are_withheld_where_the_backend_tells_no_likelihoods(make: Make, model: RecordingModel) -> None:
    model.abilities = Abilities(json_schema=True, logprobs=False, several_images=True)
    node = make(CHEST)
    assert node.evaluate(chest(STUDY)).findings_state is FindingsState.DONE
    ranks = node.dossier(STUDY)["yes_ranks"]
    assert (ranks["by_finding"], ranks["withheld"]) == ({}, "recording: does not tell how likely a word is")


def test_no_comparison_is_asked_without_an_earlier_study(make: Make, model: RecordingModel) -> None:
    node = make({**CHEST, "comparison_prompt": "chest-xray-comparison"})
    reader: Any = MedGemma(model, load_findings_prompt("chest-xray-comparison"))
    node.desk.findings_models["chest-xray-comparison"] = reader  # type: ignore[index]
    node.evaluate(chest(STUDY))
    assert len(model.asked) == 1
    assert node.dossier(STUDY)["comparison"] == {"state": "withheld", "reason": "nobody was asked for an earlier study"}


def test_an_earlier_image_is_compared_with_the_current_one_in_time_order(
    make: Make, model: RecordingModel, tmp_path: Path
) -> None:
    changes = json.dumps({"changes": [{"finding": "pleural effusion", "change": "worse"}],
                          "impression": "The pleural effusion is larger than before."})
    model.replies = lambda question: changes if len(question.images) == 2 else replies(question)
    node = make({**CHEST, "comparison_prompt": "chest-xray-comparison"}, priors=[SOURCE])
    reader: Any = MedGemma(model, load_findings_prompt("chest-xray-comparison"))
    node.desk.findings_models["chest-xray-comparison"] = reader  # type: ignore[index]
    site = Site(node.engine, tmp_path, node)
    site.evaluate()
    assert [image.sop_instance_uid for image in model.asked[-1].images] == [f"{EARLIER}.7", f"{STUDY}.1"]
    told = site.node.dossier(STUDY)["comparison"]
    assert (told["state"], told["changes"]) == ("done", {"effusion": "worse"})
    assert told["earlier"]["study_instance_uid"] == EARLIER and told["impression"].startswith("The pleural effusion")
    assert findings_event(site.node)["comparison"]["earlier"]["sop_instance_uid"] == f"{EARLIER}.7"
