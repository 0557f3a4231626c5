"""YBR_PARTIAL_422 and YBR_PARTIAL_420 to RGB; the full range forms are pydicom's affair."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PARTIAL = frozenset({"YBR_PARTIAL_422", "YBR_PARTIAL_420"})
OFFSET = np.array([16.0, 128.0, 128.0])
TO_RGB = np.array([[1.1644, 0.0, 1.5960], [1.1644, -0.3917, -0.8130], [1.1644, 2.0173, 0.0]])
"""The inverse of the equations of PS3.3 C.7.6.3.1.2, luminance 16..235 and chrominance 16..240."""


def partial_to_rgb(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """Shape (rows, columns, 3) in and out, eight bits."""
    rgb = (samples.astype(np.float64) - OFFSET) @ TO_RGB.T
    shown: NDArray[np.uint8] = np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
    return shown
