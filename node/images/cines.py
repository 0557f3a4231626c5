"""Which frames of a cine are looked at: those its maker names, then an even sample without blanks and repeats."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from node.domain import JSON, ModelImage, Transform
from node.errors import Undecodable
from node.images.files import StoredImage
from node.images.lookup import floats
from node.images.picture import Screen, pictured
from node.images.pixels import frame as stored_frame
from node.images.pixels import load, number, text

MOST_FRAMES = 8
OPHTHALMIC_TOMOGRAPHY = "1.2.840.10008.5.1.4.1.1.77.1.5.4"
THUMB = 16
BLANK = 2.0
"""Spread (standard deviation) in grey levels, at most, of a frame that shows nothing."""
REPEATED = 1.0
"""Mean difference of two frames' thumbs in grey levels, at most, that makes them the same."""


@dataclass(frozen=True, kw_only=True)
class FrameChoice:
    """Frame numbers, the first is 1, in the order in which they are tried; ``named`` for a reason."""

    named: tuple[int, ...]
    sampled: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Sieve:
    """What is worth showing of the frames tried so far; the others by the reason they were left aside."""

    blank: list[int] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)
    undecodable: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    thumbs: list[NDArray[np.float64]] = field(default_factory=list)

    def takes(self, frame: int, shown: Image.Image) -> bool:
        """True for a frame that shows something that none before it showed."""
        grey = shown.convert("L")
        if float(np.std(np.asarray(grey))) <= BLANK:
            self.blank.append(frame)
            return False
        thumb = np.asarray(grey.resize((THUMB, THUMB), Image.Resampling.BOX), dtype=np.float64)
        if any(float(np.abs(thumb - other).mean()) <= REPEATED for other in self.thumbs):
            self.repeated.append(frame)
            return False
        self.thumbs.append(thumb)
        return True


def choice_of(head: Dataset, most: int = MOST_FRAMES) -> FrameChoice:
    """At most ``most`` frames: Representative Frame Number (PS3.3 C.7.6.6), Frame Numbers of Interest,
    the middle one of an OCT volume, the middle of each of equal parts between Start Trim and Stop Trim (C.7.6.5)."""
    count = max(number(head, "NumberOfFrames") or 1, 1)
    middle = [(count + 1) // 2] if text(head, "SOPClassUID") == OPHTHALMIC_TOMOGRAPHY else []
    stated = [*floats(head, "RepresentativeFrameNumber")[:1], *floats(head, "FrameNumbersOfInterest"), *middle]
    named = list(dict.fromkeys(int(each) for each in stated if 1 <= each <= count))[:most]
    first, last = number(head, "StartTrim") or 1, number(head, "StopTrim") or count
    if not 1 <= first <= last <= count:
        first, last = 1, count
    sampled = [each for each in even(first, last, most) if each not in named]
    return FrameChoice(named=tuple(named), sampled=tuple(sampled[: most - len(named)]))


def even(first: int, last: int, most: int) -> list[int]:
    """The middles of ``most`` equal parts of ``first`` to ``last``, or all where they are not more."""
    count = last - first + 1
    parts = min(most, count)
    return [first + (2 * part + 1) * count // (2 * parts) for part in range(parts)]


def cine(path: Path, most: int = MOST_FRAMES, *, to_srgb: bool = True) -> tuple[ModelImage, ...]:
    """At most ``most`` frames of a stored multi-frame picture, in the order of time, decoded one at a time.

    Each carries the transforms of :func:`picture` and, last, ``cine``: how it was chosen, the stated rate and
    times, and the frames that were tried and left aside. A cine of nothing but blanks gives the first tried.

    Raises:
        Undecodable: no frame can be decoded; the reason is that of the last one.
        StorageError: the file cannot be read.
    """
    with load(path) as file:
        head, screen, sieve = file.head, Screen(file.head, to_srgb=to_srgb), Sieve()
        choice = choice_of(head, most)
        used: list[ModelImage] = []
        spare: ModelImage | None = None
        for frame in (*choice.named, *choice.sampled):
            image = _tried(file, screen, frame, sieve)
            if image is not None and sieve.takes(frame, _unpadded(image)):
                used.append(image)
            spare = spare or image
    if spare is None:
        raise Undecodable(f"none of the {len(sieve.undecodable)} frames tried can be decoded: {sieve.reasons[-1]}")
    timing = timing_of(head)
    return tuple(_noted(image, choice, timing, sieve) for image in sorted(used or [spare], key=lambda each: each.frame))


def timing_of(head: Dataset) -> JSON:
    """Rate and times of the frames as stated (PS3.3 C.7.6.5), recorded and not used."""
    vector = floats(head, "FrameTimeVector")
    return {
        "frames": number(head, "NumberOfFrames") or 1,
        "cine_rate": next(iter(floats(head, "CineRate")), None),
        "recommended_display_frame_rate": next(iter(floats(head, "RecommendedDisplayFrameRate")), None),
        "frame_time_ms": next(iter(floats(head, "FrameTime")), None) or (float(np.mean(vector)) if vector else None),
    }


def _tried(file: StoredImage, screen: Screen, frame: int, sieve: Sieve) -> ModelImage | None:
    try:
        return pictured(file, screen, stored_frame(file, frame - 1), frame)
    except Undecodable as error:
        sieve.undecodable.append(frame)
        sieve.reasons.append(str(error))
        return None


def _unpadded(image: ModelImage) -> Image.Image:
    pad = image.transforms[-1].parameters
    top, left = pad["top"], pad["left"]
    return Image.fromarray(image.pixels[top : top + pad["rows"], left : left + pad["columns"]])


def _noted(image: ModelImage, choice: FrameChoice, timing: JSON, sieve: Sieve) -> ModelImage:
    chosen = "named" if image.frame in choice.named else "even sample"
    note = Transform(name="cine", parameters={
        "chosen": chosen, **timing, "blank": sieve.blank, "repeated": sieve.repeated,
        "undecodable": sieve.undecodable})
    return replace(image, transforms=(*image.transforms, note))
