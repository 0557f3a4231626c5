"""Broken pictures: an image or a reason, never another exception, never the end of the process, never much memory."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless

from node.domain import ModelImage
from node.errors import BadInput, Undecodable
from node.images import cine, picture, slide
from node.images.codestreams import FrameSize, size_of
from tests.tools.pictures import clip, palette, photograph
from tests.tools.radiographs import REAL, write
from tests.tools.slides import sparse_level, stained

JPEGS = {"SC_rgb_dcmtk_pebpcyps4.dcm": (100, 100, 3), "RG2_JPLY_fixed.dcm": (2140, 1760, 1),
         "sample-op.dcm": (1536, 1536, 1), "NM1_JLSN.dcm": (1024, 256, 1), "SC_rgb_jls_lossy_line.dcm": (100, 100, 3),
         "RG1_J2KI.dcm": (1955, 1841, 1), "GDCMJ2K_TextGBR.dcm": (400, 400, 3), "ELSCINT1_JP2vsJ2K.dcm": (512, 512, 1)}


def code_of(path: Path) -> bytes:
    return next(generate_frames(dcmread(path).PixelData, number_of_frames=1))


def with_code(name: str, code: bytes, folder: Path) -> Path:
    """A real file with another code stream."""
    image = dcmread(REAL / name)
    image.PixelData = encapsulate([code])
    image.save_as(folder / name)
    return folder / name


@pytest.mark.parametrize("name", JPEGS)
def test_the_size_is_read_from_the_head_of_a_code_stream(name: str) -> None:
    rows, columns, components = JPEGS[name]
    assert size_of(code_of(REAL / name)) == FrameSize(rows=rows, columns=columns, components=components)


@pytest.mark.parametrize("code", [b"", b"\xff", b"\xff\xd8\xff", b"\xff\xd8\xff\xd9", b"\xff\x4f\xff\x51", bytes(99)])
def test_what_is_no_code_stream_has_no_size(code: bytes) -> None:
    assert size_of(code) is None


def test_a_code_stream_of_another_size_is_refused_before_a_decoder_believes_it(tmp_path: Path) -> None:
    """65535 by 65535 in three samples would take 12 GB."""
    code = bytearray(code_of(REAL / "SC_rgb_dcmtk_pebpcyps4.dcm"))
    at = code.index(b"\xff\xc0")
    code[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(Undecodable, match="the code stream has 65535 rows, 65535 columns and 3 samples"):
        picture(with_code("SC_rgb_dcmtk_pebpcyps4.dcm", bytes(code), tmp_path))


@pytest.mark.parametrize(("at", "byte"), [(2, 0), (2, 15), (3, 255), (5, 15)])
def test_a_broken_jpeg_ends_no_process(tmp_path: Path, at: int, byte: int) -> None:
    """GDCM aborts on these."""
    code = bytearray(code_of(REAL / "SC_rgb_dcmtk_pebpcyps4.dcm"))
    code[at] = byte
    with pytest.raises(Undecodable):
        picture(with_code("SC_rgb_dcmtk_pebpcyps4.dcm", bytes(code), tmp_path))


def test_a_jp2_box_without_a_length_is_no_endless_loop(tmp_path: Path) -> None:
    """The code stream lies behind the boxes and is whole."""
    code = bytearray(code_of(REAL / "GDCMJ2K_TextGBR.dcm"))
    code[12:16] = bytes(4)
    found = picture(with_code("GDCMJ2K_TextGBR.dcm", bytes(code), tmp_path))
    assert np.array_equal(found.pixels, picture(REAL / "GDCMJ2K_TextGBR.dcm").pixels)


Show = Callable[[Path], object]


def slide_of(path: Path) -> tuple[ModelImage, ...]:
    return slide([path], microns=1.0, patch=16)


def made(folder: Path) -> dict[str, tuple[Path, Show]]:
    """One small file of each kind, and what shows it."""
    noise = np.random.default_rng(1).integers(0, 256, (6, 8, 8), dtype=np.uint8)
    ramp = np.arange(1024, dtype=np.uint16).reshape(32, 32)
    segments = [0, 2, 10, 20, 1, 4, 60, 2, 1, 4, 0, 0, 0]
    indexes = np.arange(16, dtype=np.uint8).reshape(4, 4)
    return {
        "cine": (write(clip(noise, StartTrim=1, StopTrim=5, FrameNumbersOfInterest=[1, 2], PixelAspectRatio=[4, 3]),
                       folder / "cine"), cine),
        "palette": (write(photograph(indexes, **palette([segments] * 3, segmented=True, count=10)),
                          folder / "palette"), picture),
        "slide": (write(sparse_level(stained(32, 32), 16, 1.0), folder / "slide"), slide_of),
        "jpeg": (REAL / "SC_rgb_dcmtk_pebpcyps4.dcm", picture),
        "jpeg-ls": (coded(ramp, JPEGLSLossless, folder / "ls"), picture),
        "jpeg 2000": (coded(ramp, JPEG2000Lossless, folder / "2000"), picture),
    }


def coded(stored: NDArray[Any], syntax: UID, path: Path) -> Path:
    write(photograph(stored), path)
    image = dcmread(path)
    image.compress(syntax)
    image.save_as(path)
    return path


def test_bytes_changed_anywhere_give_an_image_or_a_reason(tmp_path: Path) -> None:
    luck = random.Random(20)
    broken = tmp_path / "broken.dcm"
    for path, show in made(tmp_path).values():
        whole = path.read_bytes()
        for _ in range(60):
            data = bytearray(whole)
            for _ in range(luck.choice((1, 2, 4, 8))):
                data[luck.randrange(132, len(data))] = luck.choice((0, 255, 1, 0x80, luck.randrange(256)))
            broken.write_bytes(data)
            try:
                show(broken)
            except BadInput:
                continue
