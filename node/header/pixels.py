"""Digests of an instance's pixels: of the stored values where they decode within bounds, else of their encoding."""

from __future__ import annotations

import hashlib
import struct
import zlib
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import dcmread
from pydicom.pixels.utils import iter_pixels

from node.errors import StorageError
from node.header.elements import DEFLATED
from node.header.reading import INFLATED_AT_MOST, PIXELS, DataSet, stored

DECODED_AT_MOST = 512 << 20
"""Bytes that all frames of an instance may take; above it the encoding speaks for the pixels."""
LITTLE_ENDIAN = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"})
"""Transfer syntaxes that write native pixels with the same bytes (PS3.5 annex A)."""
DESCRIPTION = (0x00280002, 0x00280006, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103)
"""Samples per Pixel, Planar Configuration, Rows, Columns, Bits Allocated, Stored, High Bit, Pixel Representation."""
_FOREIGN = (ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, InvalidDicomError, LookupError,
            MemoryError, RuntimeError, TypeError, ValueError, struct.error, zlib.error)
"""What pydicom and its decoders raise on bytes they cannot handle."""
CHUNK = 1 << 20
ROWS = 256


def pixel_digest(path: Path) -> str:
    """sha256 (hex) that is equal for the same stored values in any lossless encoding.

    Over all decoded frames, one in memory at a time; where they do not decode or are :func:`too_large`,
    over the encoded value; where there is no Pixel Data, over nothing, so that only the head can differ.
    A decoder may use any memory and time, or crash: see :func:`node.header.comparison.same_pixels`.

    Raises:
        Undecodable: the file is empty.
        StorageError: the file cannot be read.
    """
    if too_large(path):
        return encoded_digest(path)
    try:
        return _decoded_digest(path)
    except _FOREIGN:
        return encoded_digest(path)
    except OSError as error:
        if error.errno is None:  # pydicom's own, about bytes and not about the disk
            return encoded_digest(path)
        raise StorageError(f"{path.name}: cannot be read ({error.strerror}); look at node.data_dir") from error


def too_large(path: Path) -> bool:
    """If the frames it declares, or its inflated data set, are more than is decoded. Raises as :func:`pixel_digest`."""
    with stored(path) as (meta, data_set):
        deflated = meta.text(0x00020010) in DEFLATED
        return _declared(data_set) > DECODED_AT_MOST or (deflated and data_set.size >= INFLATED_AT_MOST)


def encoded_digest(path: Path) -> str:
    """sha256 (hex) over the encoded pixels and how they are to be read; the whole file where it breaks off before.

    Raises: as :func:`pixel_digest`.
    """
    with stored(path) as (meta, data_set):
        if not data_set.whole:  # what is not seen may differ
            return _file_digest(path)
        syntax = meta.text(0x00020010)
        described = ("native" if syntax in LITTLE_ENDIAN else syntax, *(data_set.unsigned(tag) for tag in DESCRIPTION),
                     data_set.text(0x00280004), data_set.integer(0x00280008) or 1)
        digest = hashlib.sha256(repr(described if data_set.has_pixel_data else ()).encode())
        for part in data_set.chunks(PIXELS, CHUNK):
            digest.update(part)
    return digest.hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _declared(data_set: DataSet) -> int:
    """Bytes of all decoded frames, by the head."""
    samples, rows, columns = (data_set.unsigned(tag) for tag in (0x00280002, 0x00280010, 0x00280011))
    depth = ceil(data_set.unsigned(0x00280100) / 8)
    return rows * columns * (samples or 1) * (depth or 1) * (data_set.integer(0x00280008) or 1)


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
