"""One picture, many ways to store it: the model must not tell. `python -m node.demo.evaluate_forms --out DIR`.

The same held-out phantoms are stored in every way named here, read back and scored as the node does it. Forms change
photometric interpretation, sign, bits, VOI transformation and rescaling; lossless transfer syntaxes change the bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

# Before transformers is imported: nothing here may ask a model hub.
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from node.config import TriageModelSection
from node.demo.dataset import Split, labels_of
from node.demo.evaluate import areas
from node.demo.forms import Form, Voi
from node.demo.phantom import FINDINGS
from node.demo.phantom_dicom import chest_dataset, phantom_of
from node.images import projection
from node.inference.medsiglip import MedSigLIP
from node.inference.prompt_sets import load_prompt_set

#: Three pixels of the picture to one of the model's, so that storing and resizing both happen.
PLAIN = Form(size=288)
COUNT = 100
#: JPEG Lossless is written by DCMTK's dcmcjpeg, where it is installed: no codec of ours writes it.
PEER_OPTIONS: Mapping[str, str] = {"JPEG Lossless, selection value 1": "+e1", "JPEG Lossless, process 14": "+el"}

USUAL = "MONOCHROME2, 12 bits, unsigned, LINEAR"
FORMS: Mapping[str, Form] = {
    USUAL: PLAIN,
    "MONOCHROME1": replace(PLAIN, photometric="MONOCHROME1"),
    "signed": replace(PLAIN, signed=True),
    "signed MONOCHROME1": replace(PLAIN, signed=True, photometric="MONOCHROME1"),
    "10 bits": replace(PLAIN, bits_stored=10),
    "16 bits": replace(PLAIN, bits_stored=16),
    "16 bits, signed": replace(PLAIN, bits_stored=16, signed=True),
    "rescaled": replace(PLAIN, modality="CR", slope=2.0, intercept=-1024.0),
    **{f"VOI {voi.value}": replace(PLAIN, voi=voi) for voi in Voi if voi not in (Voi.LINEAR, Voi.NONE)},
    "VOI LUT, signed": replace(PLAIN, voi=Voi.LUT, signed=True),
    "VOI NONE": replace(PLAIN, modality="CR", voi=Voi.NONE),
}
SYNTAXES: tuple[UID, ...] = (
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A phantom in one way."""

    way: str
    file: Path


def written(seed: int, folder: Path) -> Iterator[Stored]:
    """The phantom of a seed in every way, one file each."""
    phantom, taken = phantom_of(seed, PLAIN), datetime(2026, 1, 5, 12)
    folder.mkdir(exist_ok=True)

    def save(way: str, dataset: FileDataset) -> Stored:
        file = folder / f"{seed}-{len(list(folder.iterdir()))}.dcm"
        dataset.save_as(file, enforce_file_format=True)
        return Stored(way=way, file=file)

    for way, form in FORMS.items():
        yield save(way, chest_dataset(phantom, form, "forms", taken))
    for syntax in SYNTAXES:
        yield save(syntax.name, recoded(chest_dataset(phantom, PLAIN, "forms", taken), syntax))
    if (peer := shutil.which("dcmcjpeg")) is not None:
        source = save("", chest_dataset(phantom, PLAIN, "forms", taken)).file
        for way, option in PEER_OPTIONS.items():
            target = folder / f"{seed}{option}.dcm"
            subprocess.run([peer, option, str(source), str(target)], check=True, capture_output=True, timeout=60)
            yield Stored(way=way, file=target)


def recoded(dataset: FileDataset, syntax: UID) -> FileDataset:
    """The same image in another lossless transfer syntax."""
    if syntax.is_compressed and syntax != DeflatedExplicitVRLittleEndian:
        dataset.compress(syntax, generate_instance_uid=False)
        return dataset
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.set_original_encoding(syntax.is_implicit_VR, syntax.is_little_endian)  # this data set was never a file
    return dataset


def scores_by_way(model: MedSigLIP, first: int, count: int) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.bool_]]:
    """Scores (count, F) of every way, and the truth (count, F)."""
    rows: dict[str, list[list[float]]] = {}
    truth = [labels_of(phantom_of(seed, PLAIN))[0] for seed in range(first, first + count)]
    for seed in range(first, first + count):
        with tempfile.TemporaryDirectory() as folder:
            ways = list(written(seed, Path(folder)))
            scored = model.score([projection(each.file) for each in ways])
        for each, scores in zip(ways, scored, strict=True):
            rows.setdefault(each.way, []).append([scores[f] for f in FINDINGS])
    return {way: np.array(told, np.float32) for way, told in rows.items()}, np.stack(truth)


def compared(
    scores: Mapping[str, NDArray[np.float32]], truth: NDArray[np.bool_], usual: str = USUAL
) -> dict[str, Any]:
    """AUC of the usual way, and how far each way's AUC and scores are from it at most."""
    plain = scores[usual]
    here = areas(plain, truth)
    told = {}
    for way, each in scores.items():
        there = areas(each, truth)
        told[way] = {
            "auc_differs_by": round(max(abs(there[f] - here[f]) for f in FINDINGS), 4),
            "score_differs_by": round(float(np.abs(each - plain).max()), 4),
        }
    return {"n": len(truth), "auc": here, "ways": told}


def main() -> None:
    """Measure all ways and put the figures into metrics.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="folder of the metrics.json to add to")
    parser.add_argument("--count", type=int, default=COUNT, help="phantoms in every way")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as cache:
        model = MedSigLIP.load(TriageModelSection(device="cpu"), load_prompt_set("demo-chest"), Path(cache), False)
        told = compared(*scores_by_way(model, Split.HELD_OUT.value, asked.count))
    file = asked.out / "metrics.json"
    metrics = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps({**metrics, "forms": told}, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
