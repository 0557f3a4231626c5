"""What each findings prompt sends. Only ``demo-chest-findings`` has a checkpoint that was taught to answer it; of the
others template, images, order of labels and schema are held here, with a model that writes down what it is asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import xgrammar

from node import checkup
from node.config import Config
from node.domain import (
    AnswerForm,
    Change,
    Criterion,
    FindingsPrompt,
    ModelImage,
    Presence,
    Question,
    Rendering,
    Showing,
    Side,
    Urgency,
)
from node.errors import ConfigurationError, ModelOutputError, ModelUnavailable, NotEvaluable
from node.inference.answer import schema
from node.inference.medgemma import MedGemma
from node.inference.prompt_sets import available_findings_prompts, load_findings_prompt, load_prompt_set
from tests.tools.recording_model import RecordingModel, report
from tests.unit.tiny_models import image, written

REAL = sorted(set(available_findings_prompts()) - {"demo-chest-findings"})
TRIAGE = {"chest-xray-report": "chest-xray", "chest-xray-comparison": "chest-xray", "ct-chest-report": "ct-chest",
          "dermatology-report": "dermatology", "fundus-grade": "fundus", "histopathology-report": "histopathology"}


def reader(name: str, model: RecordingModel | None = None) -> tuple[MedGemma, RecordingModel]:
    model = model or RecordingModel()
    return MedGemma(model, load_findings_prompt(name)), model


def content(question: Question) -> list[str]:
    return [part if isinstance(part, str) else f"image {part.sop_instance_uid}" for part in question.content]


def pictures(number: int) -> list[ModelImage]:
    return [image(seed) for seed in range(number)]


def sent(name: str, images: Sequence[ModelImage]) -> Question:
    found, _ = reader(name)
    return found.question(images, 10)


def test_there_is_a_prompt_for_every_kind_of_image() -> None:
    shown = {name: load_findings_prompt(name).images.shows for name in REAL}
    assert shown == {
        "chest-xray-comparison": Showing.PAIR, "chest-xray-report": Showing.IMAGE, "ct-chest-report": Showing.VOLUME,
        "dermatology-report": Showing.IMAGE, "fundus-grade": Showing.IMAGE, "histopathology-report": Showing.PATCHES,
        "mr-brain-report": Showing.VOLUME, "ultrasound-report": Showing.IMAGE}


@pytest.mark.parametrize("name", REAL)
def test_the_question_comes_last_and_names_every_word(name: str) -> None:
    prompt = load_findings_prompt(name)
    last = content(sent(name, pictures(prompt.images.at_most)[:3]))[-1]
    assert all(word in last for word in prompt.vocabulary) and "{" not in last


@pytest.mark.parametrize("name", REAL)
def test_the_schema_can_be_a_grammar_and_allows_only_the_words(name: str) -> None:
    prompt = load_findings_prompt(name)
    asked = sent(name, pictures(1)).json_schema
    assert asked == schema(prompt.vocabulary, prompt.answer)
    text = json.dumps(asked)
    assert json.dumps(list(prompt.vocabulary)) in text and "Length" not in text
    xgrammar.Grammar.from_json_schema(text, any_whitespace=False, separators=(",", ":"))


@pytest.mark.parametrize(("name", "triage"), TRIAGE.items())
def test_words_mean_findings_of_the_triage_set(name: str, triage: str) -> None:
    keys = {finding.key for finding in load_prompt_set(triage).findings}
    assert set(load_findings_prompt(name).vocabulary.values()) <= keys


def test_a_single_image_has_no_label_and_comes_first() -> None:
    assert [part.startswith("image") for part in content(sent("chest-xray-report", pictures(1)))] == [True, False]


def test_an_earlier_image_goes_before_the_current_one_and_the_question_after_both() -> None:
    first, second, text = content(sent("chest-xray-comparison", pictures(2)))
    assert (first, second) == ("image 1.2.0", "image 1.2.1")
    assert text.startswith("Provide a comparison of these two images and include details from the image which "
                           "students should take note of when reading longitudinal CXR.")


@pytest.mark.parametrize(("name", "rendering"), [
    ("ct-chest-report", Rendering.CT_WINDOWS), ("mr-brain-report", Rendering.ACQUISITION_RANGE)])
def test_the_label_of_a_slice_follows_it(name: str, rendering: Rendering) -> None:
    shown = load_findings_prompt(name).images
    assert (shown.rendering, shown.at_most) == (rendering, 85)
    opening, *slices, question = content(sent(name, pictures(85)))
    assert "The question comes after the last slice." in opening and question.startswith("These were all slices")
    assert slices[:4] == ["image 1.2.0", "SLICE 1", "image 1.2.1", "SLICE 2"]
    assert slices[-2:] == ["image 1.2.84", "SLICE 85"] and len(slices) == 170


def test_patches_are_of_896_pixels_and_labelled() -> None:
    shown = load_findings_prompt("histopathology-report").images
    assert (shown.patch, shown.microns) == (896, 1.0)
    assert content(sent("histopathology-report", pictures(2)))[1:5] == [
        "image 1.2.0", "PATCH 1", "image 1.2.1", "PATCH 2"]


def test_a_model_makes_room_for_as_many_images_as_a_prompt_may_have() -> None:
    _, model = reader("ct-chest-report")
    (prepared,) = model.prepared
    assert (len(prepared.images), prepared.max_new_tokens) == (85, 2000)


def answered(name: str, text: str) -> Any:
    found, _ = reader(name, RecordingModel(replies=lambda _: text))
    return found.describe(pictures(2 if "comparison" in name else 1))


def test_a_report_has_an_urgency() -> None:
    told = answered("chest-xray-report", report("pleural effusion", urgency="urgent"))
    assert told.urgency is Urgency.URGENT and told.findings[0].finding == "effusion"
    with pytest.raises(ModelOutputError, match="urgency: Field required"):
        answered("chest-xray-report", report())


def test_a_comparison_is_better_same_or_worse_per_finding() -> None:
    changes = [{"finding": "pleural effusion", "change": "worse"}, {"finding": "pneumothorax", "change": "same"}]
    told = answered("chest-xray-comparison", json.dumps({"changes": changes, "impression": "Larger effusion."}))
    assert [(one.finding, one.change) for one in told.changes] == [
        ("effusion", Change.WORSE), ("pneumothorax", Change.SAME)]
    assert told.findings == ()
    with pytest.raises(ModelOutputError, match="a finding occurs twice"):
        answered("chest-xray-comparison", json.dumps({"changes": changes[:1] * 2, "impression": "Larger."}))


def test_a_skin_lesion_has_five_criteria() -> None:
    words = {"asymmetry": "present", "border": "present", "color": "absent", "diameter": "not assessable",
             "evolution": "not assessable"}
    told = answered("dermatology-report", report("melanoma", **words))
    assert dict(told.criteria) == {name: Criterion(word) for name, word in words.items()}


@pytest.mark.parametrize(("gradable", "findings"), [("yes", ["severe_retinopathy"]), ("no", [])])
def test_a_grade_is_a_finding_and_an_image_that_cannot_be_graded_has_none(gradable: str, findings: list[str]) -> None:
    told = answered("fundus-grade", json.dumps({
        "gradable": gradable, "grade": "severe nonproliferative diabetic retinopathy", "certainty": "probable",
        "impression": "Many hemorrhages.", "recommendation": ""}))
    assert [one.finding for one in told.findings] == findings
    assert all(one.presence is Presence.PRESENT and one.side is Side.NONE for one in told.findings)


def test_a_word_of_another_prompt_is_refused() -> None:
    with pytest.raises(ModelOutputError, match="not in the vocabulary"):
        answered("chest-xray-report", report("lung nodule", urgency="routine"))


def test_a_comparison_needs_two_images_and_no_prompt_gets_more_than_it_asks_for() -> None:
    pair, model = reader("chest-xray-comparison")
    with pytest.raises(NotEvaluable, match="compares an earlier image with the current one"):
        pair.describe(pictures(1))
    one, _ = reader("chest-xray-report")
    with pytest.raises(NotEvaluable, match="2 images for prompt 'chest-xray-report', which is about 1 at most"):
        one.describe(pictures(2))
    assert model.asked == []


def test_a_server_that_takes_one_image_gets_no_volume() -> None:
    model = RecordingModel()
    model.abilities = type(model.abilities)(json_schema=True, logprobs=True, several_images=False)
    volume, _ = reader("ct-chest-report", model)
    with pytest.raises(ModelOutputError, match="takes one image in a question, prompt 'ct-chest-report' has 3"):
        volume.describe(pictures(3))
    assert model.asked == []


def test_a_demo_model_is_asked_no_real_prompt() -> None:
    with pytest.raises(ModelUnavailable, match=r"recording is a demo model.*'chest-xray-report' needs a real"):
        reader("chest-xray-report", RecordingModel(demo=True))


def test_the_check_says_which_pipeline_asks_what_the_checkpoint_cannot_answer(tmp_path: Path) -> None:
    many = {"images": {"shows": "patches", "at_most": 125}, "max_new_tokens": 8000}
    file = written(tmp_path, VALUES | many)
    config = Config(pipelines=[{"name": "slides", "findings_prompt": str(file)},
                               {"name": "chest", "findings_prompt": "demo-chest-findings"},
                               {"name": "ct", "findings_prompt": "ct-chest-report"}])
    slides, chest, ct = checkup._findings_prompts(config)
    assert (slides.ok, slides.subject) == (False, "pipeline slides, findings")
    assert "125 images, question and reply need " in slides.text and "lower images.at_most" in slides.text
    assert chest.ok and "1 image(s) at most" in chest.text
    assert not ct.ok and "is a demo model" in ct.text


def test_the_demo_prompt_is_what_the_demo_checkpoint_was_taught() -> None:
    told = load_findings_prompt("demo-chest-findings")
    assert told.sha256 == "daf7364871aef3b5d25cd6fe19e050717300fdb8b27b0cadf845065a59122086"
    assert (told.answer, told.yes_no, told.with_order, told.opening) == (AnswerForm.FINDINGS, "", "", "")


VALUES: dict[str, Any] = {"name": "own", "version": "1", "demo": True, "instruction": "Say.", "max_new_tokens": 9}


def own(tmp_path: Path, **values: Any) -> FindingsPrompt:
    return load_findings_prompt(str(written(tmp_path, VALUES | values)))


@pytest.mark.parametrize(("values", "message"), [
    ({"images": {"shows": "pair"}}, "shows: pair and answer: comparison go together"),
    ({"answer": "comparison"}, "shows: pair and answer: comparison go together"),
    ({"images": {"shows": "volume", "at_most": 9}}, "'rendering' .* goes with shows: volume"),
    ({"images": {"rendering": "ct_windows"}}, "'rendering' .* goes with shows: volume"),
    ({"images": {"at_most": 3}}, "shows: image is always 1"),
    ({"images": {"shows": "patches", "at_most": 500}}, "images.at_most = 500"),
    ({"yes_no": "Is it there?"}, "yes_no: needs {} once"),
    ({"with_order": "Consider {} and {}."}, "with_order: needs {} once"),
    ({"vocabulary": {}}, "vocabulary = {}"),
    ({"answer": "essay"}, "answer = 'essay'"),
])
def test_a_file_whose_parts_do_not_fit_is_refused(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        own(tmp_path, **values)


def test_another_byte_is_another_prompt(tmp_path: Path) -> None:
    assert own(tmp_path, version="2").sha256 != own(tmp_path).sha256
