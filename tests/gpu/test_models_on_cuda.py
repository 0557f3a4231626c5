"""The demo models on a CUDA device say what they say on the CPU. Run by ``make test-gpu``; fails without a device."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from node import images
from node.config import FindingsModelSection, TriageModelSection
from node.demo.phantom_dicom import write_studies
from node.domain import ModelImage
from node.inference.medgemma import MedGemma
from node.inference.medsiglip import MedSigLIP
from node.inference.prompt_sets import load_findings_prompt, load_prompt_set

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


def test_findings_are_a_valid_answer(drawn: list[ModelImage]) -> None:
    model = MedGemma.load(FindingsModelSection(device="cuda"), load_findings_prompt("demo-chest-findings"))
    assert model.describe(drawn[:1]).impression
