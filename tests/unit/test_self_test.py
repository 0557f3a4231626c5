"""The self-test of a prompt set: what is turned round, blind or not told apart is refused."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from node.config import TriageModelSection
from node.domain import Gate, GateDomain, PromptSet
from node.errors import ConfigurationError
from node.inference import self_test
from node.inference.medsiglip import MedSigLIP
from node.inference.prompt_sets import load_prompt_set
from tests.unit.tiny_models import SIDE, image

pytest_plugins = ["tests.unit.tiny_models"]

DEMO = load_prompt_set("demo-chest")
GATE = Gate(accepted=("chest",), margin=0.0, domains=(
    GateDomain(key="chest", name="a chest", prompts=("effusion present",)),
    GateDomain(key="knee", name="a knee", prompts=("no pneumothorax",))))


def load(directory: Path, prompt_set: PromptSet, cache: Path) -> MedSigLIP:
    return MedSigLIP.load(TriageModelSection(checkpoint=str(directory), device="cpu"), prompt_set, cache, False)


def paraphrased(prompt_set: PromptSet, positive: tuple[str, ...], negative: tuple[str, ...]) -> PromptSet:
    first, *others = prompt_set.findings
    changed = replace(first, paraphrase_positive=positive, paraphrase_negative=negative)
    return replace(prompt_set, findings=(changed, *others))


def test_a_paraphrase_that_means_the_same_passes(
    medsiglip_directory: Path, prompt_set: PromptSet, tmp_path: Path
) -> None:
    first = prompt_set.findings[0]
    load(medsiglip_directory, paraphrased(prompt_set, first.positive[:1], first.negative[:1]), tmp_path)


def test_a_paraphrase_that_turns_the_score_round_is_refused_at_every_start(
    medsiglip_directory: Path, prompt_set: PromptSet, tmp_path: Path
) -> None:
    first = prompt_set.findings[0]
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"'tiny', finding 'effusion': said in other words .* turns round"):
            load(medsiglip_directory, paraphrased(prompt_set, first.negative, first.positive), tmp_path)


@pytest.mark.parametrize(("cosine", "refused"), [(1.0, False), (0.12, False), (0.08, True), (-0.5, True)])
def test_contrasts_have_to_go_together_by_the_stated_cosine(cosine: float, refused: bool) -> None:
    own = np.array([1, 0], np.float32)
    other = np.array([cosine, (1 - cosine**2) ** 0.5], np.float32)
    expected = pytest.raises(ConfigurationError, match=f"contrasts {cosine:.2f}, at least 0.1")
    with expected if refused else nullcontext():
        self_test.check_paraphrase(DEMO, "edema", own, other)


def test_a_paraphrase_without_direction_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"cosine of the contrasts 0\.00"):
        self_test.check_paraphrase(DEMO, "edema", np.ones(3, np.float32), np.zeros(3, np.float32))


def test_a_probe_image_has_to_score_above_every_other() -> None:
    self_test.check_probes(DEMO, ("edema", ""), [{"edema": 0.6}, {"edema": 0.5}])
    with pytest.raises(ConfigurationError, match=r"'edema': the probe image that shows it scores 0\.40, .* 0\.50"):
        self_test.check_probes(DEMO, ("edema", ""), [{"edema": 0.4}, {"edema": 0.5}])


def test_probe_images_beside_the_file_are_scored_at_load(
    medsiglip_directory: Path, prompt_set: PromptSet, tmp_path: Path
) -> None:
    model = load(medsiglip_directory, prompt_set, tmp_path)
    planes = np.stack([image(seed, side=SIDE).pixels[..., 0] for seed in (1, 2)])
    shown = self_test.Probes(pixels=planes, shows=("effusion", "")).images()
    high, low = (scores["effusion"] for scores in model.score(shown))
    assert prompt_set.probes is not None
    np.savez(prompt_set.probes, pixels=planes, shows=["effusion", ""] if high > low else ["", "effusion"])
    load(medsiglip_directory, prompt_set, tmp_path)
    np.savez(prompt_set.probes, pixels=planes, shows=["", "effusion"] if high > low else ["effusion", ""])
    with pytest.raises(ConfigurationError, match="the probe image that shows it"):
        load(medsiglip_directory, prompt_set, tmp_path)


@pytest.mark.parametrize("arrays", [
    {"pixels": np.zeros((1, 8, 8), np.uint8)}, {"pixels": np.zeros((1, 8, 8)), "shows": ["a"]},
    {"pixels": np.zeros((2, 8, 8), np.uint8), "shows": ["a"]}])
def test_probe_images_of_another_form_are_refused(tmp_path: Path, arrays: dict[str, object]) -> None:
    file = tmp_path / "own.probes.npz"
    np.savez(file, **arrays)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"own\.probes\.npz"):
        self_test.probes(file)


def test_a_demo_model_is_gated_by_the_header_alone(
    medsiglip_directory: Path, prompt_set: PromptSet, tmp_path: Path
) -> None:
    (scored,) = load(medsiglip_directory, replace(prompt_set, gate=GATE), tmp_path).scored([image()])
    assert scored.gate == {}


def test_a_model_of_more_than_phantoms_says_what_kind_of_picture_it_sees(
    medsiglip_directory: Path, prompt_set: PromptSet, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for file in medsiglip_directory.iterdir():
        if file.name != "ainode.json":
            (own / file.name).write_bytes(file.read_bytes())
    for _ in range(2):  # embedded, then from the cache
        (scored,) = load(own, replace(prompt_set, gate=GATE), tmp_path).scored([image()])
        assert set(scored.gate) == {"chest", "knee"}
        assert sum(scored.gate.values()) == pytest.approx(1)
