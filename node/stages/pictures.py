"""Model pixels on disk: decoded once, used by triage, findings and a later version.

``work/<instance id>-<frame>.npy`` holds the pixels (one plane when all three are equal), the same name with
``.json`` what was done to them. The JSON is written last and marks the pair whole. Behind the frame stands ``t`` with
the number of a slide's tile, and of a radiograph brought to the side that a model takes that side.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from node.domain import ModelImage, ReceivedInstance, Transform
from node.errors import StorageError


class Key(NamedTuple):
    """An image: a row of table ``instance`` and a frame, the first is 1; of a slide its tile, else 0."""

    instance_id: int
    frame: int
    tile: int = 0

    @classmethod
    def of(cls, text: str) -> Key:
        """The inverse of ``str``, which is how results of stages name an image."""
        return cls(*map(int, text.split(":")))

    def __str__(self) -> str:
        return f"{self.instance_id}:{self.frame}" + (f":{self.tile}" if self.tile else "")


def keep(data_dir: Path, instance_id: int, image: ModelImage, side: int = 0) -> None:
    """Write the working copy of an image of an instance; ``side`` where it is not whole. Raises StorageError."""
    pixels, notes = _files(data_dir, Key(instance_id, image.frame, image.tile), side)
    try:
        _save(pixels, notes, image)
    except OSError as error:
        raise StorageError(f"{pixels}: cannot be written ({error.strerror})") from error


def kept(data_dir: Path, found: ReceivedInstance, key: Key, side: int = 0) -> ModelImage | None:
    """The working copy of an image, whole or of that side; None where there is none, or none any more."""
    pixels, notes = _files(data_dir, key, side)
    try:
        return _load(pixels, notes, found, key)
    except (OSError, ValueError):
        return None


def discard(data_dir: Path, instance_ids: Iterable[int]) -> None:
    """Remove the decoded images of a finished run; they can be made again."""
    gone = {str(instance_id) for instance_id in instance_ids}
    for file in sorted((data_dir / "work").glob("*-*"), reverse=True):
        if file.name.partition("-")[0] in gone:
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


def _files(data_dir: Path, key: Key, side: int) -> tuple[Path, Path]:
    name = f"{key.instance_id}-{key.frame}" + (f"-t{key.tile}" if key.tile else "") + (f"-{side}" if side else "")
    return data_dir / "work" / f"{name}.npy", data_dir / "work" / f"{name}.json"


def _save(pixels: Path, notes: Path, image: ModelImage) -> None:
    """Under a name of its own first, as early triage and decode may prepare one image at once."""
    pixels.parent.mkdir(parents=True, exist_ok=True)
    red = image.pixels[..., 0]
    grey = all(np.array_equal(red, image.pixels[..., other]) for other in (1, 2))
    temporary = pixels.with_suffix(f".{uuid.uuid4().hex}.tmp")
    with temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(red if grey else image.pixels))  # strided is far slower
    temporary.replace(pixels)
    temporary.write_text(json.dumps({
        "side_known": image.side_known,
        "transforms": [[step.name, step.parameters] for step in image.transforms],
    }), encoding="utf-8")
    temporary.replace(notes)


def _load(pixels: Path, notes: Path, found: ReceivedInstance, key: Key) -> ModelImage:
    told = json.loads(notes.read_text(encoding="utf-8"))
    stored = np.load(pixels)
    return ModelImage(
        pixels=np.repeat(stored[..., None], 3, axis=2) if stored.ndim == 2 else stored,
        sop_class_uid=found.sop_class_uid, sop_instance_uid=found.sop_instance_uid,
        series_instance_uid=found.series_instance_uid, frame=key.frame, tile=key.tile,
        side_known=told["side_known"],
        transforms=tuple(Transform(name=name, parameters=parameters) for name, parameters in told["transforms"]))
