"""The same SOP Instance UID again: what changed, in the head and in the pixels."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from node.domain import ImageHead
from node.header.pixels import encoded_digest, too_large

log = logging.getLogger(__name__)

UPDATES = (
    "study_instance_uid",
    "series_instance_uid",
    "patient_id",
    "issuer_of_patient_id",
    "patient_birth_date",
    "patient_sex",
    "accession_number",
    "laterality",
    "patient_orientation",
    "view_position",
)
"""Whose image it is, which order it answers, and which side is which: a change here makes an update.

Everything else (Patient's Name and its spelling, descriptions, dates of the study, Station Name, windows,
private elements) is coercion on the way, and the same pixels with it are a duplicate. Patient's Name is not
in the list because archives reformat it at will, and an identity that changes also changes Patient ID.
"""
DECODING = (sys.executable, "-m", "node.header")
"""Decodes two files and prints :data:`SAME` or :data:`OTHER`."""
SAME, OTHER = "same", "other"
SECONDS = 30.0
"""For decoding both; whoever compares waits so long at most."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def changed_attributes(first: ImageHead, second: ImageHead) -> tuple[str, ...]:
    """The attributes of :data:`UPDATES` that differ; empty means that ``second`` is a duplicate or a conflict.

    A text that was there and is now left out counts as a change: an archive that clears an accession number
    has unlinked the order.
    """
    return tuple(name for name in UPDATES if _comparable(first, name) != _comparable(second, name))


def _comparable(head: ImageHead, name: str) -> object:
    value = getattr(head, name)
    return value.strip() if isinstance(value, str) else value


def same_pixels(old: Path, new: Path) -> bool:
    """If both hold the same stored values, whatever their lossless encoding.

    Decodes only where the encodings differ and the sizes allow it, in a process of its own: a decoder that
    crashes, hangs or fills the memory ends alone, and counts as "not the same" with a warning in the log.

    Raises:
        Undecodable: a file is empty.
        StorageError: a file cannot be read.
    """
    if encoded_digest(old) == encoded_digest(new):
        return True
    return not (too_large(old) or too_large(new)) and same_decoded(old, new)


def same_decoded(old: Path, new: Path, decoding: Sequence[str] = DECODING, seconds: float = SECONDS) -> bool:
    """What ``decoding`` says within ``seconds``; False where it says nothing."""
    try:
        done = subprocess.run(
            [*decoding, str(old), str(new)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env=os.environ | ONE_THREAD, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        reason = f"no end after {seconds:g} s"
    else:
        if done.returncode == 0 and done.stdout.strip() in (SAME, OTHER):
            return done.stdout.strip() == SAME
        reason = f"ended with {done.returncode}"
    log.warning("pixels of %s and %s count as different: decoding them %s", old.name, new.name, reason,
                extra={"action": "pixels.undecided"})
    return False
