"""Heat maps of the demo model on drawn chests: does the map point at what was drawn, and does the deletion check hold?

Pointing is right when the highest place of the map lies in the finding's mask, grown by half a patch. Findings smaller
than a patch are counted apart. The seeds were used by no training, calibration or published measurement.

    python benchmarks/heat_maps.py [--each 40] [--method single_token --method occlusion] [--write DIR]
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
from node.inference.medsiglip import MedSigLIP
from node.inference.prompt_sets import load_prompt_set
from node.inference.torch_runtime import set_threads

#: Used by no training, calibration, published measurement or test.
SEED = 7_000_000
SIZE = 384
PATCHES = 12


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one map."""

    finding: str
    larger_than_a_patch: bool
    pointed: bool
    relevance: Relevance
    seconds: float


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
            outcomes.append(Outcome(
                finding=finding, larger_than_a_patch=larger_than_a_patch(drawn), relevance=relevance,
                pointed=points_at(relevance, drawn.mask), seconds=time.perf_counter() - begun))
    return outcomes


def larger_than_a_patch(drawn: DrawnFinding) -> bool:
    """By area."""
    return bool(drawn.mask.mean() > 1 / PATCHES**2)


def table(outcomes: Sequence[Outcome], title: str) -> Table:
    """One row per finding and one for all."""
    shown = Table("finding", "n", "points at it", "of those larger than a patch", "passes the check", "drop",
                  "elsewhere", "ms", title=title)
    for finding in (*FINDINGS, "all"):
        own = [one for one in outcomes if finding in (one.finding, "all")]
        large = [one for one in own if one.larger_than_a_patch]
        shown.add_row(
            finding, str(len(own)), _share([one.pointed for one in own]),
            f"{_share([one.pointed for one in large])} of {len(large)}",
            _share([one.relevance.reliable for one in own]),
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
            Console(width=120).print(table(outcomes, f"{model.identity.name}, {name}"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
