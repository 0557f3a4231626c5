"""Stored values of one frame; the border at which every exception of pydicom and its codecs ends."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from node.errors import StorageError, Undecodable
from node.images.codestreams import FrameSize, bare, require_size
from node.images.encapsulation import END_OF_IMAGE, encapsulated, fragments
from node.images.files import PixelElement, StoredImage, opened
from node.images.ybr import PARTIAL, partial_to_rgb

FOREIGN = (
    ArithmeticError, AssertionError, AttributeError, BytesLengthException, EOFError, ImportError, InvalidDicomError,
    LookupError, MemoryError, RuntimeError, TypeError, ValueError, struct.error, zlib.error,
)
"""What pydicom and its plugins raise on data they cannot handle; RecursionError is a RuntimeError."""
LARGEST_FRAME = 1 << 30
BITS_ALLOCATED = {"PixelData": frozenset({1, 8, 16, 32}), "FloatPixelData": frozenset({32}),
                  "DoubleFloatPixelData": frozenset({64})}
RETIRED = frozenset({"ARGB", "CMYK", "HSV"})
"""Photometric Interpretations that PS3.3 C.7.6.3.1.2 has retired, and that no two readers show alike."""
HALVED = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422"})
"""Stored natively, two pixels share their chrominance."""
ENDS_WITH_EOI = ("1.2.840.10008.1.2.4.5", "1.2.840.10008.1.2.4.7", "1.2.840.10008.1.2.4.8",
                 "1.2.840.10008.1.2.4.9", "1.2.840.10008.1.2.4.20")
"""Syntaxes whose code streams end with FF D9."""

JPEG_2000 = ("1.2.840.10008.1.2.4.9", "1.2.840.10008.1.2.4.20")
PLUGINS = ("pyjpegls", "pylibjpeg", "pydicom")
"""Decoders in the order of preference. GDCM is not among them: broken JPEG makes it end the process."""

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


def load(path: Path) -> StoredImage:
    """The stored instance, open: its head is read, its pixel data stay in the file. Use it in a ``with`` statement.

    Raises:
        Undecodable: it is no DICOM file or cannot be parsed.
        StorageError: the file cannot be read.
    """
    try:
        with border("the data set cannot be parsed"):
            image = opened(path)
    except OSError as error:
        if error.errno is None:
            raise Undecodable(f"the data set cannot be parsed: {error}") from error
        raise StorageError(f"{path.name}: cannot be read ({error.strerror}); look at node.data_dir") from error
    if not len(image.head):
        image.close()
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


def text(image: Dataset, keyword: str) -> str:
    """An element as text, several values joined with a backslash; empty where there is none."""
    found = value(image, keyword)
    if isinstance(found, Sequence) and not isinstance(found, str | bytes):
        return "\\".join(str(part).strip() for part in found)
    return "" if found is None else str(found).strip()


def frame(image: StoredImage, index: int = 0) -> NDArray[Any]:
    """One frame, the first is 0: (rows, columns), or (rows, columns, 3) with YBR already turned to RGB.

    Only this frame's bytes are read. Monochrome values are as stored, sign extended, without what lies
    outside Bits Stored.

    Raises:
        Undecodable: with the reason, such as truncation or a missing decoder.
        StorageError: the file cannot be read any more.
    """
    head = image.head
    element = _pixel_element(image)
    syntax = _transfer_syntax(head)
    _check_size(head, element.keyword)
    _check_photometric(head, syntax)
    frames = max(1, number(head, "NumberOfFrames") or 1)
    if not 0 <= index < frames:
        raise Undecodable(f"frame {index + 1} of {frames} does not exist")
    try:
        with border("the pixel data cannot be decoded"):
            options = _options(head, element, frames)
            if not syntax.is_encapsulated:
                _check_native_length(head, element, frames)
                pixels = cast(BinaryIO, image.reader())
                decoded, _ = get_decoder(syntax).as_array(pixels, index=index, **options)
            else:
                code = encapsulated(_encoded_frame(image, syntax, index))
                options["number_of_frames"] = 1
                decoded, _ = get_decoder(syntax).as_array(
                    code, index=0, decoding_plugin=_plugin_for(syntax), **options)
    except OSError as error:
        raise StorageError(f"{image.path.name}: cannot be read ({error.strerror}); look at node.data_dir") from error
    if decoded.ndim not in (2, 3):
        raise Undecodable(f"the pixel data decodes to {decoded.ndim} dimensions, expected rows and columns")
    if decoded.ndim == 3:
        return partial_to_rgb(decoded) if options["raw"] else decoded
    return decoded if decoded.dtype.kind == "f" else masked(decoded, head)


def native(image: StoredImage) -> NDArray[Any] | None:
    """The first frame, (rows, columns), read as it is stored; None where it is compressed or not of that form.

    Every bit as stored: :func:`masked` makes values of them.

    Raises:
        Undecodable: with the reason, such as truncation.
        StorageError: the file cannot be read any more.
    """
    head = image.head
    element, syntax = _pixel_element(image), _transfer_syntax(head)
    _check_size(head, element.keyword)
    _check_photometric(head, syntax)
    bits = number(head, "BitsAllocated") or 0
    plain = element.keyword == "PixelData" and bits in (8, 16) and number(head, "SamplesPerPixel") == 1
    if not plain or syntax not in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        return None
    _check_native_length(head, element, number(head, "NumberOfFrames") or 1)
    rows, columns = number(head, "Rows") or 0, number(head, "Columns") or 0
    kind = "i" if number(head, "PixelRepresentation") == 1 else "u"
    try:
        data = image.reader().read(frame_bits(head) // 8)
    except OSError as error:
        raise StorageError(f"{image.path.name}: cannot be read ({error.strerror}); look at node.data_dir") from error
    if len(data) < frame_bits(head) // 8:
        raise Undecodable(f"pixel data truncated: {len(data)} of {frame_bits(head) // 8} bytes")
    return np.frombuffer(data, dtype=f"<{kind}{bits // 8}").reshape(rows, columns)


def _options(head: Dataset, element: PixelElement, frames: int) -> dict[str, Any]:
    """What the decoder is told. Single samples come with every bit, as pydicom does not know High Bit."""
    options = as_pixel_options(head, pixel_keyword=element.keyword, pixel_vr=element.vr, number_of_frames=frames)
    options.pop("extended_offsets", None)
    options["raw"] = text(head, "PhotometricInterpretation") in PARTIAL
    if options["raw"]:
        options["photometric_interpretation"] = "YBR_FULL_422"
    if number(head, "SamplesPerPixel") == 1:
        options["correct_unused_bits"] = False
    return options


def _pixel_element(image: StoredImage) -> PixelElement:
    if image.pixels is None:
        raise Undecodable("no Pixel Data")
    if not image.pixels.length:
        raise Undecodable("Pixel Data is empty")
    return image.pixels


def _transfer_syntax(head: Dataset) -> UID:
    syntax = UID(str(getattr(head, "file_meta", Dataset()).get("TransferSyntaxUID", "")))
    if not syntax:
        raise Undecodable("no Transfer Syntax UID in the file meta information")
    if not _is_decodable(syntax):
        raise Undecodable(f"no decoder for transfer syntax {syntax} ({NAMES.get(syntax, syntax.name)})")
    return syntax


def _is_decodable(syntax: UID) -> bool:
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return False
    return bool(_plugin_for(syntax)) if decoder.is_encapsulated else decoder.is_available


def _plugin_for(syntax: UID) -> str:
    """The decoder to use, one per syntax; empty where there is none."""
    available = get_decoder(syntax).available_plugins
    preferred = ("pillow", *PLUGINS) if syntax == JPEGBaseline8Bit else PLUGINS
    return next((plugin for plugin in preferred if plugin in available), "")


def _check_size(head: Dataset, keyword: str) -> None:
    shape = {name: number(head, name) or 0 for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")}
    if missing := [name for name, size in shape.items() if size <= 0]:
        raise Undecodable(f"{', '.join(missing)} missing or 0")
    if shape["BitsAllocated"] not in BITS_ALLOCATED[keyword]:
        raise Undecodable(f"Bits Allocated {shape['BitsAllocated']} is not supported")
    size = prod(shape.values()) // 8
    if size > LARGEST_FRAME:
        raise Undecodable(f"one frame takes {size} bytes, more than the {LARGEST_FRAME} that are decoded")


def _check_photometric(head: Dataset, syntax: UID) -> None:
    photometric = text(head, "PhotometricInterpretation")
    if photometric in RETIRED or (photometric == "YBR_PARTIAL_420" and not syntax.is_encapsulated):
        raise Undecodable(f"Photometric Interpretation {photometric!r} is not supported")


def _check_native_length(head: Dataset, element: PixelElement, frames: int) -> None:
    """Refuse data that are too short; rows that never arrived must not look like black lung."""
    expected = -(-frame_bits(head) * frames // 8)
    if element.length < expected:
        raise Undecodable(f"pixel data truncated: {element.length} of {expected} bytes")


def frame_bits(head: Dataset) -> int:
    """Bits of one frame as stored natively; frames of single bits follow each other without a gap."""
    rows, columns, samples, bits = (
        number(head, name) or 0 for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
    )
    return rows * columns * (2 if text(head, "PhotometricInterpretation") in HALVED else samples) * bits


def _encoded_frame(image: StoredImage, syntax: UID, index: int) -> bytes:
    """The code stream of one frame. Decoders fill the rest of one that is cut off with grey; the end marker tells."""
    starts = [*image.frame_starts, None]
    start = starts[index] if index < len(starts) else None
    pixels = cast(BinaryIO, image.reader())
    code = b"" if start is None else b"".join(fragments(pixels, start, starts[index + 1], LARGEST_FRAME))
    if not code:
        raise Undecodable("Pixel Data holds no frame" if not index else f"Pixel Data holds no frame {index + 1}")
    if syntax.startswith(ENDS_WITH_EOI) and END_OF_IMAGE not in code[-64:]:
        raise Undecodable(f"pixel data truncated: no end of image marker in {len(code)} compressed bytes")
    if syntax.startswith(ENDS_WITH_EOI):
        rows, columns, samples = (number(image.head, name) or 0 for name in ("Rows", "Columns", "SamplesPerPixel"))
        require_size(code, FrameSize(rows=rows, columns=columns, components=samples))
    return bare(code) if syntax.startswith(JPEG_2000) else code


def masked(stored: NDArray[Any], image: Dataset) -> NDArray[Any]:
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
