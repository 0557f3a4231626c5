"""How fast uncompressed 5-megapixel radiographs become what a model takes: whole, and by the pixels that it sees.

Measured as stages do it, from the stored file by way of the working copy to the model's pixels.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from node.domain import ModelImage, ReceivedInstance
from node.resizing import bilinear
from node.stages import pictures, selection
from node.stages.pictures import Key
from node.stages.scale import Scale

ROWS, COLUMNS = 2560, 2048
FILES = 8
LIMITS = selection.Limits(most=1)
Work = Callable[[ReceivedInstance], NDArray[np.uint8]]


@dataclass(frozen=True)
class Rates:
    """Images per second: of one core whole and gathered, by its own seconds; gathered in several threads."""

    whole: float
    gathered: float
    several: float
    threads: int
    equal: bool


def measured(folder: Path, side: int, rounds: int, threads: int) -> Rates:
    """Both ways over the same files."""
    received = radiographs(folder, FILES)
    whole, gathered = _whole(folder, side), _gathered(folder, side)
    equal = all(np.array_equal(whole(one), gathered(one)) for one in received)
    per_core = [_per_core(work, received, rounds) for work in (whole, gathered)]
    return Rates(whole=per_core[0], gathered=per_core[1], several=_in_threads(gathered, received * rounds, threads),
                 threads=threads, equal=equal)


def _whole(folder: Path, side: int) -> Work:
    """Rendered, padded and kept at full size; resized by the model."""
    return lambda one: bilinear(_copy(folder, one, 0).pixels, side)


def _gathered(folder: Path, side: int) -> Work:
    """What the model sees is gathered, rendered and kept."""
    return lambda one: _copy(folder, one, side).pixels


def _copy(folder: Path, one: ReceivedInstance, side: int) -> ModelImage:
    scale = Scale(side=side)
    selection.select(folder, [one], LIMITS, scale)
    made = selection.image(folder, [one], Key(one.id, 1), LIMITS, scale)
    pictures.discard(folder, [one.id])
    return made


def _per_core(work: Work, received: Sequence[ReceivedInstance], rounds: int) -> float:
    """By the median of the seconds that the processor took: other work on the machine does not lengthen them."""
    seconds = []
    for one in list(received) * rounds:
        began = time.process_time()
        work(one)
        seconds.append(time.process_time() - began)
    return 1 / statistics.median(seconds)


def _in_threads(work: Work, received: Sequence[ReceivedInstance], threads: int) -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, received))
    return len(received) / (time.perf_counter() - began)


def radiographs(folder: Path, count: int) -> list[ReceivedInstance]:
    """Uncompressed 5-megapixel DX files, 12 bits in 16, with a window, as a receiver has left them."""
    return [_received(folder, number) for number in range(1, count + 1)]


def _received(folder: Path, number: int) -> ReceivedInstance:
    image = _drawn(number)
    path = folder / f"{number}.dcm"
    image.save_as(path, enforce_file_format=True)
    return ReceivedInstance(
        id=number, sop_class_uid=str(image.SOPClassUID), sop_instance_uid=str(image.SOPInstanceUID),
        study_instance_uid="1.2", series_instance_uid="1.2.3", modality="DX", path=path.name,
        transfer_syntax_uid=str(ExplicitVRLittleEndian), size=path.stat().st_size, calling_ae_title="BENCHMARK",
        called_ae_title="AINODE", source_host="127.0.0.1", received_at=datetime.now(UTC))


def _drawn(number: int) -> Dataset:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = DigitalXRayImageStorageForPresentation, f"1.2.3.{number}"
    image.SeriesInstanceUID, image.Modality = "1.2.3", "DX"
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 0
    image.Rows, image.Columns, image.BitsAllocated, image.BitsStored, image.HighBit = ROWS, COLUMNS, 16, 12, 11
    image.WindowCenter, image.WindowWidth, image.PatientOrientation = "2048", "4096", ["L", "F"]
    image.PixelData = np.random.default_rng(number).integers(0, 4096, (ROWS, COLUMNS), np.uint16).tobytes()
    return image


def tell(side: int, rounds: int, threads: int) -> Rates:
    """Measure, and print a line for each way."""
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), side, rounds, threads)
    print(f"\npreparing uncompressed radiographs of {ROWS} x {COLUMNS}, file to {side} x {side} pixels, as stages do")
    for name, rate in (("rendered whole", found.whole), ("gathered first", found.gathered)):
        print(f"{name:16}  {rate:6.0f} images/s per core, {1000 / rate:5.1f} ms of CPU each")
    print(f"gathered first is {found.gathered / found.whole:.1f} x as fast; "
          f"{found.several:.0f} images/s on the wall in {found.threads} threads")
    print("results are equal to the bit" if found.equal else "RESULTS DIFFER")
    return found
