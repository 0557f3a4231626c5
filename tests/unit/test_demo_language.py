"""The language the triage demo model was taught, and that what is held out of it was never taught."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from node.demo import evaluate_prompts
from node.demo.evaluate import CHECKPOINTS
from node.demo.meanings import MEANINGS, Claim, Meaning
from node.demo.phantom import FINDINGS, LATERALISED
from node.demo.phrases import HELD_OUT_NAMES, HELD_OUT_PAIRS, HELD_OUT_SIDED, names, phrase
from node.demo.train_directions import directions, towards_left

WORDS: dict[str, Any] = json.loads((Path(CHECKPOINTS).parent / "metrics.json").read_text(encoding="utf-8"))["words"]


def taught(count: int = 4000) -> list[tuple[Meaning, str]]:
    rng = np.random.default_rng(1)
    return [(meaning, phrase(meaning, rng)) for meaning in (MEANINGS[i % len(MEANINGS)] for i in range(count))]


def test_no_held_out_frame_is_ever_taught() -> None:
    said = [text for _, text in taught()]
    for pair in HELD_OUT_PAIRS:
        for frame in (pair.positive, pair.negative):
            for finding in FINDINGS:
                assert not {frame.format(name) for name in names(finding)} & set(said)
    untaught = ("observes", "appreciated", "displays", "example", "hemithorax", "located", "recognised",
               "evidently")
    assert not [text for text in said for word in untaught if word in text.split()]


def test_no_held_out_name_is_a_taught_name() -> None:
    for finding in FINDINGS:
        assert len(HELD_OUT_NAMES[finding]) >= 2
        assert not set(HELD_OUT_NAMES[finding]) & set(names(finding))


def test_a_side_is_said_where_a_side_is_meant() -> None:
    for meaning, text in taught(600):
        if meaning.claim in (Claim.LEFT, Claim.NOT_LEFT):
            assert "left" in text and "right" not in text
        elif meaning.claim in (Claim.RIGHT, Claim.NOT_RIGHT):
            assert "right" in text and "left" not in text


def test_a_finding_on_the_left_lies_left_of_one_on_the_right() -> None:
    random = torch.Generator().manual_seed(1)
    sides = np.array([[1 + i % 2] * len(FINDINGS) for i in range(200)], np.uint8)
    images = torch.nn.functional.normalize(torch.randn(200, 8, generator=random), dim=-1)
    images[:, 0] = torch.from_numpy(sides[:, 0]).float() - 1.5  # right is 1, left is 2
    assert towards_left(images, sides[:, 0])[0] > 0.9
    core = {m: torch.nn.functional.normalize(torch.randn(8, generator=random), dim=-1) for m in MEANINGS
            if m.claim in (Claim.PRESENT, Claim.ABSENT, Claim.NORMAL, Claim.ABNORMAL)}
    rows = dict(zip(MEANINGS, directions(core, images, sides), strict=True))
    for finding in LATERALISED:
        assert rows[Meaning(Claim.LEFT, finding)][0] > rows[Meaning(Claim.RIGHT, finding)][0] + 0.5


def test_unseen_wordings_do_not_invert_a_score() -> None:
    assert set(WORDS["held_out_pairs"]) == {f"{pair.positive} / {pair.negative}" for pair in HELD_OUT_PAIRS}
    for frame, areas in (WORDS["held_out_pairs"] | WORDS["known_pairs"]).items():
        for finding in FINDINGS:
            assert areas[finding] >= 0.9, (frame, finding)
    for name, area in WORDS["held_out_names"].items():
        assert area >= 0.9, name


@pytest.mark.parametrize("frames", ["trained_frames", "held_out_frames"])
def test_sides_are_known(frames: str) -> None:
    floors = {"effusion": 0.97, "pneumothorax": 0.95, "consolidation": 0.9, "nodule": 0.75}
    told = WORDS["sides"][frames]
    assert frames == "trained_frames" or set(told) == set(HELD_OUT_SIDED)
    for frame, shares in told.items():
        for finding in LATERALISED:
            assert shares[finding] >= floors[finding], (frame, finding)


def test_a_contrast_turns_round_with_its_prompts() -> None:
    class Reversible:
        def __call__(self, texts: list[str], **_: object) -> dict[str, torch.Tensor]:
            return {"input_ids": torch.tensor([[float("no" in text)] for text in texts])}

        def get_text_features(self, input_ids: torch.Tensor) -> Any:
            return type("Out", (), {"pooler_output": torch.cat([1 - input_ids, input_ids], dim=1)})

    model, images = Reversible(), torch.tensor([[1.0, 0.0]])
    pair = evaluate_prompts.Pair(positive="{}", negative="no {}")
    turned = evaluate_prompts.Pair(positive="no {}", negative="{}")
    assert evaluate_prompts.contrast(model, model, images, pair, "x") > 0
    assert evaluate_prompts.contrast(model, model, images, turned, "x") < 0
