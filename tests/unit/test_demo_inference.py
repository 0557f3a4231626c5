"""The shipped demo models, loaded and asked as the node does it, about chests drawn for nobody else."""

from __future__ import annotations

import numpy as np
import pytest

from node.config import FindingsModelSection, TriageModelSection
from node.demo import vocabulary
from node.demo.phantom import FINDINGS, Phantom, draw
from node.domain import ModelImage, Presence
from node.inference.answer import VOCABULARY, parse
from node.inference.gemma import Gemma
from node.inference.medgemma import MedGemma
from node.inference.medsiglip import MedSigLIP
from node.inference.prompt_sets import load_findings_prompt, load_prompt_set

#: Used by no training, calibration, published measurement or acceptance test.
SEED = 6_000_000
COUNT = 8


def model_image(phantom: Phantom) -> ModelImage:
    grey = (phantom.image * 255).astype(np.uint8)
    return ModelImage(
        pixels=np.repeat(grey[:, :, None], 3, axis=2), sop_class_uid="1.2", sop_instance_uid=f"1.2.{phantom.seed}",
        series_instance_uid="1.2", side_known=True,
    )


@pytest.fixture(scope="module")
def triage(tmp_path_factory: pytest.TempPathFactory) -> MedSigLIP:
    section = TriageModelSection(device="cpu")
    return MedSigLIP.load(section, load_prompt_set("demo-chest"), tmp_path_factory.mktemp("cache"), False)


@pytest.fixture(scope="module")
def reader() -> MedGemma:
    return MedGemma.load(FindingsModelSection(device="cpu"), load_findings_prompt("demo-chest-findings"))


def test_the_demo_models_say_what_they_are(triage: MedSigLIP, reader: MedGemma) -> None:
    assert triage.demo and triage.identity.name == "medsiglip-demo"
    assert reader.demo and reader.identity.name == "medgemma-demo"


def test_the_demo_model_has_its_own_operating_points(triage: MedSigLIP) -> None:
    assert not triage.shadow_reason
    assert set(triage.operating_points) == set(FINDINGS)


@pytest.mark.parametrize("finding", FINDINGS)
def test_drawn_findings_are_told_from_healthy_chests(triage: MedSigLIP, finding: str) -> None:
    sick = triage.score([model_image(draw(SEED + i, 256, [finding])) for i in range(COUNT)])
    healthy = triage.score([model_image(draw(SEED + i, 256, [])) for i in range(COUNT)])
    point = triage.operating_points[finding]
    flagged = [point.presence(scores[finding]) is Presence.PRESENT for scores in sick]
    alarms = [point.presence(scores[finding]) is Presence.PRESENT for scores in healthy]
    assert np.mean([scores[finding] for scores in sick]) > np.mean([scores[finding] for scores in healthy]) + 0.2
    assert sum(flagged) >= COUNT // 2 > sum(alarms)


def test_the_reader_names_most_of_what_was_drawn(reader: MedGemma) -> None:
    right = wrong = 0
    for i in range(COUNT):
        phantom = draw(SEED + 100 + i, 256)
        told = reader.describe([model_image(phantom)])
        drawn = {item.finding for item in phantom.findings}
        named = {item.finding for item in told.findings if item.presence is Presence.PRESENT}
        right += len(drawn & named)
        wrong += len(drawn ^ named)
        assert told.impression
    assert right > wrong


def test_the_reader_was_taught_the_words_and_the_form_it_is_held_to() -> None:
    assert {names[0]: key for key, names in vocabulary.NAMES.items()} == dict(VOCABULARY)
    every = [vocabulary.Seen(finding=finding, side="left", certainty="definite") for finding in FINDINGS]
    for items in ([], every):
        assert [told.finding for told in parse(vocabulary.answer(items)).findings] == [
            item.finding for item in items
        ]


def test_the_longest_answer_fits_into_its_token_budget(reader: MedGemma) -> None:
    model = Gemma.load(FindingsModelSection(device="cpu"))
    every = [vocabulary.Seen(finding=finding, side="right", certainty="definite") for finding in FINDINGS]
    tokens = model.prompt.tokenizer(vocabulary.answer(every), add_special_tokens=False)["input_ids"]
    assert len(tokens) < reader.prompt.max_new_tokens
