"""Speed of receiving, side by side with DCMTK's storescp, Orthanc and pynetdicom's storescp, in one interleaved run.

    python benchmarks/receive.py [--rounds 7] [--quick] [--only shipped nodelay resting work] [--json FILE]

Every receiver starts fresh in a fresh folder for every run, and every byte it stored is compared with what was
sent. Ratios are taken within each round; medians are printed, as Markdown. With ours an instance is on disk and
in the database when it is answered; storescp syncs nothing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any, TextIO

from benchmarks.receiving import machine, resting, tables, working
from benchmarks.receiving.figures import Run, Runs, Setting
from benchmarks.receiving.receivers import ORTHANC, STORESCP, NotReceived, Receiver, find
from benchmarks.receiving.rounds import INSTANCES, cells, measure
from benchmarks.receiving.workloads import Kind, Workload, draw

ROUNDS = 7
QUICK = 2
"""Rounds of a quick run, which also sends a quarter of the instances."""

TABLES = {"shipped": Setting.AS_SHIPPED, "nodelay": Setting.NODELAY}
RESTING, WORK = "resting", "work"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=0, help=f"default {ROUNDS}")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} rounds of a quarter of the instances")
    parser.add_argument("--only", nargs="+", choices=[*TABLES, RESTING, WORK], default=[*TABLES, RESTING],
                        help="tables to make")
    parser.add_argument("--with-work", action="store_true", help="also the rate while studies are analysed")
    parser.add_argument("--receivers", nargs="+", default=[], help="names, such as storescp 'ours standard'")
    parser.add_argument("--json", type=Path, help="append raw figures, one object a line")
    parser.add_argument("--base", type=Path, help="folder on the disk to measure; default that for temporary files")
    parser.add_argument(machine.MARK, action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    arguments = parsed()
    machine.enter_own_network(Path(__file__).resolve(), sys.argv[1:])
    work = Path(tempfile.mkdtemp(prefix="ainode-receive-", dir=arguments.base))
    try:
        return _measured(arguments, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _measured(arguments: argparse.Namespace, work: Path) -> int:
    receivers, left_out = find(arguments.receivers, work)
    if not arguments.in_namespace:
        receivers = [one for one in receivers if one.name != ORTHANC]
    if STORESCP not in {one.name for one in receivers}:
        print("storescp is the reference: install DCMTK, and do not leave it out", file=sys.stderr)
        return 2
    print(machine.described(receivers, work))
    print(*(f"- {line}" for line in left_out), sep="\n", flush=True)
    failed = [_one_table(setting, arguments, receivers, work) for name, setting in TABLES.items()
              if name in arguments.only]
    if RESTING in arguments.only:
        failed.append(_resting(arguments, receivers, work))
    if WORK in arguments.only or arguments.with_work:
        failed.append(_working(arguments, receivers, work))
    print(f"- load after: {machine.load()}")
    return 1 if any(failed) else 0


def _one_table(setting: Setting, arguments: argparse.Namespace, receivers: Sequence[Receiver], work: Path) -> bool:
    """Print it; whether a run failed."""
    rounds = _rounds(arguments)
    workloads = _drawn(setting, arguments.quick, work)
    made: list[Run] = []
    for run in measure(setting, workloads, receivers, rounds, work, _tell):
        made.append(run)
        _append(arguments.json, asdict(run))
    runs, columns = Runs(made), cells(setting)
    counts = ", ".join(f"{len(workload.files)} x {kind.title}" for kind, workload in workloads.items())
    print(f"\n### {setting.value}\n\nMedians of {rounds} interleaved rounds; {counts}; xN is N associations.\n")
    print(*(part(runs, columns, receivers) for part in (tables.rates, tables.ratios, tables.cpu)), sep="\n\n")
    print(tables.failures(runs), flush=True)
    return bool(runs.failed())


def _resting(arguments: argparse.Namespace, receivers: Sequence[Receiver], work: Path) -> bool:
    """Print what receivers cost besides; whether one failed."""
    workload = draw(Kind.DX, INSTANCES[Setting.NODELAY][Kind.DX], work / "images" / RESTING)
    rounds = min(_rounds(arguments), resting.MOST_ROUNDS)
    made = list(resting.measure(receivers, workload, rounds, work, _tell))
    for figures in made:
        _append(arguments.json, asdict(figures))
    print(f"\n### Memory, set-up, idle associations\n\nMedians of {rounds} rounds; growth is the peak while "
          f"{resting.LOADED_ASSOCIATIONS} associations send {len(workload.files)} x {Kind.DX.title}; "
          f"{resting.IDLE_ASSOCIATIONS} associations are idle for {resting.IDLE_SECONDS:g} s.\n")
    print(resting.shown(made, receivers), flush=True)
    return len(made) < rounds * len(receivers)


def _working(arguments: argparse.Namespace, receivers: Sequence[Receiver], work: Path) -> bool:
    """Print the rate of a whole node at work and alone; whether one failed."""
    rounds, made, problem = min(_rounds(arguments), working.MOST_ROUNDS), [], ""
    try:
        for figures in working.measure([one.engine for one in receivers if one.ours], rounds, work, _tell):
            made.append(figures)
            _append(arguments.json, asdict(figures))
    except NotReceived as error:
        problem = f"\n- failed: {error}"
    print(f"\n### C-STORE while studies are analysed\n\nMedians of {rounds} rounds of {working.FLOOD_SECONDS:g} s; "
          "a whole node with the demo models gets one drawn study a second besides.\n")
    print(working.shown(made) + problem, flush=True)
    return bool(problem)


def _rounds(arguments: argparse.Namespace) -> int:
    return int(arguments.rounds or (QUICK if arguments.quick else ROUNDS))


def _drawn(setting: Setting, quick: bool, work: Path) -> Mapping[Kind, Workload]:
    drawn = {}
    for kind, count in INSTANCES[setting].items():
        drawn[kind] = draw(kind, count // 4 if quick else count, work / "images" / f"{setting.name}-{kind.name}")
    return drawn


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _append(path: Path | None, figures: dict[str, Any]) -> None:
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            _write_line(file, figures)


def _write_line(file: TextIO, figures: dict[str, Any]) -> None:
    file.write(json.dumps(figures, default=lambda value: value.name if isinstance(value, Enum) else str(value)) + "\n")


if __name__ == "__main__":
    sys.exit(main())
