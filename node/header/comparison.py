"""The same SOP Instance UID again: what changed, in the head and in the pixels."""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import dcmread
from pydicom.pixels.utils import iter_pixels

from node.domain import ImageHead
from node.errors import StorageError
from node.header.elements import DEFLATED
from node.header.reading import PIXELS, stored

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
_FOREIGN = (ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, InvalidDicomError, LookupError,
            MemoryError, RuntimeError, TypeError, ValueError, struct.error, zlib.error)
"""What pydicom and its decoders raise on bytes they cannot handle."""
CHUNK = 1 << 20
ROWS = 256


def changed_attributes(first: ImageHead, second: ImageHead) -> tuple[str, ...]:
    """The attributes of :data:`UPDATES` that differ; empty means that ``second`` is a duplicate or a conflict.

    A text that was there and is now left out counts as a change: an archive that clears an accession number
    has unlinked the order.
    """
    return tuple(name for name in UPDATES if _comparable(first, name) != _comparable(second, name))


def _comparable(head: ImageHead, name: str) -> object:
    value = getattr(head, name)
    return value.strip() if isinstance(value, str) else value


def pixel_digest(path: Path) -> str:
    """sha256 (hex) that is equal for the same stored values in any lossless encoding.

    Over all decoded frames, one in memory at a time; where they do not decode, over the encoded value; where
    there is no Pixel Data, over nothing, so that only the head can differ.

    Raises:
        Undecodable: the file is empty.
        StorageError: the file cannot be read.
    """
    try:
        return _decoded_digest(path)
    except _FOREIGN:
        return _encoded_digest(path)
    except OSError as error:
        if error.errno is None:  # pydicom's own, about bytes and not about the disk
            return _encoded_digest(path)
        raise StorageError(f"{path.name}: cannot be read ({error.strerror}); look at node.data_dir") from error


def _decoded_digest(path: Path) -> str:
    with stored(path) as (meta, _):
        deflated = meta.text(0x00020010) in DEFLATED
    digest = hashlib.sha256(b"decoded")
    description = dcmread(path, stop_before_pixels=True, specific_tags=["BitsStored", "HighBit", "PixelRepresentation"])
    for frame in iter_pixels(dcmread(path)) if deflated else iter_pixels(path):
        digest.update(repr(frame.shape).encode())
        for row in range(0, frame.shape[0], ROWS):
            digest.update(_canonical(frame[row : row + ROWS], description).tobytes())
    return digest.hexdigest()


def _canonical(values: NDArray[Any], description: Dataset) -> NDArray[Any]:
    """Stored values without what lies outside Bits Stored, in one width and byte order."""
    if values.dtype.kind == "f":
        return values.astype("<f8")
    bits = int(description.get("BitsStored") or values.dtype.itemsize * 8)
    shift = max(0, int(description.get("HighBit", bits - 1)) + 1 - bits)
    kept = (values.astype(np.int64) >> shift) & ((1 << bits) - 1)
    if description.get("PixelRepresentation") == 1:
        sign = 1 << (bits - 1)
        kept = (kept ^ sign) - sign
    return kept.astype("<i8")


def _encoded_digest(path: Path) -> str:
    digest = hashlib.sha256(b"encoded")
    with stored(path) as (_, data_set):
        for part in data_set.chunks(PIXELS, CHUNK):
            digest.update(part)
    return digest.hexdigest()
