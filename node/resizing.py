"""Bilinear resizing without antialiasing, as ``tf.image.resize`` does it and as the models were trained.

Each target pixel is made of four source pixels, so only those are gathered: 0.8 of a radiograph's 5 million.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Taps:
    """Along one axis: ``positions`` (2 n) are the n first neighbours and then the n second ones.

    ``weights`` (n), float32, are those of the second.
    """

    positions: NDArray[np.int64]
    weights: NDArray[np.float32]


def taps(size: int, target: int) -> Taps:
    """From ``size`` source positions to ``target`` ones, with half-pixel centres; all arithmetic in float32."""
    scale = np.float32(size) / np.float32(target)
    centres = (np.arange(target, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    first = np.floor(centres)
    positions = np.concatenate([np.maximum(first, 0), np.minimum(np.ceil(centres), size - 1)]).astype(np.int64)
    return Taps(positions=positions, weights=centres - first)


def blended(corners: NDArray[np.uint8], rows: Taps, columns: Taps) -> NDArray[np.uint8]:
    """uint8 (n, m, ...) of the neighbours ``corners`` (2 n, 2 m, ...) gathered at ``positions``; truncated."""
    n, m = len(rows.weights), len(columns.weights)
    depth = (1,) * (corners.ndim - 2)
    near, far = corners[:, :m].astype(np.float32), corners[:, m:].astype(np.float32)
    across = near + (far - near) * columns.weights.reshape(1, m, *depth)
    top, bottom = across[:n], across[n:]
    mixed = top + (bottom - top) * rows.weights.reshape(n, 1, *depth)
    truncated: NDArray[np.uint8] = mixed.astype(np.uint8)
    return truncated


def bilinear(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """uint8 (rows, columns, ...) to (side, side, ...)."""
    rows, columns = taps(pixels.shape[0], side), taps(pixels.shape[1], side)
    return blended(pixels[rows.positions][:, columns.positions], rows, columns)
