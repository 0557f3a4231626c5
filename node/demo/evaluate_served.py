"""Phantoms that went the whole way a served image goes: drawn large, written as DICOM, read back, displayed, resized.

This is an independent reading with pydicom's own display pipeline, so that the numbers published for the demo models do
not depend on the node's code.
"""

from __future__ import annotations

import time
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pydicom
import torch
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from torch.nn import functional

from node.demo.dataset import SIZE, Examples, Split, labels_of
from node.demo.forms import Form
from node.demo.phantom_dicom import drawn_dataset, phantom_of


def displayed(dataset: Dataset) -> NDArray[np.uint8]:
    """The image as a viewer shows it, (rows, columns), dense bright: modality LUT, VOI, full range, inversion."""
    values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset).astype(np.float64)
    low, high = _display_range(dataset, values)
    shown = np.clip((values - low) / (high - low), 0, 1)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    image: NDArray[np.uint8] = np.rint(shown * 255).astype(np.uint8)
    return image


def _display_range(dataset: Dataset, values: NDArray[np.float64]) -> tuple[float, float]:
    """What apply_voi_lut maps black and white to; without a VOI transformation the values' own range."""
    if "VOILUTSequence" in dataset:
        return 0.0, 2.0 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1
    if "WindowWidth" not in dataset:
        return float(values.min()), float(values.max())
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    return intercept, (2**dataset.BitsStored - 1) * slope + intercept


def model_image(image: NDArray[np.uint8], size: int = SIZE) -> NDArray[np.uint8]:
    """Zero-padded to a square, resized bilinearly without antialiasing, truncated to 8 bits."""
    rows, columns = image.shape
    side = max(rows, columns)
    square = np.zeros((side, side), np.float32)
    top, left = (side - rows) // 2, (side - columns) // 2
    square[top : top + rows, left : left + columns] = image
    tensor = torch.from_numpy(square)[None, None]
    resized = functional.interpolate(tensor, (size, size), mode="bilinear", align_corners=False, antialias=False)
    small: NDArray[np.uint8] = resized[0, 0].numpy().astype(np.uint8)
    return small


def _row(seed: int) -> tuple[NDArray[np.generic], ...]:
    torch.set_num_threads(1)
    form = Form.of(seed)
    file = BytesIO()
    drawn_dataset(seed, form=form).save_as(file, enforce_file_format=True)
    file.seek(0)
    return model_image(displayed(pydicom.dcmread(file))), *labels_of(phantom_of(seed, form))


def served(split: Split, count: int, cache: Path, processes: int = 2) -> tuple[Examples, float]:
    """The first `count` phantoms of a split as served (no patch coverage), and the CPU seconds it took."""
    file = cache / f"served-{split.name.lower()}-{count}-{SIZE}.npz"
    if not file.exists():
        started = time.perf_counter()
        with get_context("spawn").Pool(processes) as pool:
            rows = pool.imap(_row, range(split.value, split.value + count), chunksize=20)
            images, present, sides, certainty = map(np.stack, zip(*rows, strict=True))
        cache.mkdir(parents=True, exist_ok=True)
        cpu = (time.perf_counter() - started) * processes
        np.savez(file, cpu_seconds=cpu, images=images, present=present, sides=sides, certainty=certainty)
    with np.load(file) as stored:
        cpu = float(stored["cpu_seconds"])
        columns = {name: stored[name] for name in stored.files if name != "cpu_seconds"}
    return Examples(coverage=np.zeros((count, 0, 0, 0), np.uint8), **columns), cpu
