"""Probe images of the prompt set `demo-chest`: one plain finding each, and none: python -m node.demo.probes FILE.

The node scores them when the set meets a checkpoint; what shows a finding must score above what does not.
"""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from node.demo.dataset import SIZE
from node.demo.phantom import FINDINGS, draw

#: Seeds from here on; used by no training, calibration or measurement.
FIRST_SEED = 6_600_000
HEALTHY = 2


def plain(finding: str) -> NDArray[np.uint8]:
    """The first drawing of a finding that nobody could miss, (SIZE, SIZE)."""
    for seed in count(FIRST_SEED):
        phantom = draw(seed, SIZE, [finding])
        if phantom.findings[0].conspicuity >= 0.6:
            return (phantom.image * 255).astype(np.uint8)
    raise AssertionError("seeds do not end")


def probes() -> tuple[NDArray[np.uint8], list[str]]:
    """Images (N, SIZE, SIZE) and what each shows, empty for nothing."""
    healthy = [(draw(FIRST_SEED + i, SIZE, []).image * 255).astype(np.uint8) for i in range(HEALTHY)]
    return np.stack([*map(plain, FINDINGS), *healthy]), [*FINDINGS, *[""] * HEALTHY]


def main() -> None:
    """Write the file named on the command line."""
    pixels, shows = probes()
    np.savez_compressed(Path(sys.argv[1]), pixels=pixels, shows=np.array(shows))


if __name__ == "__main__":
    main()
