"""C-STORE rate of a whole node while it analyses one study a second, against its rate alone."""

from __future__ import annotations

import itertools
import multiprocessing
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from benchmarks.receiving.figures import median
from benchmarks.receiving.flood import Flood, pour_for, require_kept
from benchmarks.receiving.receivers import HOST, NotReceived, environment
from benchmarks.receiving.tables import number, table, verdict
from benchmarks.receiving.workloads import Kind
from node.demo.local_node import LocalNode, prepare
from node.demo.phantom_dicom import write_studies

ASSOCIATIONS = 4
FLOOD_SECONDS = 8.0
STUDY_SECONDS = 1.0
STUDIES = 20
"""Drawn for each time the node works; no study is sent twice."""

SEED = 6_000_000
WAIT_SECONDS = 180.0
MOST_ROUNDS = 3
AT_LEAST = 0.7


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both rates of one round, in instances a second, and the studies analysed a second meanwhile."""

    engine: str
    kind: Kind
    round: int
    alone: float
    working: float
    studies: float


@dataclass
class WorkingNode:
    """A whole node with the demo models, and what was sent to it."""

    node: LocalNode
    pool: ProcessPoolExecutor
    studies: Iterator[Path]
    floods: list[Flood] = field(default_factory=list)

    def rate(self, kind: Kind) -> float:
        """Instances a second over some associations."""
        done = [self.pool.submit(pour_for, self.node.port, kind, FLOOD_SECONDS) for _ in range(ASSOCIATIONS)]
        floods = [one.result() for one in done]
        self.floods += floods
        return sum(flood.count for flood in floods) / FLOOD_SECONDS

    def number(self, query: str, *values: object) -> int:
        """The answer of the node's database to a question for a count."""
        with closing(sqlite3.connect(f"file:{self.node.folder / 'node.sqlite'}?mode=ro", uri=True)) as connection:
            return int(connection.execute(query, values).fetchone()[0])

    def reports_since(self, moment: float) -> int:
        return self.number("SELECT count(*) FROM audit_event WHERE action = 'stage.write' AND at >= ?", moment)

    def settle(self) -> None:
        """Until every instance is booked, and no study is open or being analysed."""
        wait(lambda: not self.number("SELECT count(*) FROM instance WHERE state = 'received'")
             and not self.number("SELECT count(*) FROM study WHERE open")
             and not self.number("SELECT count(*) FROM run WHERE state = 'running'"), "the node to settle")

    def require_kept(self) -> None:
        require_kept(self.node.folder / "node.sqlite", self.node.folder / "node", self.floods)


def measure(
    engines: Sequence[str], rounds: int, work: Path, tell: Callable[[str], None]
) -> Iterator[Pair]:
    """Both rates in turn on one node per engine. Raises NotReceived."""
    times = list(itertools.product(range(min(rounds, MOST_ROUNDS)), (Kind.SMALL, Kind.CT)))
    write_studies(work / "drawn", STUDIES * len(times), SEED, date.today())
    studies = sorted((work / "drawn").glob("*.dcm"))
    for engine in engines:
        with working_node(engine, studies, work / "working") as running:
            for turn, kind in times:
                pair = _pair(running, engine, kind, turn)
                tell(f"round {turn + 1}  {engine}  {kind.title}  {pair.alone:.0f} inst/s alone, "
                     f"{pair.working:.0f} at work with {pair.studies:.2f} studies/s")
                yield pair
            running.require_kept()
        shutil.rmtree(work / "working")


@contextmanager
def working_node(engine: str, studies: Sequence[Path], folder: Path) -> Iterator[WorkingNode]:
    """``ainode run`` and processes that can flood it; no destination, so results stay in the node."""
    folder.mkdir()
    node = prepare(folder, None, {
        "receive": {"engine": engine, "min_free_disk_mb": 100}, "study": {"quiet_seconds": 1.0}}, [])
    spawn = multiprocessing.get_context("spawn")
    with node.running(), ProcessPoolExecutor(ASSOCIATIONS, spawn) as pool:
        list(pool.map(time.sleep, [0.5] * ASSOCIATIONS))  # every process has started then
        yield WorkingNode(node=node, pool=pool, studies=iter(studies))


def shown(pairs: Sequence[Pair]) -> str:
    """Medians as Markdown."""
    groups = dict.fromkeys((pair.engine, pair.kind) for pair in pairs)
    rows = []
    for engine, kind in groups:
        own = [pair for pair in pairs if (pair.engine, pair.kind) == (engine, kind)]
        ratio = median(pair.working / pair.alone for pair in own)
        rows.append([f"ours {engine}, {kind.title} x{ASSOCIATIONS}", number(median(pair.alone for pair in own)),
                     number(median(pair.working for pair in own)), number(median(pair.studies for pair in own)),
                     verdict(ratio, ratio is not None and ratio >= AT_LEAST, f">= {AT_LEAST}")])
    return table(["", "alone, inst/s", "at work, inst/s", "studies/s meanwhile", "ratio"], rows)


def _pair(running: WorkingNode, engine: str, kind: Kind, turn: int) -> Pair:
    running.settle()
    alone = running.rate(kind)
    running.settle()
    with analysing(running):
        began = time.time()
        working = running.rate(kind)
        analysed = running.reports_since(began) / (time.time() - began)
    return Pair(engine=engine, kind=kind, round=turn, alone=alone, working=working, studies=analysed)


@contextmanager
def analysing(running: WorkingNode) -> Iterator[None]:
    """One study a second goes to the node while the block lasts; the first is analysed when it begins."""
    over, began = threading.Event(), time.time()

    def send() -> None:
        while not over.wait(STUDY_SECONDS):
            study = next(running.studies)
            subprocess.run(["storescu", HOST, str(running.node.port), str(study)], check=True, capture_output=True,
                           env=environment(True))

    thread = threading.Thread(target=send, name="studies")
    thread.start()
    try:
        wait(lambda: running.reports_since(began) > 0, "the first study to be analysed")
        yield
    finally:
        over.set()
        thread.join()


def wait(condition: Callable[[], bool], what: str) -> None:
    """Raises NotReceived when it takes too long."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise NotReceived(f"waited {WAIT_SECONDS:g} s for {what}")
        time.sleep(0.1)
