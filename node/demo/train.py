"""Train both demo models and measure them: python -m node.demo.train --out DIR [--stage NAME].

Stages: triage, then words (sides and language, on top of a triage model in DIR), findings, measure; or all of them.
One thread, fixed seeds, some 40 CPU minutes in all. DIR becomes what node/demo holds: checkpoints/medsiglip-demo,
checkpoints/medgemma-demo and metrics.json. `--cache` keeps the drawn phantoms between runs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

# Before transformers is imported: nothing here may ask a model hub.
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, SiglipModel, SiglipTokenizer

from node.demo import train_findings, train_sides, train_text, train_triage
from node.demo.dataset import Examples, Split, examples
from node.demo.evaluate import (
    PromptVectors,
    areas,
    operating_point,
    prompt_set,
    rates,
    to_pixels,
    triage_scores,
)
from node.demo.evaluate_findings import answers, compare
from node.demo.evaluate_prompts import image_vectors, paraphrases, sides
from node.demo.evaluate_served import served
from node.demo.phantom import FINDINGS
from node.demo.train_directions import directions
from node.inference.identity import scorer_sha256
from node.inference.prompt_sets import load_prompt_set

TRIAGE, ANSWERS = "medsiglip-demo", "medgemma-demo"
TRAINING = 32_000
SIDES_SOUGHT_IN = 16_000
MEASURED = 1_000
WATCHED = 300
STAGES = ("triage", "words", "findings")
VERSIONS = {TRIAGE: "2", ANSWERS: "1"}
NOTICE = "SYNTHETIC DEMO MODEL, NOT FOR CLINICAL USE"


def log(message: str) -> None:
    """One line of progress, at once."""
    sys.stdout.write(f"{message}\n")
    sys.stdout.flush()


def describe(folder: Path, name: str) -> None:
    """What the node reads about a checkpoint before it loads it."""
    told = {"name": name, "version": VERSIONS[name], "demo": True, "intended_use": NOTICE}
    told["prompt_sets"] = ["demo-chest"]
    if name == TRIAGE:  # the region loss teaches each final token about its own place
        told["explain"] = "single_token"
    _write(folder / "ainode.json", told)


def _write(file: Path, told: Any) -> None:
    file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def first(data: Examples, count: int) -> Examples:
    """The first `count` of some examples."""
    return Examples(**{name: column[:count] for name, column in vars(data).items()})


def record(out: Path, section: str, told: dict[str, Any]) -> None:
    """Put a section into metrics.json, keeping the others."""
    file = out / "metrics.json"
    metrics = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    metrics[section] = {**metrics.get(section, {}), **told}
    _write(file, metrics)


def train_stage(stage: str, out: Path, cache: Path) -> None:
    """Train one model into `out`/checkpoints."""
    data, drawing = examples(Split.TRAIN, TRAINING, cache)
    watched = first(examples(Split.CALIBRATION, WATCHED, cache)[0], WATCHED)
    triage, findings = out / "checkpoints" / TRIAGE, out / "checkpoints" / ANSWERS
    record(out, "phantoms", {"trained_on": TRAINING, "drawing_cpu_seconds": round(drawing), "first_seed": _seeds()})
    if stage == "triage":
        cpu = train_triage.train(data, watched, triage, log)
        described: dict[str, Any] = {"seed": train_triage.SEED, "batch": train_triage.BATCH}
        record(out, "triage", described | {"steps": train_triage.STEPS, "training_cpu_seconds": round(cpu)})
        describe(triage, TRIAGE)
    elif stage == "words":
        teach(triage, data, out)
    else:
        spent = train_findings.train(data, watched, triage, findings, log)
        steps = {phase.name: phase.steps for phase in train_findings.PHASES}
        described = {"seed": train_findings.SEED, "batch": train_findings.BATCH, "steps": steps}
        record(out, "findings", described | {"training_cpu_seconds": spent})
        describe(findings, ANSWERS)


def teach(folder: Path, data: Examples, out: Path) -> None:
    """Teach the triage model in `folder` sides, then language; a changed tokenizer replaces its own."""
    model = SiglipModel.from_pretrained(folder, dtype=torch.float32).eval()
    sought = first(data, SIDES_SOUGHT_IN)
    core = train_text.core_directions(model, SiglipTokenizer.from_pretrained(folder))
    towards = directions(core, image_vectors(model, sought.images), sought.sides)
    seconds = {"sides": round(train_sides.train(model, data, towards, log))}
    tokenizer = train_text.build_tokenizer(folder)
    taught = train_text.with_vocabulary(model, tokenizer)
    seconds["text"] = round(train_text.train(taught, tokenizer, towards, log))
    train_triage.save(taught, tokenizer, folder)
    describe(folder, TRIAGE)
    steps = {"sides": train_sides.STEPS, "text": train_text.STEPS}
    record(out, "words", {"steps": steps, "training_cpu_seconds": seconds})


def _seeds() -> dict[str, int]:
    return {split.name.lower(): split.value for split in Split}


def measure_triage(out: Path, cache: Path, count: int = MEASURED) -> None:
    """Choose operating points on calibration phantoms, measure on held-out ones, both as served and of fp16 weights."""
    folder, prompts = out / "checkpoints" / TRIAGE, prompt_set()
    model = SiglipModel.from_pretrained(folder, dtype=torch.float32).eval()
    vectors = PromptVectors.of(model, SiglipTokenizer.from_pretrained(folder), prompts)
    calibration, held_out = served(Split.CALIBRATION, count, cache)[0], served(Split.HELD_OUT, count, cache)[0]
    calibrated = triage_scores(model, vectors, to_pixels(calibration.images))
    points = {f: operating_point(calibrated[:, i], calibration.present[:, i]) for i, f in enumerate(FINDINGS)}
    source = f"{count} drawn phantoms, seeds from {Split.CALIBRATION.value}, read back from DICOM as served"
    told = {
        "prompt_set": prompts["name"],
        "scorer_sha256": scorer_sha256(folder, load_prompt_set("demo-chest").sha256),
        "calibrated_on": source,
        "points": points,
    }
    _write(folder / "operating_points.json", told)
    scores = triage_scores(model, vectors, to_pixels(held_out.images))
    drawn_small = examples(Split.HELD_OUT, count, cache)[0]
    at_training_size = triage_scores(model, vectors, to_pixels(drawn_small.images))
    measured = {
        "n_held_out": count,
        "measured_on": "held-out phantoms written as DICOM in varied forms and read back as served",
        "auc": areas(scores, held_out.present),
        "auc_as_drawn_at_training_size": areas(at_training_size, drawn_small.present),
        "at_operating_points": rates(scores, held_out.present, points),
    }
    record(out, "triage", measured)
    log(json.dumps(measured, indent=1))
    images = image_vectors(model, held_out.images)
    tokenizer = SiglipTokenizer.from_pretrained(folder)
    known = paraphrases(model, tokenizer, images, held_out.present)
    known["sides"] = sides(model, tokenizer, images, held_out)
    record(out, "words", known)
    log(json.dumps(known, indent=1))


def measure_findings(out: Path, cache: Path, count: int = MEASURED) -> None:
    """Unconstrained greedy answers on held-out phantoms as served, of fp16 weights."""
    folder, prompts = out / "checkpoints" / ANSWERS, prompt_set("demo-chest-findings")
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder)
    held_out = served(Split.HELD_OUT, count, cache)[0]
    told = answers(model, processor, prompts["instruction"], to_pixels(held_out.images), int(prompts["max_new_tokens"]))
    truths = [train_findings.truth_of(held_out, row) for row in range(count)]
    measured = {"measured_on": "held-out phantoms written as DICOM in varied forms and read back as served"}
    measured |= compare(told, truths).summary()
    record(out, "findings", measured)
    log(json.dumps(measured, indent=1))


def main() -> None:
    """Run the stages asked for, in their order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints/ and metrics.json")
    parser.add_argument("--stage", choices=(*STAGES, "measure", "all"), default="all")
    parser.add_argument("--cache", type=Path, help="folder for drawn phantoms (default: a temporary one)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        cache = asked.cache or Path(temporary)
        for stage in STAGES:
            if asked.stage in (stage, "all"):
                train_stage(stage, asked.out, cache)
        for stage, name, measure in (("words", TRIAGE, measure_triage), ("findings", ANSWERS, measure_findings)):
            wanted = asked.stage in (stage, "measure", "all")
            if wanted and (asked.out / "checkpoints" / name).exists():
                measure(asked.out, cache)


if __name__ == "__main__":
    main()
