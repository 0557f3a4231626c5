from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xgrammar

from node.config import FindingsModelSection
from node.domain import Certainty, Finding, FindingsPrompt, Presence, Question, Side
from node.errors import ConfigurationError, ModelOutputError, ModelUnavailable, NotEvaluable
from node.inference.answer import parse, schema, without_thought
from node.inference.gemma import Gemma
from node.inference.medgemma import MedGemma
from node.interfaces import FindingsModel
from tests.unit.tiny_models import ANSWER, SIDE, image

pytest_plugins = ["tests.unit.tiny_models"]

EFFUSION = Finding(
    finding="effusion", presence=Presence.PRESENT, side=Side.LEFT, certainty=Certainty.PROBABLE
)
BLACK = replace(image(), pixels=np.zeros((SIDE, SIDE, 3), np.uint8))


def load(directory: Path, prompt: FindingsPrompt) -> MedGemma:
    return MedGemma.load(FindingsModelSection(checkpoint=str(directory), device="cpu"), prompt)


def gemma(directory: Path) -> Gemma:
    return Gemma.load(FindingsModelSection(checkpoint=str(directory), device="cpu"))


def test_what_the_model_writes_becomes_findings(medgemma_directory: Path, findings_prompt: FindingsPrompt) -> None:
    model: FindingsModel = load(medgemma_directory, findings_prompt)
    told = model.describe([BLACK])
    assert told.findings == (EFFUSION,)
    assert (told.impression, told.recommendation) == ("Left pleural effusion.", "Follow-up radiograph.")
    assert told.model.name == "medgemma-tiny" and told.model.demo
    assert told.prompt == findings_prompt.name


def test_a_second_answer_is_not_bound_by_the_first(medgemma_directory: Path, findings_prompt: FindingsPrompt) -> None:
    model = load(medgemma_directory, findings_prompt)
    assert model.describe([BLACK]) == model.describe([BLACK])


def test_even_noise_is_held_to_the_form(medgemma_random: Path, findings_prompt: FindingsPrompt) -> None:
    model = load(medgemma_random, findings_prompt)
    generated = model._model.ask(model.question([image()], 60))
    grammar = xgrammar.Grammar.from_json_schema(json.dumps(schema()), any_whitespace=False, separators=(",", ":"))
    info = xgrammar.TokenizerInfo([bytes([byte]) for byte in range(256)], stop_token_ids=[0])
    matcher = xgrammar.GrammarMatcher(xgrammar.GrammarCompiler(info).compile_grammar(grammar))
    assert generated.text.startswith('{"findings":[')
    assert matcher.accept_string(generated.text)


def test_an_answer_that_does_not_end_is_refused(medgemma_random: Path, findings_prompt: FindingsPrompt) -> None:
    model = load(medgemma_random, replace(findings_prompt, max_new_tokens=12))
    with pytest.raises(ModelOutputError, match="did not end within 24 tokens"):
        model.describe([image()])


def test_a_truncated_answer_is_asked_for_again_with_twice_the_tokens(
    medgemma_directory: Path, findings_prompt: FindingsPrompt
) -> None:
    model = gemma(medgemma_directory)
    needed = len(model.prompt.tokenizer(ANSWER, add_special_tokens=False)["input_ids"]) + 1
    short = MedGemma(model, replace(findings_prompt, max_new_tokens=needed - 1))
    reply = model.ask(short.question([BLACK], needed - 1))
    assert (reply.text, reply.truncated, reply.cost.written) == (ANSWER, True, needed - 1)
    assert short.describe([BLACK]).findings == (EFFUSION,)


def test_images_and_texts_are_read_in_their_order(medgemma_directory: Path) -> None:
    model = gemma(medgemma_directory)
    content = (BLACK, "SLICE", image(), "Report.")
    asked = model.prompt.of(Question(content=content, system="Be brief.", max_new_tokens=1))
    text = model.prompt.tokenizer.decode(asked.ids[0])
    assert re.search(r"Be brief\..*<start_of_image>.*SLICE.*<start_of_image>.*Report\.", text, re.DOTALL)
    assert asked.pixels is not None and len(asked.pixels) == 2


def test_the_image_comes_before_the_instruction(medgemma_directory: Path, findings_prompt: FindingsPrompt) -> None:
    asked = load(medgemma_directory, findings_prompt).question([BLACK, image()], 5)
    assert [isinstance(part, str) for part in asked.content] == [False, False, True]


