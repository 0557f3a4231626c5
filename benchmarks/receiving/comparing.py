"""Whether what is stored is what was sent: every instance, every byte of its data set."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import _read_file_meta_info, read_preamble

from benchmarks.receiving.receivers import NotReceived, Running


def require_same(run: Running, sent: Iterable[Path]) -> None:
    """Compare the folder of a receiver with the files that were sent to it; with ours, its rows too.

    Raises:
        NotReceived: something is missing, too many, or other than it was sent.
    """
    wanted = {uid_of(path): path for path in sent}
    kept = [path for path in sorted(run.stored.rglob("*")) if path.is_file()]
    if len(kept) != len(wanted):
        raise NotReceived(f"{len(kept)} instances are stored, {len(wanted)} were sent")
    found = {uid_of(path): path for path in kept}
    if found.keys() != wanted.keys():
        raise NotReceived(f"{len(wanted.keys() - found.keys())} instances that were sent are not stored")
    differing = [uid for uid, path in wanted.items() if data_set(path) != data_set(found[uid])]
    if differing:
        raise NotReceived(f"{len(differing)} of {len(wanted)} instances differ from what was sent")
    if run.receiver.ours and (rows := count_rows(run.folder / run.receiver.database)) != len(wanted):
        raise NotReceived(f"{rows} rows for {len(wanted)} instances")


def uid_of(path: Path) -> str:
    """SOP Instance UID of a Part 10 file, by its File Meta Information. Raises NotReceived."""
    try:
        with path.open("rb") as file:
            read_preamble(file, False)
            return str(_read_file_meta_info(file).MediaStorageSOPInstanceUID)
    except (InvalidDicomError, AttributeError) as error:
        raise NotReceived(f"{path} was stored and is no Part 10 file") from error


def data_set(path: Path) -> bytes:
    """The encoded data set of a Part 10 file."""
    with path.open("rb") as file:
        read_preamble(file, False)
        _read_file_meta_info(file)
        return file.read()


def count_rows(database: Path) -> int:
    """Of the instance table."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM instance").fetchone()[0])
