"""The demo findings model behind ``transformers serve``: what is found out about it, and that it says the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from node import checkup
from node.config import Config, FindingsModelSection, ModelsSection
from node.demo.phantom import draw
from node.domain import Abilities, ModelImage
from node.errors import ModelServerError
from node.inference.backends import opened
from node.inference.checkpoints import ModelKind, resolve_checkpoint
from node.inference.medgemma import MedGemma
from node.inference.prompt_sets import load_findings_prompt
from tests.tools import transformers_serve

PROMPT = load_findings_prompt("demo-chest-findings")


def chest(seed: int) -> ModelImage:
    grey = (draw(6_500_000 + seed, 256).image * 255).astype(np.uint8)
    pixels = np.repeat(grey[:, :, None], 3, axis=2)
    return ModelImage(pixels=pixels, sop_class_uid="1.2", sop_instance_uid=f"1.2.{seed}", series_instance_uid="1.2")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served")
    with transformers_serve.serving(resolve_checkpoint("demo", ModelKind.FINDINGS), folder) as found:
        yield found


def section(url: str, checkpoint: str = "demo") -> FindingsModelSection:
    return FindingsModelSection(backend="openai", url=url, checkpoint=checkpoint)


def test_it_is_found_out_that_replies_are_not_held_to_a_schema(url: str) -> None:
    served = opened(section(url), None, {})
    assert served.abilities == Abilities(json_schema=False, logprobs=False, several_images=True)
    assert "NOT held" in served.identity(PROMPT.sha256).engine


def test_the_same_studies_have_the_same_findings_in_the_worker_and_on_a_server(url: str) -> None:
    torch.set_num_threads(1)
    served, local = MedGemma(opened(section(url), None, {}), PROMPT), MedGemma.load(FindingsModelSection(), PROMPT)
    for seed in range(4):
        answers = [model.describe([chest(seed)]) for model in (served, local)]
        assert (answers[0].findings, answers[0].impression) == (answers[1].findings, answers[1].impression)
        assert answers[0].model.demo and answers[0].model.device_uid != answers[1].model.device_uid


def test_a_check_shows_what_the_server_is_able_to_do(url: str, tmp_path: Path) -> None:
    config = Config(models=ModelsSection(findings=section(url)))
    (line,) = [one for one in checkup.lines(config, store=False) if one.subject == "models.findings"]
    assert line.ok, line.text
    assert url in line.text and "replies NOT held to JSON schema" in line.text and "SYNTHETIC" in line.text


def test_a_name_that_the_server_does_not_know_is_an_error_that_says_so(url: str) -> None:
    with pytest.raises(ModelServerError, match="HTTP 4"):
        opened(section(url, "google/medgemma-4b-it"), None, {}).abilities  # noqa: B018
