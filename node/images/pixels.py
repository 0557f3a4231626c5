"""Stored values of one frame; the border at which every exception of pydicom and its codecs ends."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.errors import InvalidDicomError
from pydicom.filereader import dcmread
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import UID

from node.errors import StorageError, Undecodable

FOREIGN = (
    ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, InvalidDicomError, LookupError,
    MemoryError, RuntimeError, TypeError, ValueError, struct.error, zlib.error,
)
"""What pydicom and its plugins raise on data they cannot handle; RecursionError is a RuntimeError."""
LARGEST_FRAME = 1 << 30
BITS_ALLOCATED = frozenset({8, 16, 32})
ENDS_WITH_EOI = ("1.2.840.10008.1.2.4.5", "1.2.840.10008.1.2.4.7", "1.2.840.10008.1.2.4.8",
                 "1.2.840.10008.1.2.4.9", "1.2.840.10008.1.2.4.20")
"""JPEG, JPEG-LS, JPEG 2000 and HTJ2K code streams all end with FF D9."""

NAMES = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}
"""Transfer syntaxes that pydicom's dictionary does not name yet."""


@contextmanager
def border(doing: str) -> Iterator[None]:
    """Map what others raise into :class:`Undecodable`; ``doing`` names the step in the message."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except FOREIGN as error:
        sentence = " ".join(str(error).split())[:300]
        raise Undecodable(f"{doing}: {sentence or type(error).__name__}") from error


def load(path: Path) -> Dataset:
    """The stored instance with its pixel data, still encoded.

    Raises:
        Undecodable: it is no DICOM file or cannot be parsed.
        StorageError: the file cannot be read.
    """
    try:
        with border("the data set cannot be parsed"):
            image = dcmread(path)
    except OSError as error:
        if error.errno is None:
            raise Undecodable(f"the data set cannot be parsed: {error}") from error
        raise StorageError(f"{path.name}: cannot be read ({error.strerror}); look at node.data_dir") from error
    if not len(image):
        raise Undecodable("the data set is truncated: a sequence or the pixel data does not end")
    return image


def value(image: Dataset, keyword: str) -> Any:
    """An element's value; None where it is absent, empty or cannot be converted."""
    try:
        found = image.get(keyword)
    except (*FOREIGN, OSError):
        return None
    return None if found is None or found == "" else found


def number(image: Dataset, keyword: str) -> int | None:
    """A whole number, also from a text or from bytes left unconverted; None where it is none."""
    found = value(image, keyword)
    if isinstance(found, bytes):
        found = int.from_bytes(found, "little") if len(found) == 2 else None
    try:
        return None if found is None else int(found)
    except (TypeError, ValueError):
        return None


def frame(image: Dataset) -> NDArray[Any]:
    """The first frame: (rows, columns), or (rows, columns, 3) with YBR already turned to RGB.

    Monochrome values are as stored, sign extended, without what lies outside Bits Stored.

    Raises:
        Undecodable: with the reason, such as truncation or a missing decoder.
    """
    syntax = _transfer_syntax(image)
    _check_size(image)
    with border("the pixel data cannot be decoded"):
        if not syntax.is_encapsulated:
            _check_native_length(image)
        elif syntax.startswith(ENDS_WITH_EOI):
            _check_end_of_image(image)
        decoder = get_decoder(syntax)
        decoded, _ = decoder.as_array(image, index=0, raw=False, **as_pixel_options(image))
    if decoded.ndim not in (2, 3):
        raise Undecodable(f"the pixel data decodes to {decoded.ndim} dimensions, expected rows and columns")
    return decoded if decoded.ndim == 3 or decoded.dtype.kind == "f" else _masked(decoded, image)


def _transfer_syntax(image: Dataset) -> UID:
    if not any(keyword in image for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise Undecodable("no Pixel Data")
    if "PixelData" in image and not value(image, "PixelData"):
        raise Undecodable("Pixel Data is empty")
    syntax = UID(str(getattr(image, "file_meta", Dataset()).get("TransferSyntaxUID", "")))
    if not syntax:
        raise Undecodable("no Transfer Syntax UID in the file meta information")
    try:
        usable = get_decoder(syntax).is_available
    except NotImplementedError:
        usable = False
    if not usable:
        raise Undecodable(f"no decoder for transfer syntax {syntax} ({NAMES.get(syntax, syntax.name)})")
    return syntax


def _check_size(image: Dataset) -> None:
    shape = {name: number(image, name) or 0 for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")}
    if missing := [name for name, size in shape.items() if size <= 0]:
        raise Undecodable(f"{', '.join(missing)} missing or 0")
    if shape["BitsAllocated"] not in BITS_ALLOCATED:
        raise Undecodable(f"Bits Allocated {shape['BitsAllocated']} is not supported")
    size = prod(shape.values()) // 8
    if size > LARGEST_FRAME:
        raise Undecodable(f"one frame takes {size} bytes, more than the {LARGEST_FRAME} that are decoded")
    if "NumberOfFrames" in image and (number(image, "NumberOfFrames") or 0) < 1:
        del image.NumberOfFrames


def _check_native_length(image: Dataset) -> None:
    """Refuse data that are too short; rows that never arrived must not look like black lung."""
    expected = _frame_bytes(image) * (number(image, "NumberOfFrames") or 1)
    present = len(value(image, "PixelData") or b"")
    if "PixelData" in image and present < expected:
        raise Undecodable(f"pixel data truncated: {present} of {expected} bytes")


def _frame_bytes(image: Dataset) -> int:
    rows, columns, samples, bits = (
        number(image, name) or 0 for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
    )
    if str(value(image, "PhotometricInterpretation")).strip() == "YBR_FULL_422":
        samples = 2
    return ceil(rows * columns * samples * bits / 8)


def _check_end_of_image(image: Dataset) -> None:
    """Decoders fill the rest of a cut off code stream with grey; the end marker tells."""
    frames = generate_frames(image.PixelData, number_of_frames=number(image, "NumberOfFrames") or 1)
    first = next(frames, b"")
    if not first:
        raise Undecodable("Pixel Data holds no frame")
    if b"\xff\xd9" not in first[-64:]:
        raise Undecodable(f"pixel data truncated: no end of image marker in {len(first)} compressed bytes")


def _masked(stored: NDArray[Any], image: Dataset) -> NDArray[Any]:
    """Values without overlay bits or junk outside Bits Stored (PS3.5 section 8.1.1), sign extended."""
    width = stored.dtype.itemsize * 8
    bits = number(image, "BitsStored") or width
    if not 0 < bits <= width:
        return stored
    high = number(image, "HighBit")
    shift = max(0, (bits - 1 if high is None else high) + 1 - bits) if bits < width else 0
    kept = (stored.astype(np.int64) >> min(shift, width - bits)) & ((1 << bits) - 1)
    if number(image, "PixelRepresentation") == 1:
        sign = 1 << (bits - 1)
        kept = (kept ^ sign) - sign
    return kept
