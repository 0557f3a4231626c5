"""Boxes of the findings model: read strictly, brought back to the frame, set beside the heat map."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.domain import Box, Localisation, ModelImage, Relevance, RelevanceMethod, Reply, Transform
from node.errors import ModelOutputError
from node.images.geometry import Turn, square
from node.images.overlay import as_displayed
from node.images.places import in_frame
from node.inference import boxes
from node.inference.agreement import compared
from node.inference.checkpoints import gives_boxes, manifest
from node.inference.localiser import BoxLocaliser
from tests.tools.fakes import identity

EFFUSION = "pleural effusion"
TURNS = [Turn(transpose=one, flip_horizontal=two, flip_vertical=three)
         for one, two, three in product((False, True), repeat=3)]


def reply(*told: Any) -> str:
    return f"The left base is dense. Final Answer: ```json{json.dumps(list(told))}```"


def one(*numbers: Any, label: Any = EFFUSION, **more: Any) -> dict[str, Any]:
    return {"box_2d": list(numbers), "label": label, **more}


def test_the_last_list_is_read_y_first_in_thousandths() -> None:
    text = "```json[{\"box_2d\": [0, 0, 9, 9], \"label\": \"effusion\"}]``` no, " + reply(one(800, 3, 840, 471))
    assert boxes.parse(text, EFFUSION) == (Box(top=0.8, left=0.003, bottom=0.84, right=0.471),)
    assert boxes.parse(f"<unused94>thought\nhm<unused95>{text}", EFFUSION) == boxes.parse(text, EFFUSION)


def test_fractions_and_a_list_without_fence_are_read_too() -> None:
    (found,) = boxes.parse(f"Final Answer: {json.dumps([one(0.1, 0.2, 0.3, 0.4)])}", EFFUSION)
    assert found == Box(top=0.1, left=0.2, bottom=0.3, right=0.4)


@pytest.mark.parametrize("text", [
    "", "nothing there", reply(), reply(*[one(1, 2, 3, 4)] * 9), reply(one(1, 2, 3)), reply(one(1, 2, 3, "4")),
    reply(one(1, 2, 3, True)), reply(one(300, 2, 200, 4)), reply(one(2, 4, 3, 4)), reply(one(-1, 2, 3, 4)),
    reply(one(1, 2, 3, 1001)), reply(one(1, 2, 3, 1e400)), reply(one(1, 2, 3, 10**400)), reply([1, 2, 3, 4]),
    reply(one(1, 2, 3, 4, label=7)), reply(one(1, 2, 3, 4, more=1)), reply(one(1, 2, 3, 4, label="left lung")),
    reply({"box": [1, 2, 3, 4]}), "```json{\"box_2d\": [1, 2, 3, 4], \"label\": \"effusion\"}```",
    "```json[NaN]```", "```json" + "[" * 100_000 + "```", "<unused94>thought\n" + reply(one(1, 2, 3, 4))])
def test_whatever_is_not_of_the_form_is_refused(text: str) -> None:
    with pytest.raises(ModelOutputError):
        boxes.parse(text, EFFUSION)


def prepared(rows: int, columns: int, turn: Turn) -> tuple[Transform, ...]:
    """What the images room does: turned, then padded."""
    laid = turn(np.zeros((rows, columns, 3), np.uint8))
    _, pad = square(laid)
    orient = Transform(name="orient", parameters={
        "transpose": turn.transpose, "flip_horizontal": turn.flip_horizontal, "flip_vertical": turn.flip_vertical,
        "rows": rows, "columns": columns})
    return Transform(name="decode"), orient, pad


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize(("rows", "columns"), [(40, 24), (24, 40), (31, 30)])
def test_a_box_comes_back_to_the_pixels_it_was_drawn_around_in_all_eight_orientations(
        rows: int, columns: int, turn: Turn) -> None:
    source = np.zeros((rows, columns, 3), np.uint8)
    source[5:12, 3:20] = 1
    padded, _ = square(turn(source))
    marked, side = np.argwhere(padded[..., 0]), len(padded)
    (top, left), (bottom, right) = marked.min(0) / side, (marked.max(0) + 1) / side
    transforms = prepared(rows, columns, turn)
    assert np.array_equal(as_displayed(padded, transforms), source)
    assert in_frame(Box(top=top, left=left, bottom=bottom, right=right), transforms) == Box(
        top=5, left=3, bottom=12, right=20)


@given(st.sampled_from(TURNS), st.integers(1, 60), st.integers(1, 60),
       st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_a_box_never_leaves_the_frame_and_is_never_empty(
        turn: Turn, rows: int, columns: int, at: list[float]) -> None:
    found = in_frame(Box(top=min(at[:2]), bottom=max(at[:2]), left=min(at[2:]), right=max(at[2:])),
                     prepared(rows, columns, turn))
    assert found is None or (0 <= found.top < found.bottom <= rows and 0 <= found.left < found.right <= columns)


def test_a_box_in_the_padding_is_none_and_drawn_out_pixels_are_drawn_back() -> None:
    upright = TURNS[0]
    assert in_frame(Box(top=0.0, left=0.0, bottom=1.0, right=0.1), prepared(40, 20, upright)) is None
    drawn = Transform(name="square_pixels", parameters={"rows": 20, "columns": 40, "new_rows": 40, "new_columns": 40})
    assert in_frame(Box(top=0.5, left=0.0, bottom=1.0, right=0.5), (drawn, *prepared(40, 40, upright))) == Box(
        top=10, left=0, bottom=20, right=20)


def relevance(hot: tuple[int, int], *, reliable: bool = True) -> Relevance:
    cells = np.zeros((10, 10), np.float32)
    cells[hot] = 3.0
    return Relevance(
        finding="effusion", method=RelevanceMethod.SINGLE_TOKEN, model=identity("fake"), cells=cells,
        map=cells, deletion_drop=3.0, needed_drop=1.0, random_drop=0.1, reliable=reliable)


LOWER_LEFT = Box(top=0.7, left=0.0, bottom=1.0, right=0.3)


@pytest.mark.parametrize(("box", "told", "expected"), [
    (LOWER_LEFT, relevance((8, 1)), Localisation.AGREES),
    (LOWER_LEFT, relevance((1, 8)), Localisation.UNCONFIRMED),
    (LOWER_LEFT, relevance((8, 1), reliable=False), Localisation.UNCONFIRMED),
    (Box(top=0, left=0, bottom=1, right=1), relevance((8, 1)), Localisation.UNCONFIRMED),
])
def test_a_box_agrees_where_the_score_comes_from_and_is_unconfirmed_elsewhere(
        box: Box, told: Relevance, expected: Localisation) -> None:
    state, reason = compared([box], told)
    assert state is expected and bool(reason) is (expected is not Localisation.AGREES)


def test_a_box_that_holds_half_of_the_hottest_tenth_agrees_though_the_hottest_is_outside() -> None:
    told = relevance((0, 9))
    told.cells[8:10, 0:3] = 2.0
    assert compared([LOWER_LEFT], told)[0] is Localisation.AGREES


class Speaker:
    """Stands where a vision-language model does."""

    name = "speaker"

    def __init__(self, text: str, *, truncated: bool = False) -> None:
        self.reply, self.questions = Reply(text=text, truncated=truncated), list[Any]()

    def identity(self, prompt_sha256: str) -> Any:
        return identity("speaker")

    def ask(self, question: Any) -> Reply:
        self.questions.append(question)
        return self.reply


IMAGE = ModelImage(pixels=np.zeros((8, 8, 3), np.uint8), sop_class_uid="1", sop_instance_uid="2",
                   series_instance_uid="3")


def test_the_question_is_the_documented_one_and_the_image_is_first() -> None:
    speaker = Speaker(reply(one(1, 2, 3, 4)))
    assert len(BoxLocaliser(speaker).locate(IMAGE, EFFUSION)) == 1  # type: ignore[arg-type]
    image, text = speaker.questions[0].content
    assert image is IMAGE and "[y0, x0, y1, x1]" in text and f"Where is the {EFFUSION}?" in text
    with pytest.raises(ModelOutputError, match="did not end"):
        BoxLocaliser(Speaker("", truncated=True)).locate(IMAGE, EFFUSION)  # type: ignore[arg-type]


def test_only_a_checkpoint_that_says_so_is_asked(tmp_path: Path) -> None:
    assert not gives_boxes("demo") and not gives_boxes("google/medgemma-4b-it")
    assert gives_boxes("google/medgemma-1.5-4b-it")
    (tmp_path / "ainode.json").write_text(json.dumps({"name": "n", "version": "1", "demo": False, "boxes": True}))
    assert manifest(tmp_path).boxes
