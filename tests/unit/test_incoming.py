"""An instance while it arrives: its file holds what was sent, whatever the pieces and however they are written."""

from __future__ import annotations

import errno
import fcntl
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from node.errors import OutOfSpace, StorageError
from node.intake.files import InstanceFiles
from node.intake.incoming import KEPT_HEAD, IncomingFile
from node.intake.staging import BLOCK, STAGED_BYTES, Staging, StagingPool

PREAMBLE = b"before the data set"
SIZES = (0, 1, BLOCK - len(PREAMBLE), BLOCK, STAGED_BYTES - len(PREAMBLE) - 1, STAGED_BYTES - len(PREAMBLE),
         STAGED_BYTES, STAGED_BYTES + 1, 3 * STAGED_BYTES + 4097)


def bytes_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.fixture
def files(tmp_path: Path) -> InstanceFiles:
    return InstanceFiles(tmp_path, 0)


def written(files: InstanceFiles, pieces: Sequence[bytes]) -> IncomingFile:
    file = files.open(PREAMBLE)
    for piece in pieces:
        file.write((piece,))
    return file


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at:at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("piece", [1000, 16_378, 131_066, 1 << 20])
@pytest.mark.parametrize("size", SIZES)
def test_what_is_published_is_what_was_written(files: InstanceFiles, tmp_path: Path, size: int, piece: int) -> None:
    data = bytes_of(size)
    file = written(files, cut(data, piece))
    file.publish()
    assert (tmp_path / file.path).read_bytes() == PREAMBLE + data
    assert file.size == len(PREAMBLE) + size
    file.settle()
    assert not list((tmp_path / "incoming").iterdir())


@pytest.mark.parametrize("size", SIZES)
def test_the_head_is_the_same_before_and_after_it_went_to_disk(files: InstanceFiles, size: int) -> None:
    data = bytes_of(size)
    file = written(files, cut(data, 10_000))
    for wanted in (1, 1000, 1 << 16, KEPT_HEAD, STAGED_BYTES, 1 << 20):
        assert file.head(wanted) == data[:wanted]
    file.discard()


@pytest.fixture(params=["the system call says so", "a write says so"])
def no_direct_writes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file system that knows no O_DIRECT: some refuse the flag, others the writes."""
    set_flags, write = fcntl.fcntl, os.write

    def refusing(descriptor: int, command: int, argument: int = 0) -> Any:
        if command == fcntl.F_SETFL and argument & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return set_flags(descriptor, command, argument)

    def picky(descriptor: int, data: bytes) -> int:
        if set_flags(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return write(descriptor, data)

    if request.param == "a write says so":
        monkeypatch.setattr(os, "write", picky)
    else:
        monkeypatch.setattr(fcntl, "fcntl", refusing)
    yield


@pytest.mark.usefixtures("no_direct_writes")
@pytest.mark.parametrize("size", SIZES)
def test_a_file_system_without_direct_writes_is_written_to_all_the_same(
    files: InstanceFiles, tmp_path: Path, size: int
) -> None:
    data = bytes_of(size)
    file = written(files, cut(data, 50_000))
    file.publish()
    assert (tmp_path / file.path).read_bytes() == PREAMBLE + data
    file.discard()


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, OutOfSpace), (errno.EIO, StorageError)])
def test_a_disk_that_refuses_is_told_apart_from_a_full_one(
    files: InstanceFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[StorageError]
) -> None:
    def refusing(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    file = files.open(PREAMBLE)
    monkeypatch.setattr(os, "write", refusing)
    with pytest.raises(error):
        file.write((bytes(2 * STAGED_BYTES),))
    file.discard()
    assert not list((tmp_path / "incoming").iterdir())


def test_a_disk_that_takes_a_part_only_gets_the_rest(
    files: InstanceFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write: Callable[[int, memoryview], int] = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:70_001]))
    data = bytes_of(2 * STAGED_BYTES + 5)
    file = written(files, (data,))
    file.publish()
    assert (tmp_path / file.path).read_bytes() == PREAMBLE + data
    file.discard()


def test_memory_is_used_again() -> None:
    pool = StagingPool()
    first = pool.take()
    first.put(memoryview(b"left over"))
    pool.give_back(first)
    assert pool.take() is first
    assert len(first) == 0
    assert pool.take() is not first


def test_padding_is_zeros_whatever_was_there_before() -> None:
    staging = Staging()
    staging.put(memoryview(b"x" * BLOCK))
    staging.clear()
    staging.put(memoryview(b"end"))
    assert bytes(staging.padded()) == b"end" + bytes(BLOCK - 3)
