"""Resizing to what a model takes.

Both models were trained and measured on squares resized without antialiasing, so ``tf`` does the same:
half-pixel centres, bilinear, then truncation to uint8. ``pil`` is what the models' published processors do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from node.domain import ModelImage
from node.errors import ConfigurationError, Undecodable
from node.resizing import bilinear


def model_pixels(image: ModelImage, side: int, resize: str) -> NDArray[np.uint8]:
    """uint8 (side, side, 3) of one image; ``resize`` is ``tf`` or ``pil``.

    Raises:
        Undecodable: the pixels are not a uint8 RGB square.
    """
    pixels = image.pixels
    square = pixels.ndim == 3 and pixels.shape[0] == pixels.shape[1] > 0 and pixels.shape[2] == 3
    if not square or pixels.dtype != np.uint8:
        raise Undecodable(
            f"instance {image.sop_instance_uid}: expected uint8 (side, side, 3), found {pixels.dtype} {pixels.shape}"
        )
    if pixels.shape[0] == side:
        return pixels
    return bilinear(pixels, side) if resize == "tf" else _pil(pixels, side)


def normalised(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 (N, side, side, 3) to float32 (N, 3, side, side); mean and std are (3,) on the 0..1 scale."""
    return (pixels.permute(0, 3, 1, 2).float() / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)


def square_side(size: object) -> int:
    """The side of a processor's ``size``.

    Raises:
        ConfigurationError: it is not a square.
    """
    height, width = getattr(size, "height", None), getattr(size, "width", None)
    if not isinstance(height, int) or height != width:
        raise ConfigurationError(f"the checkpoint's processor has size {size}, expected the same height and width")
    return height


def _pil(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR))
