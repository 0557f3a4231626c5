from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from node.config import TriageModelSection
from node.domain import ModelImage, OperatingPoint, PromptSet
from node.errors import ConfigurationError, ModelOutputError, ModelUnavailable, Undecodable
from node.inference import torch_runtime
from node.inference.batching import BatchedTriage
from node.inference.identity import scorer_sha256
from node.inference.medsiglip import MedSigLIP
from node.inference.preprocessing import model_pixels
from node.inference.prompt_sets import load_prompt_set
from node.inference.torch_runtime import choose_device, choose_dtype
from node.interfaces import TriageModel
from tests.unit.tiny_models import SIDE, image, prompt_set_values, written

pytest_plugins = ["tests.unit.tiny_models"]


def load(directory: Path, prompt_set: PromptSet, cache: Path, allow_unvalidated: bool = False) -> MedSigLIP:
    section = TriageModelSection(checkpoint=str(directory), device="cpu")
    return MedSigLIP.load(section, prompt_set, cache, allow_unvalidated)


@pytest.fixture
def own_copy(medsiglip_directory: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(medsiglip_directory, tmp_path / "own"))


def test_a_score_is_the_two_way_softmax_of_the_whole_model(
    medsiglip_directory: Path, prompt_set: PromptSet, tmp_path: Path
) -> None:
    model: TriageModel = load(medsiglip_directory, prompt_set, tmp_path)
    square = image(1, side=SIDE)
    whole = AutoModel.from_pretrained(medsiglip_directory, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(medsiglip_directory)
    processor = AutoImageProcessor.from_pretrained(medsiglip_directory, backend="pil")
    with torch.inference_mode():
        pixels = processor(Image.fromarray(square.pixels), return_tensors="pt")["pixel_values"]
        seen = functional.normalize(whole.get_image_features(pixel_values=pixels).pooler_output, dim=-1)
        for finding in prompt_set.findings:
            logits = []
            for prompts in (finding.positive, finding.negative):
                ids = tokenizer(list(prompts), padding="max_length", max_length=16, return_tensors="pt")["input_ids"]
                each = functional.normalize(whole.get_text_features(input_ids=ids).pooler_output, dim=-1)
                mean = functional.normalize(each.mean(dim=0), dim=-1)
                logits.append(float(seen @ mean * whole.logit_scale.exp() + whole.logit_bias))
            expected = float(torch.tensor(logits).softmax(dim=0)[0])
            assert model.score([square])[0][finding.key] == pytest.approx(expected, abs=1e-5)


def test_scores_and_embedding_are_of_one_forward(
    medsiglip_directory: Path, prompt_set: PromptSet, tmp_path: Path
) -> None:
    model = load(medsiglip_directory, prompt_set, tmp_path)
    images = [image(seed) for seed in range(3)]
    for one, scores in zip(model.scored(images), model.score(images), strict=True):
        vector = np.frombuffer(one.embedding, "<f2").astype(np.float32)
        assert one.scores == scores and one.gate == {}
        assert vector.shape == (32,) and np.linalg.norm(vector) == pytest.approx(1, abs=1e-3)
        logits = torch.from_numpy(vector) @ model._contrast
        assert torch.sigmoid(logits).tolist() == pytest.approx(list(scores.values()), abs=1e-3)


@pytest.mark.parametrize("pooled", [float("nan"), float("inf"), 0.0])
def test_what_is_no_number_or_no_direction_is_a_failure_and_never_a_rank(
    medsiglip_directory: Path, prompt_set: PromptSet, tmp_path: Path, pooled: float
) -> None:
    model = load(medsiglip_directory, prompt_set, tmp_path)
    with torch.no_grad():
        for weight in model._tower.head.mlp.fc2.parameters():
            weight.fill_(pooled)
        model._tower.head.attention.out_proj.weight.fill_(0)
        model._tower.head.attention.out_proj.bias.fill_(0)
    with pytest.raises(ModelOutputError, match="not a number"):
        model.scored([image()])


def test_scores_come_back_in_order_whatever_the_batch(
    medsiglip_directory: Path, prompt_set: PromptSet, tmp_path: Path
) -> None:
    model = load(medsiglip_directory, prompt_set, tmp_path)
    images = [image(seed) for seed in range(20)]
    together = model.score(images)
    assert model.score([]) == []
    for one, alone in zip(together, (model.score([each])[0] for each in images), strict=True):
        assert one == pytest.approx(alone, abs=1e-5)
    assert len({round(scores["effusion"], 6) for scores in together}) > 1


def test_threads_may_score_at_the_same_time(medsiglip_directory: Path, prompt_set: PromptSet, tmp_path: Path) -> None:
    batched = BatchedTriage(load(medsiglip_directory, prompt_set, tmp_path))
    images = [image(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        scored = [scores for (scores,) in pool.map(lambda each: batched.score([each]), images)]
    expected = batched.score(images)
    batched.close()
    for one, other in zip(scored, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_a_bad_image_fails_only_its_own_caller(
    medsiglip_directory: Path, prompt_set: PromptSet, tmp_path: Path
) -> None:
    batched = BatchedTriage(load(medsiglip_directory, prompt_set, tmp_path))
    oblong = replace(image(1), pixels=np.zeros((4, 5, 3), np.uint8))
    with ThreadPoolExecutor(2) as pool:
        good, bad = pool.submit(batched.score, [image(0)]), pool.submit(batched.score, [oblong])
        assert good.result(30)
        with pytest.raises(Undecodable, match=r"instance 1\.2\.1: expected uint8"):
            bad.result(30)
    batched.close()


def test_cached_prompts_make_the_text_tower_unnecessary(own_copy: Path, prompt_set: PromptSet, tmp_path: Path) -> None:
    first = load(own_copy, prompt_set, tmp_path)
    (kept,) = (tmp_path / "prompt_vectors").glob("*.npz")
    # The vectors are named by the checkpoint's digest: without its tokenizer the folder has another one.
    (own_copy / "spiece.model").unlink()
    kept.rename(kept.with_stem(scorer_sha256(own_copy, prompt_set.sha256)))
    second = load(own_copy, prompt_set, tmp_path)
    assert second.score([image()]) == first.score([image()])
    parameters = sum(weight.numel() for weight in second._tower.parameters())
    assert parameters < sum(weight.numel() for weight in AutoModel.from_pretrained(own_copy).parameters()) * 0.7


def test_damaged_prompt_vectors_are_computed_again(
    medsiglip_directory: Path, prompt_set: PromptSet, tmp_path: Path
) -> None:
    first = load(medsiglip_directory, prompt_set, tmp_path)
    (kept,) = (tmp_path / "prompt_vectors").glob("*.npz")
    kept.write_bytes(kept.read_bytes()[:100])
    assert load(medsiglip_directory, prompt_set, tmp_path).score([image()]) == first.score([image()])


def test_without_matching_operating_points_the_model_is_in_shadow(
    own_copy: Path, prompt_set: PromptSet, tmp_path: Path
) -> None:
    points = {"effusion": {"present_above": 0.7, "absent_below": 0.3}}
    told = {"prompt_set": prompt_set.name, "scorer_sha256": "00" * 32, "points": points}
    file = own_copy / "operating_points.json"
    file.write_text(json.dumps(told))
    shadow = load(own_copy, prompt_set, tmp_path)
    assert not shadow.operating_points and "other weights" in shadow.shadow_reason

    file.write_text(json.dumps(told | {"scorer_sha256": scorer_sha256(own_copy, prompt_set.sha256)}))
    measured = load(own_copy, prompt_set, tmp_path)
    assert dict(measured.operating_points) == {"effusion": OperatingPoint(present_above=0.7, absent_below=0.3)}
    assert not measured.shadow_reason and not measured.unvalidated
    assert measured.identity.device_uid != shadow.identity.device_uid


def test_unvalidated_use_is_marked(medsiglip_directory: Path, prompt_set: PromptSet, tmp_path: Path) -> None:
    model = load(medsiglip_directory, prompt_set, tmp_path, allow_unvalidated=True)
    assert model.unvalidated and set(model.operating_points) == {"effusion", "pneumothorax"}
    assert model.demo and model.identity.name == "medsiglip-tiny"
    batched = BatchedTriage(model)
    assert batched.unvalidated and batched.identity == model.identity
    batched.close()


def test_a_prompt_that_the_model_cannot_read_whole_is_refused(medsiglip_directory: Path, tmp_path: Path) -> None:
    values = prompt_set_values()
    values["findings"][0]["positive"] = ["there is effusion " * 20]
    prompts = load_prompt_set(str(written(tmp_path, values)))
    with pytest.raises(ConfigurationError, match="the model reads 16; shorten it"):
        load(medsiglip_directory, prompts, tmp_path)


def test_prompts_that_are_the_same_to_the_model_are_refused(medsiglip_directory: Path, tmp_path: Path) -> None:
    values = prompt_set_values()
    values["findings"][0] |= {"positive": ["effusion present"], "negative": ["Effusion, present."]}
    prompts = load_prompt_set(str(written(tmp_path, values)))
    with pytest.raises(ConfigurationError, match="'effusion': positive and negative prompts are the same"):
        load(medsiglip_directory, prompts, tmp_path)


def test_unusable_weights_are_refused(own_copy: Path, prompt_set: PromptSet, tmp_path: Path) -> None:
    (own_copy / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelUnavailable, match=r"own: cannot be loaded"):
        load(own_copy, prompt_set, tmp_path)


def test_weights_of_another_shape_are_refused(own_copy: Path, prompt_set: PromptSet, tmp_path: Path) -> None:
    config = json.loads((own_copy / "config.json").read_text())
    config["vision_config"]["num_hidden_layers"] = 3
    (own_copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable, match="weights are missing"):
        load(own_copy, prompt_set, tmp_path)


def stripes(side: int) -> ModelImage:
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[:, 1::2] = 255
    return replace(image(), pixels=pixels)


def test_tf_resize_interpolates_between_two_pixels_only_and_truncates() -> None:
    # 4 to 2 pixels: centres fall half way between neighbours, so 0 and 255 give 127.5, truncated.
    assert np.unique(model_pixels(stripes(4), 2, "tf")).tolist() == [127]
    # 6 to 2 pixels: centres fall on pixels 1 and 4; without antialiasing the stripes alias.
    assert model_pixels(stripes(6), 2, "tf")[0, :, 0].tolist() == [255, 0]


def test_pil_resize_averages_over_all_pixels() -> None:
    assert set(np.unique(model_pixels(stripes(64), 4, "pil"))) <= set(range(120, 136))


def test_an_image_of_the_right_size_is_left_alone() -> None:
    square = image(side=SIDE)
    assert model_pixels(square, SIDE, "tf") is square.pixels


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint16), np.zeros((0, 0, 3), np.uint8)]
)
def test_pixels_of_another_form_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(Undecodable, match="expected uint8"):
        model_pixels(replace(image(), pixels=pixels), SIDE, "tf")


@pytest.mark.parametrize("setting", ["cuda:99", "toaster"])
def test_a_device_that_is_not_there_is_refused(setting: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"models\.triage\.device = '{setting}'"):
        choose_device(setting, "models.triage.device")


def test_a_small_model_runs_in_float32_on_a_cpu(medsiglip_directory: Path) -> None:
    assert choose_dtype("auto", torch.device("cpu"), medsiglip_directory) is torch.float32
    assert choose_dtype("bfloat16", torch.device("cpu"), medsiglip_directory) is torch.bfloat16
    assert choose_dtype("auto", torch.device("cuda"), medsiglip_directory) is torch.bfloat16


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """The folder of a checkpoint whose forward pass would take seconds on a CPU."""
    with (tmp_path / "model.safetensors").open("wb") as stream:
        stream.truncate(torch_runtime.LARGE_BYTES)
    return tmp_path


@pytest.mark.parametrize(("gain", "wanted"), [(2.0, torch.bfloat16), (1.1, torch.float32)])
@pytest.mark.parametrize("capable", [True, False])
def test_a_large_model_takes_bfloat16_on_a_cpu_that_has_it_and_gains_by_it(
    large: Path, monkeypatch: pytest.MonkeyPatch, gain: float, wanted: torch.dtype, capable: bool
) -> None:
    monkeypatch.setattr(torch_runtime, "cpu_has_bfloat16", lambda: capable)
    chosen = choose_dtype("auto", torch.device("cpu"), large, lambda: gain)
    assert chosen is (wanted if capable else torch.float32)
    assert choose_dtype("float32", torch.device("cpu"), large, lambda: gain) is torch.float32


def test_the_trial_compares_the_best_rounds_after_warming_up() -> None:
    times = iter([0.0, 0.0, *[0.0, 3.0, 3.0, 4.0] * torch_runtime.ROUNDS])
    assert torch_runtime.bfloat16_gain(lambda: next(times)) == 3.0


def test_threads_are_those_that_are_set() -> None:
    before = torch.get_num_threads()
    torch_runtime.set_threads(before + 1)
    assert torch.get_num_threads() == before + 1
    torch_runtime.set_threads(before)


def test_a_checkpoint_in_the_hubs_layout_loads(own_copy: Path, prompt_set: PromptSet, tmp_path: Path) -> None:
    expected = load(own_copy, prompt_set, tmp_path).score([image()])
    (own_copy / "processor_config.json").unlink()
    told = {"image_processor_type": "SiglipImageProcessor", "do_convert_rgb": None, "resample": 2}
    told |= {"size": {"height": SIDE, "width": SIDE}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (own_copy / "preprocessor_config.json").write_text(json.dumps(told))
    assert load(own_copy, prompt_set, tmp_path).score([image()]) == expected


def test_bfloat16_changes_a_score_by_little(medsiglip_directory: Path, prompt_set: PromptSet, tmp_path: Path) -> None:
    exact = load(medsiglip_directory, prompt_set, tmp_path).score([image()])[0]
    section = TriageModelSection(checkpoint=str(medsiglip_directory), device="cpu", dtype="bfloat16")
    short = MedSigLIP.load(section, prompt_set, tmp_path, False).score([image()])[0]
    assert short == pytest.approx(exact, abs=0.02)
