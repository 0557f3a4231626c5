"""Heat maps of the demo model on drawn chests: does the map point at what was drawn, and does the deletion check hold?

Pointing is right when the highest place of the map lies in the finding's mask, grown by half a patch. Findings smaller
than a patch are counted apart. The check is put to four kinds of map: the true one, the same with its cells shuffled,
the same moved by half the picture, and one of a finding that was not drawn. The seeds were used by no training,
calibration or published measurement, and not to choose the check.

    python benchmarks/heat_maps.py [--each 40] [--method single_token --method occlusion]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from node.config import TriageModelSection
from node.demo.phantom import FINDINGS, DrawnFinding, draw
from node.domain import ModelImage, Relevance, RelevanceMethod
from node.inference.deletion import check
from node.inference.medsiglip import MedSigLIP
from node.inference.preprocessing import model_pixels
from node.inference.prompt_sets import load_prompt_set
from node.inference.saliency import Saliency
from node.inference.torch_runtime import set_threads

#: Used by no training, calibration, published measurement or test.
SEED = 7_000_000
SIZE = 384
PATCHES = 12


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one map, and whether its like would have passed."""

    finding: str
    larger_than_a_patch: bool
    pointed: bool
    relevance: Relevance
    seconds: float
    shuffled: bool
    moved: bool
    absent: bool


def model_image(grey: NDArray[np.uint8], uid: str) -> ModelImage:
    """A square picture as the node would hand it to a model."""
    return ModelImage(
        pixels=np.repeat(grey[:, :, None], 3, axis=2), sop_class_uid="1.2", sop_instance_uid=uid,
        series_instance_uid="1.2", side_known=True)


def points_at(relevance: Relevance, mask: NDArray[np.bool_]) -> bool:
    """The highest place of the map is within half a patch of the mask; of a wide plateau its first place counts."""
    row, column = np.unravel_index(int(relevance.map.argmax()), relevance.map.shape)
    rows, columns = np.nonzero(mask)
    away = np.maximum(np.abs(rows - row), np.abs(columns - column)).min(initial=len(mask))
    return bool(away <= len(mask) / PATCHES / 2)


def measured(model: MedSigLIP, method: RelevanceMethod, each: int, seed: int = SEED) -> list[Outcome]:
    """One finding per phantom, `each` phantoms per finding."""
    explainer = model.explainer(method)
    outcomes = []
    for finding in FINDINGS:
        for number in range(seed, seed + each):
            phantom = draw(number, SIZE, [finding])
            (drawn,) = phantom.findings
            image = model_image((phantom.image * 255).astype(np.uint8), f"1.2.{number}")
            begun = time.perf_counter()
            relevance = explainer.explain(image, finding)
            taken = time.perf_counter() - begun
            shuffled, moved = wrong_maps(model, image, relevance, number)
            other = draw(number, SIZE, [FINDINGS[FINDINGS.index(finding) - 1]] if number % 2 else [])
            without = model_image((other.image * 255).astype(np.uint8), f"1.3.{number}")
            outcomes.append(Outcome(
                finding=finding, larger_than_a_patch=larger_than_a_patch(drawn), relevance=relevance,
                pointed=points_at(relevance, drawn.mask), seconds=taken, shuffled=shuffled, moved=moved,
                absent=explainer.explain(without, finding).reliable))
    return outcomes


def wrong_maps(model: MedSigLIP, image: ModelImage, relevance: Relevance, seed: int) -> tuple[bool, bool]:
    """If the map would pass with its cells shuffled, and moved by half the picture."""
    direction = model._contrast[:, model._keys.index(relevance.finding)]
    saliency = Saliency(model._vision, direction, model_pixels(image, model._side, model.prompt_set.resize))
    cells = relevance.cells
    everywhere = np.ones(cells.shape, dtype=bool)
    shuffled = np.random.default_rng(seed).permutation(cells.ravel()).reshape(cells.shape)
    moved = np.roll(cells, (len(cells) // 2,) * 2, axis=(0, 1))
    return tuple(check(one, everywhere, saliency.drops).reliable for one in (shuffled, moved))


def larger_than_a_patch(drawn: DrawnFinding) -> bool:
    """By area."""
    return bool(drawn.mask.mean() > 1 / PATCHES**2)


def table(outcomes: Sequence[Outcome], title: str) -> Table:
    """One row per finding and one for all."""
    shown = Table("finding", "n", "points at it", "of those larger than a patch", "passes the check", "shuffled",
                  "moved", "not drawn", "drop", "elsewhere", "ms", title=title)
    for finding in (*FINDINGS, "all"):
        own = [one for one in outcomes if finding in (one.finding, "all")]
        large = [one for one in own if one.larger_than_a_patch]
        shown.add_row(
            finding, str(len(own)), _share([one.pointed for one in own]),
            f"{_share([one.pointed for one in large])} of {len(large)}",
            _share([one.relevance.reliable for one in own]), _share([one.shuffled for one in own]),
            _share([one.moved for one in own]), _share([one.absent for one in own]),
            f"{np.mean([one.relevance.deletion_drop for one in own]):.2f}",
            f"{np.mean([one.relevance.random_drop for one in own]):.2f}",
            f"{np.median([one.seconds for one in own]) * 1000:.0f}")
    return shown


def _share(flags: Sequence[bool]) -> str:
    return f"{np.mean(flags):.2f}" if flags else ""


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=40, help="phantoms per finding")
    parser.add_argument("--method", action="append", choices=[method.value for method in RelevanceMethod])
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args(arguments)
    set_threads(chosen.threads)
    with tempfile.TemporaryDirectory() as cache:
        model = MedSigLIP.load(TriageModelSection(device="cpu"), load_prompt_set("demo-chest"), Path(cache), False)
        for name in chosen.method or [method.value for method in RelevanceMethod]:
            outcomes = measured(model, RelevanceMethod(name), chosen.each)
            Console(width=140).print(table(outcomes, f"{model.identity.name}, {name}"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