def test_the_model_sees_exactly_the_pixels_of_the_resize(medgemma_directory: Path) -> None:
    square = image(side=SIDE)
    seen = gemma(medgemma_directory).prompt.of(Question(content=(square, "Report."), max_new_tokens=1)).pixels
    assert seen is not None
    np.testing.assert_allclose(seen[0].permute(1, 2, 0).numpy(), square.pixels / 127.5 - 1, atol=1e-6)


def test_a_prompt_that_leaves_no_room_for_its_answer_is_named_at_load(
    medgemma_directory: Path, findings_prompt: FindingsPrompt
) -> None:
    with pytest.raises(ModelUnavailable, match="it reads 512; lower max_new_tokens"):
        load(medgemma_directory, replace(findings_prompt, max_new_tokens=600))


def test_weights_of_fewer_bits_need_their_library_and_a_gpu(medgemma_directory: Path) -> None:
    section = FindingsModelSection(checkpoint=str(medgemma_directory), device="cpu", quantization="4bit")
    with pytest.raises(ConfigurationError, match="quantization = 4bit: "):
        Gemma.load(section)


def test_without_an_image_nothing_is_described(medgemma_directory: Path, findings_prompt: FindingsPrompt) -> None:
    with pytest.raises(NotEvaluable, match="no image"):
        load(medgemma_directory, findings_prompt).describe([])


def test_another_instruction_is_another_device(medgemma_directory: Path, findings_prompt: FindingsPrompt) -> None:
    one = load(medgemma_directory, findings_prompt)
    other = load(medgemma_directory, replace(findings_prompt, sha256="00" * 32))
    assert one.identity.device_uid != other.identity.device_uid


def test_unusable_weights_are_refused(
    medgemma_directory: Path, findings_prompt: FindingsPrompt, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(medgemma_directory, tmp_path / "own"))
    (own / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelUnavailable, match="own: cannot be loaded"):
        load(own, findings_prompt)


def changed(**changes: object) -> str:
    return json.dumps(json.loads(ANSWER) | changes)


STATEMENT = json.loads(ANSWER)["findings"][0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The heart is enlarged.",
        ANSWER[:-1],
        ANSWER + " and more",
        changed(impression=""),
        changed(impression="  "),
        changed(impression="nul\u0000"),
        changed(impression="x" * 2001),
        changed(recommendation=None),
        changed(extra="x"),
        changed(findings=[STATEMENT, STATEMENT]),
        changed(findings=[STATEMENT | {"finding": "fracture"}]),
        changed(findings=[STATEMENT | {"presence": "maybe"}]),
        changed(findings=[STATEMENT | {"side": "LEFT"}]),
        changed(findings=[STATEMENT | {"certainty": "sure"}]),
        changed(findings=[{"finding": "cardiomegaly"}]),
        changed(findings={}),
    ],
)
def test_anything_but_a_whole_answer_is_refused(text: str) -> None:
    with pytest.raises(ModelOutputError):
        parse(text)


def test_no_finding_is_an_answer() -> None:
    assert parse(changed(findings=[])).findings == ()


@pytest.mark.parametrize(("word", "side"), [("left", Side.LEFT), ("both", Side.BOTH), ("none", Side.NONE)])
def test_sides_are_the_patients(word: str, side: Side) -> None:
    (told,) = parse(changed(findings=[STATEMENT | {"side": word}])).findings
    assert told.side is side


def test_a_thought_is_never_part_of_the_answer() -> None:
    assert parse(f"<unused94>thought\nmaybe a fracture<unused95>{ANSWER}") == parse(ANSWER)
    assert without_thought(f" {ANSWER}\n") == ANSWER


def test_an_answer_that_ends_inside_the_thought_is_refused() -> None:
    with pytest.raises(ModelOutputError, match="ends inside the model's thought"):
        parse(f"<unused94>thought\n{ANSWER}")


def test_a_refusal_does_not_repeat_what_the_model_wrote() -> None:
    with pytest.raises(ModelOutputError) as refused:
        parse(changed(findings=[STATEMENT | {"presence": "Jane Doe"}]))
    assert "Jane" not in f"{refused.value} {refused.value.__cause__}"


def test_a_refusal_does_not_repeat_a_key_that_the_model_made_up() -> None:
    with pytest.raises(ModelOutputError) as refused:
        parse(changed(**{"Mr Doe has a tumour": 1}))
    assert "Doe" not in f"{refused.value} {refused.value.__cause__}"
