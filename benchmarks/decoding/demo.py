"""The shipped demo model on drawn chests, held to the form of an answer: ``generate`` and the node's decoder."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from transformers import LogitsProcessorList
from xgrammar.contrib.hf import LogitsProcessor

from node.config import FindingsModelSection
from node.demo.phantom import draw
from node.domain import ModelImage, Question
from node.inference.answer import schema
from node.inference.decoder import Decoder, Written
from node.inference.gemma import Gemma
from node.inference.grammar import Held
from node.inference.prompt_sets import load_findings_prompt

SEED = 6_700_000
WAYS = ((1, 0), (1, 2), (1, 4), (1, 8), (4, 0), (4, 4))
"""Replies at a time, and tokens checked ahead."""
Tokens = list[list[int]]
T = TypeVar("T")


def questions(count: int) -> list[Question]:
    """One about each of so many chests."""
    prompt = load_findings_prompt("demo-chest-findings")
    drawn = [(draw(SEED + number, 256).image * 255).astype(np.uint8) for number in range(count)]
    images = [ModelImage(pixels=np.repeat(grey[:, :, None], 3, axis=2), sop_class_uid="", sop_instance_uid="",
                         series_instance_uid="") for grey in drawn]
    return [Question(content=(image, prompt.instruction), max_new_tokens=prompt.max_new_tokens, json_schema=schema())
            for image in images]


def compare(count: int) -> None:
    """A table: tokens per second of CPU, everything from image to text included, on one thread."""
    torch.set_num_threads(1)
    asked = questions(count)
    gemma = Gemma.load(FindingsModelSection(device="cpu"))
    expected, seconds = _timed(partial(_generated, gemma, asked), partial(_generated, gemma, asked[:1]))
    written = sum(map(len, expected))
    print(f"\ndemo model, {count} answers, {written} tokens, one thread, held to the form\n")
    print("| | tokens per CPU second | steps | same answers |\n|---|--:|--:|--:|")
    print(f"| generate | {written / seconds:.0f} | {written} | |")
    for batch, drafts in WAYS:
        one = Decoder(gemma._model, gemma.prompt, gemma.name, batch=batch, drafts=drafts)
        found, seconds = _timed(partial(_decoded, gemma, one, asked), partial(_decoded, gemma, one, asked[:1]))
        same = sum(reply.tokens == tokens for reply, tokens in zip(found, expected, strict=True))
        print(f"| node, {batch} at a time, {drafts} checked ahead | {written / seconds:.0f} | "
              f"{sum(reply.steps for reply in found)} | {same} of {count} |", flush=True)
        one.close()
    gemma.close()


def _timed(work: Callable[[], T], warm_up: Callable[[], object]) -> tuple[T, float]:
    warm_up()
    start = time.process_time()
    found = work()
    return found, time.process_time() - start


def _decoded(gemma: Gemma, one: Decoder, asked: Sequence[Question]) -> list[Written]:
    """As the node writes, every question waiting at once."""
    replies = [one.submit(gemma.prompt.of(question), question.max_new_tokens, Held(_grammar(gemma, question)))
               for question in asked]
    return [reply.result() for reply in replies]


def _grammar(gemma: Gemma, question: Question) -> Any:
    assert question.json_schema is not None
    return gemma._grammars.compiled(question.json_schema)


def _generated(gemma: Gemma, asked: Sequence[Question]) -> Tokens:
    """As transformers writes with xgrammar's own processor."""
    written = []
    for question in asked:
        read = gemma.prompt.of(question)
        held = LogitsProcessor(_grammar(gemma, question))
        with torch.inference_mode():
            out = gemma._model.generate(
                input_ids=read.ids, token_type_ids=read.kinds, attention_mask=torch.ones_like(read.ids),
                pixel_values=read.pixels, max_new_tokens=question.max_new_tokens, do_sample=False,
                eos_token_id=gemma.prompt.stops, pad_token_id=0, logits_processor=LogitsProcessorList([held]))
        written.append(out[0, read.ids.shape[1] :].tolist())
    return written
