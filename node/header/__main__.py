"""``python -m node.header OLD NEW``: if two files hold the same pixels, in a process that may crash."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from node.header.comparison import OTHER, SAME
from node.header.pixels import pixel_digest

ADDRESS_SPACE = 4 << 30
"""Bytes. Decoders keep several copies of the largest frame, and libraries reserve more than they use."""


def main(old: str, new: str) -> None:
    """Print the answer. What no decoder can read differs in its encoding, or nobody would ask."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    same = pixel_digest(Path(old)) == pixel_digest(Path(new))
    sys.stdout.write(SAME if same else OTHER)


if __name__ == "__main__":
    main(*sys.argv[1:])
