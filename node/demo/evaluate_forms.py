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
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

# Before transformers is imported: nothing here may ask a model hub.
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
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
from node.images import resized
from node.inference.medsiglip import MedSigLIP
from node.inference.prompt_sets import load_prompt_set

#: Three pixels of the picture to one of the model's, so that storing and resizing both happen.
PLAIN = Form(size=288)
COUNT = 100
#: JPEG Lossless is written by DCMTK's dcmcjpeg, where it is installed: no codec of ours writes it.
DCMTK_OPTIONS: Mapping[str, str] = {"JPEG Lossless, selection value 1": "+e1", "JPEG Lossless, process 14": "+el"}
#: High-Throughput JPEG 2000 by ojph_compress of OpenJPH, likewise; with its order of progression.
OPENJPH_OPTIONS: Mapping[UID, str] = {HTJ2KLossless: "LRCP", HTJ2KLosslessRPCL: "RPCL"}
#: What may be lost in the area under the curve of any finding by the way a picture is stored.
TARGET = 0.01

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
    "VOI LUT, MONOCHROME1": replace(PLAIN, voi=Voi.LUT, photometric="MONOCHROME1"),
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


def written(seed: int, folder: Path, only: Collection[str] = ()) -> Iterator[Stored]:
    """The phantom of a seed in every way, or in some, one file each."""
    phantom, taken = phantom_of(seed, PLAIN), datetime(2026, 1, 5, 12)
    folder.mkdir(exist_ok=True)

    def drawn(form: Form = PLAIN) -> FileDataset:
        return chest_dataset(phantom, form, "forms", taken)

    makers: dict[str, Callable[[Path], None]] = {
        **{way: partial(_save, partial(drawn, form)) for way, form in FORMS.items()},
        **{syntax.name: partial(_save, partial(_recoded, drawn, syntax)) for syntax in SYNTAXES},
    }
    if shutil.which("dcmcjpeg") is not None:
        makers |= {way: partial(_by_dcmtk, drawn, option) for way, option in DCMTK_OPTIONS.items()}
    if shutil.which("ojph_compress") is not None:
        makers |= {syntax.name: partial(_by_openjph, drawn, syntax) for syntax in OPENJPH_OPTIONS}
    for number, (way, make) in enumerate(makers.items()):
        if not only or way in only:
            file = folder / f"{seed}-{number}.dcm"
            make(file)
            yield Stored(way=way, file=file)


def _save(make: Callable[[], FileDataset], file: Path) -> None:
    make().save_as(file, enforce_file_format=True)


def _recoded(make: Callable[[], FileDataset], syntax: UID) -> FileDataset:
    return recoded(make(), syntax)


def _by_dcmtk(make: Callable[[], FileDataset], option: str, file: Path) -> None:
    plain = file.with_suffix(".plain")
    _save(make, plain)
    subprocess.run(["dcmcjpeg", option, plain, file], check=True, capture_output=True, timeout=60)


def _by_openjph(make: Callable[[], FileDataset], syntax: UID, file: Path) -> None:
    """By way of a portable grey map, whose greatest value tells the bits."""
    image, grey, code = make(), file.with_suffix(".pgm"), file.with_suffix(".j2c")
    most = (1 << image.BitsStored) - 1
    grey.write_bytes(f"P5 {image.Columns} {image.Rows} {most}\n".encode()
                     + np.frombuffer(image.PixelData, "<u2").astype(">u2").tobytes())
    order = OPENJPH_OPTIONS[syntax]
    subprocess.run(["ojph_compress", "-i", grey, "-o", code, "-reversible", "true", "-prog_order", order],
                   check=True, capture_output=True, timeout=60)
    image.PixelData = encapsulate([code.read_bytes()])
    image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
    image.file_meta.TransferSyntaxUID = syntax
    image.save_as(file, enforce_file_format=True)


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


def scores_by_way(
    model: MedSigLIP, first: int, count: int, only: Collection[str] = ()
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.bool_]]:
    """Scores (count, F) of every way, or of some, as triage makes them; and the truth (count, F)."""
    rows: dict[str, list[list[float]]] = {}
    truth = [labels_of(phantom_of(seed, PLAIN))[0] for seed in range(first, first + count)]
    for seed in range(first, first + count):
        with tempfile.TemporaryDirectory() as folder:
            ways = list(written(seed, Path(folder), only))
            scored = model.score([resized(each.file, model.takes) for each in ways])
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


def table(told: Mapping[str, Any]) -> str:
    """The comparison as Markdown."""
    lines = [f"| stored as | largest change of an AUC | largest change of a score (n = {told['n']}) |", "|---|--:|--:|"]
    lines += [f"| {way} | {each['auc_differs_by']:.4f} | {each['score_differs_by']:.4f} |"
              for way, each in told["ways"].items()]
    return "\n".join(lines)


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
    worst = max(each["auc_differs_by"] for each in told["ways"].values())
    sys.stdout.write(f"{table(told)}\n{'met' if worst <= TARGET else 'NOT met'}: at most {TARGET} of an AUC\n")


if __name__ == "__main__":
    main()
