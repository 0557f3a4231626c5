"""Slices of an acquisition as model images, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from threading import Lock

import numpy as np
from pydicom.dataset import Dataset

from node.domain import ModelImage
from node.errors import BadInput, Undecodable
from node.images.acquisitions import Acquisition
from node.images.aspect import squared
from node.images.decoding import Limits, OpenFiles, in_order
from node.images.files import StoredImage
from node.images.functional_groups import frame_head
from node.images.geometry import square
from node.images.hanging import hung
from node.images.measured import measured_range
from node.images.picture import decoded_from
from node.images.pixels import frame
from node.images.planes import plane_of
from node.images.shades import AcquisitionRange, ChannelWindows, HeaderWindow, Range, Tone
from node.images.slices import Slice
from node.images.tone import graded

BYTES_PER_VALUE = 40
"""What one value takes while its slice is worked on: 20 as measured, and as much again inside a decoder."""
Failed = Callable[[Slice, BadInput], None]


def volume(
    acquisition: Acquisition, slices: Iterable[Slice], tone: Tone, *, limits: Limits | None = None,
    failed: Failed | None = None,
) -> Generator[ModelImage, None, None]:
    """Each of ``slices`` as a model image, in their order; decoded as they are asked for.

    Transforms, in order: ``decode``, then ``pixel_padding``, ``modality_lut``, ``voi_lut`` or ``window`` (three
    for red, green and blue) or ``value_range``, ``invert`` (those that apply), ``square_pixels`` where they are
    not, ``orient``, ``pad``.

    A slice that cannot be shown is told to ``failed`` and left out; without ``failed`` it ends the iteration.

    Raises:
        Undecodable: a slice, or none of the acquisition, can be decoded; the message names the slice.
        NotEvaluable: the values are not what the windows are for.
        StorageError: a file cannot be read.
    """
    limits = limits or Limits()
    with closing(OpenFiles(limits.threads + 1)) as files:
        shade = value_range(acquisition, files, limits, failed) if isinstance(tone, AcquisitionRange) else tone
        darkroom = _Darkroom(files)
        with closing(in_order(slices, lambda one: darkroom.image(one, shade), _cost, limits)) as outcomes:
            for done in outcomes:
                if done.result is not None:
                    yield done.result
                elif done.error is not None:
                    _tell(done.item, done.error, failed)


def value_range(acquisition: Acquisition, files: OpenFiles, limits: Limits, failed: Failed | None = None) -> Range:
    """Least and greatest measured value of all slices of an acquisition, padding left out.

    Raises:
        Undecodable: no slice can be decoded; without ``failed``, also when one cannot.
    """
    darkroom = _Darkroom(files)
    low, high, reason = np.inf, -np.inf, ""
    with closing(in_order(acquisition.slices, darkroom.range, _cost, limits)) as outcomes:
        for done in outcomes:
            if done.result is not None:
                low, high = min(low, done.result[0]), max(high, done.result[1])
            elif done.error is not None:
                _tell(done.item, done.error, failed)
                reason = str(done.error)
    if low > high:
        raise Undecodable(f"none of {len(acquisition.slices)} slices can be decoded: {reason or 'there are none'}")
    return Range(minimum=low, maximum=high)


def _cost(one: Slice) -> int:
    return one.values * BYTES_PER_VALUE


def _tell(one: Slice, error: BadInput, failed: Failed | None) -> None:
    if failed is None:
        raise type(error)(f"{one.sop_instance_uid} frame {one.frame}: {error}") from error
    failed(one, error)


class _Darkroom:
    """Turns slices into values and images, from files that threads share."""

    def __init__(self, files: OpenFiles) -> None:
        self._files = files
        self._lock = Lock()

    def range(self, one: Slice) -> tuple[float, float]:
        with self._files.use(one.path) as file:
            head = self._head(file, one)
            return measured_range(frame(file, one.frame - 1), head)

    def image(self, one: Slice, shade: HeaderWindow | ChannelWindows | Range) -> ModelImage:
        with self._files.use(one.path) as file:
            head = self._head(file, one)
            stored = frame(file, one.frame - 1)
        pixels, tone = graded(stored, head, shade)
        drawn, aspect = squared(pixels, head)
        laid, side_known, orient = hung(drawn, plane_of(head))
        padded, pad = square(laid)
        return ModelImage(
            pixels=padded, sop_class_uid=one.sop_class_uid, sop_instance_uid=one.sop_instance_uid,
            series_instance_uid=one.series_instance_uid, frame=one.frame, side_known=side_known,
            transforms=(decoded_from(head, stored.shape, one.frame), *tone, *aspect, orient, pad))

    def _head(self, file: StoredImage, one: Slice) -> Dataset:
        """One thread at a time, as pydicom converts elements in place when they are looked at."""
        with self._lock:
            return frame_head(file.head, one.frame - 1)
