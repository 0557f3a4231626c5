"""The node's own decoding writes what ``generate`` writes: alone, in batches, with drafts, with a prefix reused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText

from node.config import FindingsModelSection
from node.demo.phantom import draw
from node.domain import ModelImage, Question
from node.errors import DeviceFull, ModelOutputError
from node.inference import prefill
from node.inference.answer import schema
from node.inference.chat_prompt import ChatPrompt
from node.inference.decoder import Decoder
from node.inference.drafts import drafted, looked_up
from node.inference.gemma import Gemma
from node.inference.grammar import Held
from node.inference.slots import length_for
from tests.unit.tiny_models import image

pytest_plugins = ["tests.unit.tiny_models"]

ASKED = "Report the findings of this chest X-ray as JSON."


def chest(seed: int) -> ModelImage:
    grey = (draw(6_400_000 + seed, 256).image * 255).astype(np.uint8)
    pixels = np.repeat(grey[:, :, None], 3, axis=2)
    return ModelImage(pixels=pixels, sop_class_uid="1.2", sop_instance_uid=f"1.2.{seed}", series_instance_uid="1.2")


CHESTS = [chest(seed) for seed in range(5)]


def report(*images: ModelImage, tokens: int = 240) -> Question:
    return Question(content=(*images, ASKED), max_new_tokens=tokens, json_schema=schema())


@pytest.fixture(scope="module")
def demo() -> Gemma:
    torch.set_num_threads(1)
    return Gemma.load(FindingsModelSection(device="cpu"))


@contextmanager
def decoder(demo: Gemma, *, batch: int = 1, drafts: int = 0) -> Iterator[Decoder]:
    """Another one over the same weights."""
    one = Decoder(demo._decoder._model, demo.prompt, "demo", batch=batch, drafts=drafts)
    yield one
    one.close()


def written(demo: Gemma, one: Decoder, *questions: Question) -> list[list[int]]:
    """Replies to questions that are asked at once."""
    held = [Held(demo._grammars.compiled(asked.json_schema)) if asked.json_schema else None for asked in questions]
    replies = [one.submit(demo.prompt.of(asked), asked.max_new_tokens, way)
               for asked, way in zip(questions, held, strict=True)]
    return [reply.result().tokens for reply in replies]


def generated(model: Any, prompt: ChatPrompt, asked: Question) -> list[int]:
    """What transformers writes, unconstrained."""
    read = prompt.of(asked)
    with torch.inference_mode():
        out = model.generate(
            input_ids=read.ids, token_type_ids=read.kinds, attention_mask=torch.ones_like(read.ids),
            pixel_values=read.pixels, max_new_tokens=asked.max_new_tokens, do_sample=False,
            eos_token_id=prompt.stops, pad_token_id=0)
    tokens: list[int] = out[0, read.ids.shape[1] :].tolist()
    return tokens


def test_it_writes_what_generate_writes(demo: Gemma) -> None:
    free = [Question(content=(one, ASKED), max_new_tokens=240) for one in CHESTS[:3]]
    with decoder(demo) as one:
        assert written(demo, one, *free) == [generated(one._model, demo.prompt, asked) for asked in free]


@pytest.mark.parametrize("window", [8, 512])
def test_layers_that_look_back_a_little_look_as_far_as_in_transformers(medgemma_random: Path, window: int) -> None:
    tiny = Gemma.load(FindingsModelSection(checkpoint=str(medgemma_random), device="cpu"))
    model = AutoModelForImageTextToText.from_pretrained(medgemma_random, dtype=torch.float32).eval()
    model.config.text_config.sliding_window = window
    asked = Question(content=(image(), "SLICE 1", image(1), "Report, please."), system="Be brief.", max_new_tokens=40)
    one = Decoder(model, tiny.prompt, "tiny", batch=2, drafts=3)
    assert one.submit(tiny.prompt.of(asked), 40, None).result().tokens == generated(model, tiny.prompt, asked)
    one.close()


def test_a_reply_is_the_same_whatever_the_batch(demo: Gemma) -> None:
    asked = [report(one) for one in CHESTS]
    with decoder(demo, batch=3) as one:
        alone = [written(demo, one, each)[0] for each in asked]
        together = written(demo, one, *asked)
        backwards = written(demo, one, *reversed(asked))[::-1]
    assert together == alone == backwards
    assert len({tuple(tokens) for tokens in alone}) > 1


def test_the_first_scores_are_equal_to_the_last_bit_whatever_the_company(demo: Gemma) -> None:
    with decoder(demo, batch=3) as one:
        alone, _ = one.first_scores(demo.prompt.of(report(CHESTS[0])))
        written(demo, one, *map(report, CHESTS))
        one._prefill._kept.clear()
        again, _ = one.first_scores(demo.prompt.of(report(CHESTS[0])))
    assert torch.equal(alone, again)


def test_drafts_change_nothing_but_the_number_of_steps(demo: Gemma) -> None:
    asked = [report(one) for one in CHESTS]
    with decoder(demo) as plain, decoder(demo, batch=2, drafts=4) as drafting:
        assert written(demo, drafting, *asked) == written(demo, plain, *asked)
        replies = [one.submit(demo.prompt.of(asked[0]), 240, Held(demo._grammars.compiled(schema())))
                   for one in (plain, drafting)]
        steps = [reply.result().steps for reply in replies]
    assert steps[1] < 0.8 * steps[0]


def test_questions_about_one_image_compute_it_once_and_are_answered_alike(demo: Gemma) -> None:
    other = Question(content=(CHESTS[0], "Is there a pleural effusion?"), max_new_tokens=20)
    with decoder(demo) as one:
        fresh = written(demo, one, other)
        one._prefill._kept.clear()
        written(demo, one, report(CHESTS[0]))
        assert one.first_scores(demo.prompt.of(other))[1] > demo.prompt.of(other).ids.shape[1] // 2
        assert written(demo, one, other) == fresh


def test_no_more_prefixes_are_kept_than_there_is_room_for(demo: Gemma) -> None:
    kept = prefill.Prefill(demo._decoder._model, kept_bytes=1)
    with torch.inference_mode():
        for one in CHESTS[:3]:
            kept.open(demo.prompt.of(report(one)))
    assert len(kept._kept) == 1


def test_another_picture_under_the_same_words_is_another_prefix(demo: Gemma) -> None:
    with decoder(demo) as one:
        for picture in CHESTS[:2]:
            assert one.first_scores(demo.prompt.of(report(picture)))[1] == 0


def test_every_reply_of_a_batch_is_held_to_its_own_form(medgemma_random: Path) -> None:
    tiny = Gemma.load(FindingsModelSection(checkpoint=str(medgemma_random), device="cpu", batch=4))
    words = [f"word{number}" for number in range(8)]
    forms = [{"type": "object", "properties": {word: {"enum": [word]}}, "required": [word],
              "additionalProperties": False} for word in words]
    asked = [Question(content=(image(number), "Report."), max_new_tokens=60, json_schema=form)
             for number, form in enumerate(forms)]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(tiny.ask, asked))
    assert [json.loads(reply.text) for reply in replies] == [{word: word} for word in words]
    assert not any(reply.truncated for reply in replies)
    tiny.close()


def test_a_question_without_an_image_is_answered(demo: Gemma) -> None:
    reply = demo.ask(Question(content=("Is there a pleural effusion?",), max_new_tokens=5))
    assert reply.cost.written <= 5 and reply.cost.reused == 0


def test_the_likelihood_of_yes_is_that_of_the_next_word(demo: Gemma) -> None:
    asked = Question(content=(CHESTS[0], "Is there a pleural effusion?"), max_new_tokens=1)
    read = demo.prompt.of(asked)
    with torch.inference_mode():
        logits = demo._decoder._model(
            input_ids=read.ids, token_type_ids=read.kinds, attention_mask=torch.ones_like(read.ids),
            pixel_values=read.pixels).logits[0, -1].softmax(-1)
    yes, no = (float(logits[demo.prompt.ids_of(words)].sum()) for words in (("Yes", "yes"), ("No", "no")))
    if yes + no == 0:
        pytest.skip("the demo model has no such words")
    likely = demo.likelihood_of_yes(asked)
    assert likely.yes == pytest.approx(yes / (yes + no), abs=1e-4)
    assert demo.likelihood_of_yes(asked).cost.reused > 0


def test_a_question_longer_than_the_model_reads_is_refused(demo: Gemma) -> None:
    with pytest.raises(ModelOutputError, match="it reads 1024"):
        demo.ask(report(CHESTS[0], tokens=1024))


def test_an_error_of_the_device_belongs_to_those_it_meets_and_the_next_is_answered(demo: Gemma) -> None:
    with decoder(demo, batch=2) as one:
        plain, failing = one._slots_of, [True]

        def full(length: int) -> Any:
            if failing and failing.pop():
                raise torch.OutOfMemoryError("no memory")
            return plain(length)

        one._slots_of = full  # type: ignore[method-assign]
        with pytest.raises(DeviceFull):
            written(demo, one, report(CHESTS[0]))
        assert written(demo, one, report(CHESTS[0]))


def test_questions_of_several_lengths_are_answered_in_turn(demo: Gemma) -> None:
    asked = [report(CHESTS[number % 2], tokens=tokens) for number, tokens in enumerate((240, 400, 150, 700, 240))]
    with decoder(demo, batch=2) as one:
        assert written(demo, one, *asked) == [written(demo, one, each)[0] for each in asked]


def test_lengths_come_in_few_sizes() -> None:
    assert [length_for(tokens) for tokens in (1, 256, 257, 1000, 22_000)] == [256, 256, 512, 1024, 32768]


def test_a_draft_is_what_is_forced_or_what_came_before() -> None:
    assert drafted([1, 2], '"a":', 3, lambda text: [7, 8, 9, 10]) == [7, 8, 9]
    assert looked_up([1, 2, 3, 4, 9, 2, 3], 2) == [4, 9]
    assert looked_up([1, 2, 3], 2) == looked_up([], 2) == drafted([1, 1, 1, 1], "", 0, list) == []
