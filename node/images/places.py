"""Places in the square that a model sees, and the same places in the frame as it was received."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from node.domain import Box, Transform


def in_frame(box: Box, transforms: Sequence[Transform]) -> Box | None:
    """A box in fractions (0..1) of the square as a box in pixels of the stored frame, whole pixels and clipped.

    Padding, orientation and the drawing out of pixels that are not square are undone, the last step first. None where
    nothing of it is left, or where the image was not padded to a square.
    """
    pad = next((step.parameters for step in reversed(transforms) if step.name == "pad"), None)
    if pad is None:
        return None
    side = pad["side"]
    found: Box | None = Box(top=box.top * side, left=box.left * side, bottom=box.bottom * side, right=box.right * side)
    for step in reversed(transforms):
        undo = UNDONE.get(step.name)
        if undo is not None and found is not None:
            found = undo(found, step.parameters)
    return None if found is None else _whole(found)


def _unpadded(box: Box, told: Mapping[str, Any]) -> Box | None:
    top, left, rows, columns = told["top"], told["left"], told["rows"], told["columns"]
    clipped = Box(
        top=min(max(box.top - top, 0), rows), bottom=min(max(box.bottom - top, 0), rows),
        left=min(max(box.left - left, 0), columns), right=min(max(box.right - left, 0), columns))
    return clipped if clipped.area > 0 else None


def _unturned(box: Box, told: Mapping[str, Any]) -> Box:
    """The inverse of a turn: it was transposed first, then flipped; ``rows`` and ``columns`` are those before."""
    rows, columns = told["rows"], told["columns"]
    height, width = (columns, rows) if told["transpose"] else (rows, columns)
    top, left, bottom, right = box.top, box.left, box.bottom, box.right
    if told["flip_vertical"]:
        top, bottom = height - bottom, height - top
    if told["flip_horizontal"]:
        left, right = width - right, width - left
    if told["transpose"]:
        top, left, bottom, right = left, top, right, bottom
    return Box(top=top, left=left, bottom=bottom, right=right)


def _undrawn(box: Box, told: Mapping[str, Any]) -> Box:
    down, across = told["rows"] / told["new_rows"], told["columns"] / told["new_columns"]
    return Box(top=box.top * down, bottom=box.bottom * down, left=box.left * across, right=box.right * across)


UNDONE = {"pad": _unpadded, "orient": _unturned, "square_pixels": _undrawn}


def _whole(box: Box) -> Box | None:
    rounded = Box(top=round(box.top), left=round(box.left), bottom=round(box.bottom), right=round(box.right))
    return rounded if rounded.area > 0 else None
