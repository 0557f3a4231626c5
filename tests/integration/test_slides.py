"""Each tile of a slide is an image of its own, at the scale that the prompt set and the model ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from node.database import embedding, score
from node.domain import Priority
from node.inference.prompt_sets import load_prompt_set
from tests.tools.fakes import FakeTriage
from tests.tools.node_in_process import StraightNode
from tests.tools.site import pipeline_for
from tests.tools.slides import level, stained

STUDY = "1.2.6.9"
TAKES = 16
Make = Callable[..., StraightNode]


def slide(number: int = 1, side: int = 64, microns: float = 1.0, **attributes: Any) -> Dataset:
    """A level of today, all tissue, in one frame."""
    return level(stained(side, side), side, microns, number, StudyInstanceUID=STUDY,
                 StudyDate=f"{date.today():%Y%m%d}", PatientName="Slide^One", PatientID="S1", **attributes)


@pytest.fixture
def make(engine: sa.Engine, tmp_path: Path) -> Make:
    """A node for slides, on both databases: tiles of 16 x 16 pixels at ``microns``."""
    def made(microns: float = 1.0, most: int = 64) -> StraightNode:
        prompts = replace(load_prompt_set("demo-chest"), microns=microns)
        return StraightNode(
            engine, tmp_path, triage=FakeTriage(takes=TAKES, prompt_set=prompts),
            pipelines=[pipeline_for("SM", tmp_path)], models={"triage": {"max_images": most}})
    return made


def tiles(node: StraightNode, table: sa.Table) -> list[int]:
    with node.engine.connect() as connection:
        return list(connection.scalars(sa.select(table.c.tile).order_by(table.c.tile)))


def test_every_tile_of_one_frame_is_scored_and_kept_by_itself(make: Make) -> None:
    node = make()
    node.evaluate(slide())
    assert tiles(node, score) == tiles(node, embedding) == list(range(1, 17))
    assert node.dossier(STUDY)["images_analysed"] == 16


def test_the_tile_that_decides_is_named_with_its_place(make: Make) -> None:
    node = make()
    node.triage.by_tile = {7: {"pneumothorax": 0.95}}
    entry = node.evaluate(slide())
    found = node.finding(STUDY, "pneumothorax")
    assert (entry.ai_priority, found.score, found.frame, found.tile) == (Priority.STAT, 0.95, 1, 7)
    notes = node.dossier(STUDY)
    assert notes["decisive_image"] == {"sop_instance_uid": "1.2.6.1", "frame": 1, "tile": 7}
    assert notes["images"]["decisive_tile"] == {"number": 7, "top": 16, "left": 32, "side": 16}
    assert len(node.findings.calls) == 1


def test_scores_of_tiles_are_used_again(make: Make) -> None:
    node = make(most=4)
    node.evaluate(slide())
    assert [len(uids) for uids, _ in node.triage.calls] == [4]
    node.evaluate(slide(2, 32, 2.0))
    assert node.run_of(STUDY).version == 2
    assert [len(uids) for uids, _ in node.triage.calls] == [4]


@pytest.mark.parametrize(("microns", "decisive"), [(2.0, "1.2.6.2"), (1.0, "1.2.6.1")])
def test_the_level_is_that_of_the_scale_that_the_prompt_set_asks_for(
    make: Make, microns: float, decisive: str
) -> None:
    node = make(microns)
    node.evaluate(slide(1, 64, 1.0), slide(2, 32, 2.0))
    assert node.dossier(STUDY)["decisive_image"]["sop_instance_uid"] == decisive
