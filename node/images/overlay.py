"""A relevance map laid over the frame it explains, as a viewer shows that frame."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from node.domain import ModelImage, Relevance, Transform
from node.errors import NotEvaluable

_Number = TypeVar("_Number", bound=np.generic)

CAPTION = "relevance of the score, not a segmentation"
#: Viridis at nine places: brightness rises evenly, and no kind of colour blindness confuses its order.
_COLOURS = np.array([
    (68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141), (39, 173, 129), (92, 200, 99),
    (170, 220, 50), (253, 231, 37)], dtype=np.float32)
#: How much of the frame the strongest place hides.
_OPACITY = 0.6
_SMALLEST, _LARGEST = 512, 1024
_LINE = 20


def overlay(relevance: Relevance, image: ModelImage, notices: Sequence[str] = ()) -> bytes:
    """PNG of the frame without padding, turned back as stored, with the map in colour and a caption below.

    Pixels stay square, as a viewer shows them. ``notices`` are written under the caption.

    Raises:
        NotEvaluable: the map failed its deletion check; it is not shown.
    """
    if not relevance.reliable:
        raise NotEvaluable(relevance.reason)
    shown = as_displayed(image.pixels.astype(np.float32), image.transforms)
    strength = as_displayed(_strength(relevance.map), image.transforms)
    hidden = _OPACITY * strength[:, :, None]
    mixed = shown * (1 - hidden) + _coloured(strength) * hidden
    lines = (f"{relevance.finding}: {CAPTION}", f"{relevance.method.value}, {relevance.model.name}", *notices)
    return _sheet(mixed.round().astype(np.uint8), lines)


def frame(image: ModelImage, notices: Sequence[str] = ()) -> bytes:
    """PNG of the frame without padding, turned back as stored, of the size of its overlay."""
    lines = ("As received, without overlay", f"frame {image.frame}", *notices)
    return _sheet(as_displayed(image.pixels, image.transforms), lines)


def seen(image: ModelImage, notices: Sequence[str] = ()) -> bytes:
    """PNG of the square as it is handed to the model, which makes it smaller."""
    side = len(image.pixels)
    return _sheet(image.pixels, ("As the model sees it", f"{side} x {side} before the model's resize", *notices))


def as_displayed(square: NDArray[_Number], transforms: Sequence[Transform]) -> NDArray[_Number]:
    """A square (side, side, ...) with padding and orientation undone; pixels that were made square stay so."""
    undone = square
    for step in reversed(transforms):
        told = step.parameters
        if step.name == "pad":
            undone = undone[told["top"] : told["top"] + told["rows"], told["left"] : told["left"] + told["columns"]]
        elif step.name == "orient":
            undone = undone[::-1] if told["flip_vertical"] else undone
            undone = undone[:, ::-1] if told["flip_horizontal"] else undone
            undone = undone.swapaxes(0, 1) if told["transpose"] else undone
    return undone


def _strength(relevance: NDArray[np.float32]) -> NDArray[np.float32]:
    """0..1: from the median, which is shown as nothing, to the highest."""
    low, high = float(np.median(relevance)), float(relevance.max())
    return np.asarray(np.clip((relevance - low) / max(high - low, 1e-6), 0, 1), dtype=np.float32)


def _coloured(strength: NDArray[np.float32]) -> NDArray[np.float32]:
    places = np.linspace(0, 1, len(_COLOURS))
    return np.stack([np.interp(strength, places, _COLOURS[:, each]) for each in range(3)], axis=-1).astype(np.float32)


def _sheet(pixels: NDArray[np.uint8], lines: Sequence[str]) -> bytes:
    return _png(_captioned(_sized(Image.fromarray(np.ascontiguousarray(pixels))), lines))


def _sized(picture: Image.Image) -> Image.Image:
    """Large enough for its caption, and small enough for a page."""
    longest = max(picture.size)
    wanted = min(max(longest, _SMALLEST), _LARGEST)
    width, height = (max(1, round(length * wanted / longest)) for length in picture.size)
    return picture.resize((width, height), Image.Resampling.BILINEAR)


def _captioned(picture: Image.Image, lines: Sequence[str]) -> Image.Image:
    width = max(picture.width, _SMALLEST)
    sheet = Image.new("RGB", (width, picture.height + _LINE * len(lines) + 8))
    sheet.paste(picture, ((width - picture.width) // 2, 0))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for number, line in enumerate(lines):
        pen.text((6, picture.height + 4 + _LINE * number), line, fill=(255, 255, 255), font=font)
    return sheet


def _png(picture: Image.Image) -> bytes:
    written = io.BytesIO()
    picture.save(written, format="PNG")
    return written.getvalue()
