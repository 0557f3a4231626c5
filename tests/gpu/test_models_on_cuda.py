"""The demo models on a CUDA device say what they say on the CPU. Run by ``make test-gpu``; fails without a device."""

from __future__ import annotations

from datetime import date
from functools import partial
from pathlib import Path

import pytest
import torch

from node import images
from node.config import FindingsModelSection, TriageModelSection
from node.demo.phantom_dicom import write_studies
from node.domain import ModelImage
from node.inference.forms import Graphed, quickest_on_cuda, sizes
from node.inference.medgemma import MedGemma
from node.inference.medsiglip import MedSigLIP
from node.inference.prompt_sets import load_findings_prompt, load_prompt_set
from node.inference.tower import pooled

pytestmark = pytest.mark.gpu

#: Of a score in 0..1 between float32 on the CPU and bfloat16 on the device.
TOLERANCE = 0.05


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[ModelImage]:
    folder = tmp_path_factory.mktemp("drawn")
    write_studies(folder, 4, 6_000_000, date.today())
    return [images.projection(file) for file in sorted(folder.glob("*.dcm"))]


def test_triage_scores_agree_with_the_cpu(drawn: list[ModelImage], tmp_path: Path) -> None:
    on = {device: MedSigLIP.load(TriageModelSection(device=device), load_prompt_set("demo-chest"), tmp_path, False)
          for device in ("cpu", "cuda")}
    assert on["cuda"].identity == on["cpu"].identity
    for cpu, cuda in zip(on["cpu"].score(drawn), on["cuda"].score(drawn), strict=True):
        assert cuda == pytest.approx(cpu, abs=TOLERANCE)


def test_every_form_of_a_tower_answers_alike(drawn: list[ModelImage], tmp_path: Path) -> None:
    model = MedSigLIP.load(TriageModelSection(device="cuda"), load_prompt_set("demo-chest"), tmp_path, False)
    tower = model._tower
    pixels = torch.rand((4, 3, model._side, model._side), device="cuda", dtype=tower.dtype)
    plain = partial(pooled, tower)
    with torch.inference_mode():
        expected = plain(pixels).float()
        for form in (Graphed(plain, sizes(4), pixels), torch.compile(plain, dynamic=True)):
            for count in (1, 3, 4):
                torch.testing.assert_close(form(pixels[:count]).float(), expected[:count], atol=0.05, rtol=0.05)
    assert quickest_on_cuda(tower, model._side, 4).rate > 0


def test_findings_are_a_valid_answer(drawn: list[ModelImage]) -> None:
    model = MedGemma.load(FindingsModelSection(device="cuda"), load_findings_prompt("demo-chest-findings"))
    assert model.describe(drawn[:1]).impression
