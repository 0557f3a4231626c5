"""A stored instance on disk: its head in memory, its pixel data left where they lie and read piece by piece."""

from __future__ import annotations

import io
import os
import tempfile
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, cast

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import (
    _at_pixel_data,
    _read_file_meta_info,
    dcmread,
    read_dataset,
    read_preamble,
)
from pydicom.uid import DeflatedExplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from node.images.encapsulation import frame_starts

PIXEL_KEYWORDS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
UNDEFINED = 0xFFFFFFFF
LARGEST_KEPT = 1 << 20
"""Larger values before the pixel data stay in the file until somebody asks for them."""
LARGEST_INFLATED = 1 << 32
CHUNK = 1 << 20


class PositionedReader(io.RawIOBase):
    """Part of a file as a file of its own; reading moves no position that another thread could see."""

    def __init__(self, descriptor: int, start: int, length: int) -> None:
        self._descriptor, self._start, self._length = descriptor, start, max(0, length)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._length - self._at)
        found = os.pread(self._descriptor, left if size is None or size < 0 else min(size, left),
                         self._start + self._at)
        self._at += len(found)
        return found


@dataclass(frozen=True, kw_only=True)
class PixelElement:
    """The element that holds the pixel data, value excluded. ``length`` counts the bytes that are in the file."""

    keyword: str
    vr: str
    offset: int
    length: int


@dataclass(frozen=True, kw_only=True)
class StoredImage:
    """An open Part 10 file. ``head`` is everything before the pixel data; ``pixels`` is None where there are none.

    Close it, or use it in a ``with`` statement; threads may share it.
    """

    path: Path
    head: Dataset
    file: BinaryIO
    pixels: PixelElement | None

    def reader(self) -> PositionedReader:
        """The value of the pixel data, as encoded, from its first byte."""
        if self.pixels is None:
            raise ValueError("no Pixel Data")
        return PositionedReader(self.file.fileno(), self.pixels.offset, self.pixels.length)

    @cached_property
    def frame_starts(self) -> list[int]:
        """Of encapsulated pixel data: where in :meth:`reader` each frame begins, found once."""
        frames = max(1, int(self.head.get("NumberOfFrames") or 1))
        extended = bytes(self.head.get("ExtendedOffsetTable") or b"")
        return frame_starts(cast(BinaryIO, self.reader()), frames, extended)

    def close(self) -> None:
        self.file.close()

    def __enter__(self) -> StoredImage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def opened(path: Path) -> StoredImage:
    """Read the head of ``path`` and find its pixel data. Raises what pydicom raises."""
    with ExitStack() as opening:  # closes what is open, unless the image takes it over
        file: BinaryIO = opening.enter_context(path.open("rb"))
        read_preamble(file, force=False)
        meta = _read_file_meta_info(file)
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            with file:
                file = opening.enter_context(_inflated(file))
            head = _inflated_head(file, meta)
        else:
            file.seek(0)
            head = dcmread(file, stop_before_pixels=True, defer_size=LARGEST_KEPT)
        image = StoredImage(path=path, head=head, file=file, pixels=_pixel_element(file, head))
        opening.pop_all()
        return image


def _inflated(file: BinaryIO) -> BinaryIO:
    """The data set of a deflated file (PS3.5 section A.5) in a nameless file, never whole in memory."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    with ExitStack() as opening:
        plain = cast(BinaryIO, opening.enter_context(tempfile.TemporaryFile()))
        data = file.read(CHUNK)
        while data and not inflater.eof and plain.tell() <= LARGEST_INFLATED:
            plain.write(inflater.decompress(data, CHUNK))
            data = inflater.unconsumed_tail or file.read(CHUNK)
        if not inflater.eof:
            raise ValueError(f"the deflated data set is cut off or inflates to more than {LARGEST_INFLATED} bytes")
        plain.flush()
        plain.seek(0)
        opening.pop_all()
        return plain


def _inflated_head(plain: BinaryIO, meta: FileMetaDataset) -> Dataset:
    head = read_dataset(plain, is_implicit_VR=False, is_little_endian=True, stop_when=_at_pixel_data)
    head.file_meta = meta
    head.set_original_encoding(False, True, head._character_set)
    return head


def _pixel_element(file: BinaryIO, head: Dataset) -> PixelElement | None:
    """The element at which reading the head stopped; None at the end of the file."""
    implicit, little = head.original_encoding
    order: Literal["little", "big"] = "big" if little is False else "little"
    start, size = file.tell(), os.fstat(file.fileno()).st_size
    found = os.pread(file.fileno(), 12, start)
    if len(found) < 8:
        return None
    group, element = (int.from_bytes(found[at : at + 2], order) for at in (0, 2))
    keyword = PIXEL_KEYWORDS.get(group << 16 | element)
    if keyword is None:
        return None
    vr = "" if implicit else found[4:6].decode("latin-1")
    if not vr.isupper() or not vr.isascii():
        vr, offset, length = "OW", start + 8, int.from_bytes(found[4:8], order)
    elif vr in EXPLICIT_VR_LENGTH_32:
        offset, length = start + 12, int.from_bytes(found[8:12], order)
    else:
        offset, length = start + 8, int.from_bytes(found[6:8], order)
    present = max(0, size - offset)
    return PixelElement(keyword=keyword, vr=vr, offset=offset,
                        length=present if length == UNDEFINED else min(length, present))
