"""Model pixels on disk: decoded once, used by triage, findings and a later version.

``work/<instance id>.npy`` holds the pixels (one plane when all three are equal),
``work/<instance id>.json`` what was done to them. The JSON is written last and marks the pair whole.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from node import images
from node.domain import ModelImage, ReceivedInstance, Transform
from node.errors import StorageError


def prepare(data_dir: Path, found: ReceivedInstance) -> ModelImage:
    """The image of an instance, decoded now or read from an earlier time.

    Raises:
        BadInput: the pixels cannot be turned into an image.
        StorageError: the working folder cannot be written.
    """
    pixels, notes = _files(data_dir, found.id)
    try:
        return _load(pixels, notes, found)
    except (OSError, ValueError):
        pass  # not there yet, or removed by the end of another version: decoded again
    image = images.projection(data_dir / found.path)
    try:
        _save(pixels, notes, image)
    except OSError as error:
        raise StorageError(f"{pixels}: cannot be written ({error.strerror})") from error
    return image


def discard(data_dir: Path, instance_ids: Iterable[int]) -> None:
    """Remove the decoded images of a finished run; they can be made again."""
    for instance_id in instance_ids:
        for file in reversed(_files(data_dir, instance_id)):
            file.unlink(missing_ok=True)


def sweep(data_dir: Path, older_than_seconds: float = 86_400.0) -> int:
    """Remove working copies that no run has touched for a day; how many files."""
    limit, removed = time.time() - older_than_seconds, 0
    for file in (data_dir / "work").glob("*"):
        try:
            if file.stat().st_mtime < limit:
                file.unlink()
                removed += 1
        except FileNotFoundError:  # a run ended meanwhile
            continue
    return removed


def _files(data_dir: Path, instance_id: int) -> tuple[Path, Path]:
    folder = data_dir / "work"
    return folder / f"{instance_id}.npy", folder / f"{instance_id}.json"


def _save(pixels: Path, notes: Path, image: ModelImage) -> None:
    """Under a name of its own first, as early triage and decode may prepare one image at once."""
    pixels.parent.mkdir(parents=True, exist_ok=True)
    grey = bool((image.pixels == image.pixels[..., :1]).all())
    temporary = pixels.with_suffix(f".{uuid.uuid4().hex}.tmp")
    with temporary.open("wb") as file:
        np.save(file, image.pixels[..., 0] if grey else image.pixels)
    temporary.replace(pixels)
    temporary.write_text(json.dumps({
        "frame": image.frame, "side_known": image.side_known,
        "transforms": [[step.name, step.parameters] for step in image.transforms],
    }), encoding="utf-8")
    temporary.replace(notes)


def _load(pixels: Path, notes: Path, found: ReceivedInstance) -> ModelImage:
    told = json.loads(notes.read_text(encoding="utf-8"))
    stored = np.load(pixels)
    return ModelImage(
        pixels=np.repeat(stored[..., None], 3, axis=2) if stored.ndim == 2 else stored,
        sop_class_uid=found.sop_class_uid, sop_instance_uid=found.sop_instance_uid,
        series_instance_uid=found.series_instance_uid, frame=told["frame"], side_known=told["side_known"],
        transforms=tuple(Transform(name=name, parameters=parameters) for name, parameters in told["transforms"]))
