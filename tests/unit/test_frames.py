"""One frame at a time: the right one, in every encoding, and never the whole file in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    RLELossless,
)

from node.errors import Undecodable
from node.images.encapsulation import fragments
from node.images.pixels import frame, load
from tests.tools.radiographs import REAL, radiograph, write
from tests.tools.volumes import sparse

STACK = np.random.default_rng(4).integers(0, 4096, (5, 7, 6)).astype(np.uint16)

PROBE = """
import resource, sys
from pathlib import Path
from node.images.encapsulation import fragments
from node.images.pixels import frame, load
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
path, frames = Path(sys.argv[1]), int(sys.argv[2])
with load(Path(sys.argv[3])) as small:
    frame(small)
before = peak()
with load(path) as image:
    found = [int(frame(image, index).max()) for index in (0, 1, frames // 2, frames - 1)]
print(peak() - before, *found)
"""


def multi_frame(path: Path, syntax: UID = ExplicitVRLittleEndian, stack: NDArray[Any] = STACK) -> Path:
    image = radiograph(stack[0])
    image.NumberOfFrames, image.PixelData = len(stack), stack.tobytes()
    return write(image, path, syntax)


def frames_of(path: Path, count: int = len(STACK)) -> NDArray[Any]:
    with load(path) as image:
        return np.stack([frame(image, index) for index in range(count)])


def test_each_native_frame_is_read_by_its_place(tmp_path: Path) -> None:
    assert np.array_equal(frames_of(multi_frame(tmp_path / "a.dcm")), STACK)


def test_deflated_frames(tmp_path: Path) -> None:
    assert np.array_equal(frames_of(multi_frame(tmp_path / "a.dcm", DeflatedExplicitVRLittleEndian)), STACK)


def test_big_endian_frames(tmp_path: Path) -> None:
    path = multi_frame(tmp_path / "a.dcm", ExplicitVRBigEndian, stack=STACK.astype(">u2"))
    assert np.array_equal(frames_of(path), STACK)


def rle(tmp_path: Path) -> tuple[Any, list[bytes]]:
    image = dcmread(multi_frame(tmp_path / "a.dcm"))
    image.compress(RLELossless, generate_instance_uid=False)
    with load(write(image, tmp_path / "rle.dcm", RLELossless)) as stored:
        ends = [*stored.frame_starts[1:], None]
        return image, [b"".join(fragments(cast(BinaryIO, stored.reader()), start, end, 1 << 20))
                       for start, end in zip(stored.frame_starts, ends, strict=True)]


@pytest.mark.parametrize("has_bot", [True, False])
def test_frames_are_found_with_and_without_a_basic_offset_table(tmp_path: Path, has_bot: bool) -> None:
    image, codes = rle(tmp_path)
    image.PixelData = encapsulate(codes, has_bot=has_bot)
    assert np.array_equal(frames_of(write(image, tmp_path / "b.dcm", RLELossless)), STACK)


def test_frames_are_found_by_an_extended_offset_table(tmp_path: Path) -> None:
    image, codes = rle(tmp_path)
    image.PixelData, image.ExtendedOffsetTable, image.ExtendedOffsetTableLengths = encapsulate_extended(codes)
    assert np.array_equal(frames_of(write(image, tmp_path / "b.dcm", RLELossless)), STACK)


def test_a_wrong_basic_offset_table_is_not_believed(tmp_path: Path) -> None:
    image, codes = rle(tmp_path)
    good = encapsulate(codes, has_bot=True)
    image.PixelData = good[:12] + b"\x03\x00\x00\x00" + good[16:]
    assert np.array_equal(frames_of(write(image, tmp_path / "b.dcm", RLELossless)), STACK)


@pytest.mark.parametrize("name", ["CT0012.fragmented_no_bot_jpeg_ls.80.dcm", "emri_small_RLE.dcm"])
def test_real_multi_frames_agree_with_pydicom(name: str) -> None:
    whole = dcmread(REAL / name).pixel_array
    assert np.array_equal(frames_of(REAL / name, len(whole)), whole)


def test_a_frame_that_never_arrived_is_named(tmp_path: Path) -> None:
    image, codes = rle(tmp_path)
    image.PixelData = encapsulate(codes[:3], has_bot=False)
    with load(write(image, tmp_path / "b.dcm", RLELossless)) as stored:
        assert np.array_equal(frame(stored, 2), STACK[2])
        with pytest.raises(Undecodable, match="Pixel Data holds no frame 4"):
            frame(stored, 3)
        with pytest.raises(Undecodable, match="frame 6 of 5 does not exist"):
            frame(stored, 5)


@pytest.mark.parametrize("cut", [100, -20], ids=["in the preamble", "in the deflated data set"])
def test_a_file_that_cannot_be_read_is_not_left_open(tmp_path: Path, cut: int) -> None:
    whole = write(radiograph(STACK[0]), tmp_path / "whole.dcm", DeflatedExplicitVRLittleEndian).read_bytes()
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(whole[:cut])
    before = set(Path("/proc/self/fd").iterdir())
    with pytest.raises(Undecodable) as failed:
        load(broken)
    assert (failed.tb is not None, set(Path("/proc/self/fd").iterdir())) == (True, before)


@pytest.mark.parametrize("deflated", [False, True])
def test_a_large_multi_frame_is_never_whole_in_memory(tmp_path: Path, deflated: bool) -> None:
    ramp = np.arange(512 * 512, dtype=np.uint16).reshape(512, 512) % 4096
    small = write(radiograph(ramp), tmp_path / "small.dcm")
    if deflated:
        frames, whole = 200, radiograph(ramp)  # 105 MB
        whole.NumberOfFrames, whole.PixelData = frames, bytes(ramp.nbytes * (frames - 1)) + ramp.tobytes()
        path = write(whole, tmp_path / "large.dcm", DeflatedExplicitVRLittleEndian)
    else:
        frames = 700  # 367 MB
        path = sparse(radiograph(ramp), tmp_path / "large.dcm", frames, ramp)
    done = subprocess.run([sys.executable, "-c", PROBE, path, str(frames), small],
                          capture_output=True, text=True, check=True)
    grown_kb, *largest = map(int, done.stdout.split())
    assert largest == [0, 0, 0, 4095]
    assert grown_kb < 24_000
