"""Instances without files and without a pause: the data sets are in memory, only their UIDs change."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.receiving.comparing import data_set
from benchmarks.receiving.receivers import NotReceived
from benchmarks.receiving.workloads import Kind, Template, template
from tests.tools.raw_sender import RawSender
from tests.tools.receiver import EXPLICIT_LITTLE, Sent

ONE_PDU = (131_000,)


@dataclass(frozen=True, kw_only=True)
class Flood:
    """What one association sent and was answered Success for: instances 0 to ``count`` - 1 of a template."""

    template: Template
    count: int


def pour(port: int, kind: Kind, more: Callable[[int], bool]) -> Flood:
    """Send instances of a new study on one association as long as ``more(sent so far)``.

    Raises:
        NotReceived: one was not answered with Success.
    """
    drawn, count = template(kind), 0
    uid = kind.value.sop_class_uid
    with RawSender(port, (uid, (EXPLICIT_LITTLE,))) as sender:
        while more(count):
            image = Sent(uid, drawn.sop_instance_uid(count), EXPLICIT_LITTLE, drawn.data_set(count))
            status = sender.store(image, sizes=ONE_PDU).status
            if status != 0:
                raise NotReceived(f"a C-STORE was answered with 0x{status:04X}")
            count += 1
    return Flood(template=drawn, count=count)


def pour_for(port: int, kind: Kind, seconds: float) -> Flood:
    """Send for so long, from when the association stands."""
    deadline = 0.0

    def more(_: int) -> bool:
        nonlocal deadline
        deadline = deadline or time.monotonic() + seconds
        return time.monotonic() < deadline

    return pour(port, kind, more)


def require_kept(database: Path, data_dir: Path, floods: Sequence[Flood]) -> None:
    """Look for every instance in the database and compare its file byte by byte.

    Raises:
        NotReceived: one is missing, doubled or other than it was sent.
    """
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT sop_instance_uid, path FROM instance").fetchall()
    paths = dict(rows)
    if len(paths) != len(rows):
        raise NotReceived(f"{len(rows) - len(paths)} instances have two rows")
    for flood in floods:
        for number in range(flood.count):
            uid = flood.template.sop_instance_uid(number)
            if uid not in paths:
                raise NotReceived(f"{uid}: answered Success, and has no row")
            if data_set(data_dir / paths[uid]) != flood.template.data_set(number):
                raise NotReceived(f"{uid}: the file is not what was sent")
