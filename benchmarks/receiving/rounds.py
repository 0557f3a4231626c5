"""Interleaved rounds: every receiver in turn, each in a fresh folder, all it stored compared with what was sent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.receiving import limit
from benchmarks.receiving.comparing import require_same
from benchmarks.receiving.figures import Cell, Run, Setting
from benchmarks.receiving.processes import cpu_seconds
from benchmarks.receiving.receivers import NotReceived, Receiver, running
from benchmarks.receiving.sending import send
from benchmarks.receiving.workloads import Kind, Workload

ASSOCIATIONS = {Setting.AS_SHIPPED: (1, 4), Setting.NODELAY: (1, 4, 8)}

INSTANCES = {
    Setting.AS_SHIPPED: {Kind.SMALL: 200, Kind.CT: 100, Kind.DX: 24},
    Setting.NODELAY: {Kind.SMALL: 600, Kind.CT: 200, Kind.DX: 24},
}
"""Per run; with Nagle on a receiver that waits for acknowledgements takes a tenth of a second for each."""


def cells(setting: Setting) -> list[Cell]:
    """The columns of a table."""
    return [Cell(setting=setting, kind=kind, associations=number)
            for kind in Kind for number in ASSOCIATIONS[setting]]


def measure(
    setting: Setting, workloads: Mapping[Kind, Workload], receivers: Sequence[Receiver], rounds: int, work: Path,
    tell: Callable[[str], None],
) -> Iterator[Run]:
    """Every run of a table; ``tell`` hears of each as it ends. Who begins changes with the round."""
    for number in range(rounds):
        for cell in cells(setting):
            turn = number % len(receivers)
            for receiver in (*receivers[turn:], *receivers[:turn]):
                yield _told(tell, rounds, _received(receiver, cell, number, workloads[cell.kind], work))
            yield _told(tell, rounds, _limit(cell, number, workloads[cell.kind], work))


def _received(receiver: Receiver, cell: Cell, number: int, workload: Workload, work: Path) -> Run:
    folder = work / "run"
    os.sync()  # what the last run left to be written is not this one's burden
    nodelay = cell.setting is Setting.NODELAY
    try:
        with running(receiver, folder, nodelay=nodelay) as started:
            before = cpu_seconds(started.pid)
            seconds = send(started.port, workload.split(cell.associations), nodelay=nodelay)
            used = cpu_seconds(started.pid) - before
            require_same(started, workload.files)
    except NotReceived as problem:
        return Run(cell=cell, round=number, receiver=receiver.name, instances=len(workload.files),
                   failure=str(problem))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Run(cell=cell, round=number, receiver=receiver.name, instances=len(workload.files),
               seconds=seconds, cpu_seconds=used)


def _limit(cell: Cell, number: int, workload: Workload, work: Path) -> Run:
    folder = work / "limit"
    os.sync()
    try:
        seconds = limit.seconds_to_keep(workload.files, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Run(cell=cell, round=number, receiver=limit.NAME, instances=len(workload.files), seconds=seconds)


def _told(tell: Callable[[str], None], rounds: int, run: Run) -> Run:
    said = run.failure or f"{run.rate:.1f} inst/s"
    tell(f"round {run.round + 1}/{rounds}  {run.cell.title:14}  {run.receiver:22}  {said}")
    return run
