"""Pixels that are not square on the patient, made square."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from node.domain import Transform
from node.images.lookup import floats

SPACINGS = ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
"""Each states the vertical before the horizontal (PS3.3 C.7.6.3.1.7, 10.7.1.1)."""
SQUARE_ENOUGH = 0.02
LARGEST_RATIO = 8.0
LARGEST_SIDE = 16_384


def ratio_of(image: Dataset) -> tuple[float, str]:
    """Height of a pixel by its width and the attribute that says so; (1, '') where nothing usable is said."""
    for keyword in SPACINGS:
        stated = floats(image, keyword)
        if len(stated) >= 2 and np.isfinite(stated[:2]).all() and min(stated[:2]) > 0:
            return stated[0] / stated[1], keyword
    return 1.0, ""


def squared(pixels: NDArray[np.uint8], image: Dataset) -> tuple[NDArray[np.uint8], list[Transform]]:
    """The axis with the longer pixels drawn out, shape (rows, columns, 3); no step where pixels are square."""
    ratio, keyword = ratio_of(image)
    if abs(ratio - 1.0) <= SQUARE_ENOUGH:
        return pixels, []
    rows, columns = pixels.shape[:2]
    new_rows, new_columns = round(rows * max(ratio, 1.0)), round(columns * max(1.0 / ratio, 1.0))
    plausible = 1.0 / LARGEST_RATIO <= ratio <= LARGEST_RATIO and max(new_rows, new_columns) <= LARGEST_SIDE
    if not plausible:
        new_rows, new_columns = rows, columns
    step = Transform(name="square_pixels", parameters={
        "attribute": keyword, "ratio": ratio, "applied": plausible, "rows": rows, "columns": columns,
        "new_rows": new_rows, "new_columns": new_columns})
    if not plausible:
        return pixels, [step]
    drawn = Image.fromarray(np.ascontiguousarray(pixels)).resize((new_columns, new_rows), Image.Resampling.BILINEAR)
    return np.asarray(drawn, dtype=np.uint8), [step]
