"""Many small instances over many associations: memory, threads and descriptors of a receiver have to stay flat.

    python benchmarks/soak.py [--engine fast] [--instances 20000] [--associations 20] [--parallel 5]

Flat means that the median of the last quarter of the samples is at most SLACK above that of the third quarter, and
that the receiver at rest afterwards has at most AFTERWARDS more than at rest before. The first half fills the page
caches of the database connections and the arenas of the allocator, one per thread. At the end every instance is
looked for in the database and compared on the disk.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from benchmarks.receiving import machine
from benchmarks.receiving.flood import Flood, pour, require_kept
from benchmarks.receiving.processes import Usage, usage
from benchmarks.receiving.receivers import ENGINES, NotReceived, Running, ours, running
from benchmarks.receiving.tables import table
from benchmarks.receiving.workloads import Kind

SLACK = Usage(pss_mb=4.0, threads=1, descriptors=4)
AFTERWARDS = Usage(pss_mb=20.0, threads=2, descriptors=15)
"""Five database connections stay in the pool, and memory once used for buffers is not all given back."""

SAMPLE_SECONDS = 0.5
SETTLE_SECONDS = 2.0
"""After the last association its thread may still be ending."""

SHOWN_ROWS = 20


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What the receiver uses when so many instances are stored."""

    seconds: float
    stored: int
    usage: Usage


class Tally:
    """How many instances were answered, over all senders."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self.stored = 0

    def more(self, sent: int, wanted: int) -> bool:
        """Whether an association that sent so many has to go on; counts the last one."""
        with self._turn:
            self.stored += sent > 0
        return sent < wanted


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=ENGINES, default=ENGINES[0])
    parser.add_argument("--instances", type=int, default=20_000)
    parser.add_argument("--associations", type=int, default=20, help="in all")
    parser.add_argument("--parallel", type=int, default=5, help="at the same time")
    return parser.parse_args()


def main() -> int:
    arguments = parsed()
    work = Path(tempfile.mkdtemp(prefix="ainode-soak-"))
    try:
        receiver = ours(arguments.engine, work)
        if isinstance(receiver, str):
            print(receiver, file=sys.stderr)
            return 2
        with running(receiver, work / "run", nodelay=True) as started:
            print(machine.described([receiver], work), flush=True)
            return soaked(started, arguments)
    except NotReceived as problem:
        print(f"failed: {problem}")
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)


def soaked(started: Running, arguments: argparse.Namespace) -> int:
    """Send everything, look for everything, judge. 0 when all is there and all is flat."""
    before, tally = usage(started.pid), Tally()
    with sampled(started, tally) as samples:
        floods = send(started.port, arguments, tally)
    time.sleep(SETTLE_SECONDS)
    after = usage(started.pid)
    require_kept(started.folder / started.receiver.database, started.folder / "data", floods)
    seconds = samples[-1].seconds
    print(f"\n### {started.receiver.name}: {tally.stored} x {Kind.SMALL.title} over {arguments.associations} "
          f"associations, {arguments.parallel} at a time: {seconds:.0f} s, {tally.stored / seconds:.0f} inst/s\n")
    print(shown(before, samples, after))
    print(f"\nall {tally.stored} instances have their row and every byte on the disk")
    grown = growth(before, samples, after)
    print("\n".join(grown) if grown else "memory, threads and descriptors are flat")
    return 1 if grown else 0


def send(port: int, arguments: argparse.Namespace, tally: Tally) -> list[Flood]:
    """Every association in its turn; what each sent."""
    each = arguments.instances // arguments.associations

    def one(_: int) -> Flood:
        return pour(port, Kind.SMALL, lambda sent: tally.more(sent, each))

    with ThreadPoolExecutor(arguments.parallel) as pool:
        return list(pool.map(one, range(arguments.associations)))


@contextmanager
def sampled(started: Running, tally: Tally) -> Iterator[list[Sample]]:
    """A sample every half second while the block lasts, one at least."""
    samples: list[Sample] = []
    over, began = threading.Event(), time.monotonic()

    def look() -> None:
        last = False
        while not last:
            last = over.wait(SAMPLE_SECONDS)
            samples.append(Sample(
                seconds=time.monotonic() - began, stored=tally.stored, usage=usage(started.pid)))

    thread = threading.Thread(target=look, name="sampler")
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def shown(before: Usage, samples: Sequence[Sample], after: Usage) -> str:
    """Some of the samples, evenly spaced, as Markdown."""
    step = -(-len(samples) // SHOWN_ROWS)
    rows = [("before", before), *((str(one.stored), one.usage) for one in samples[::step]), ("after", after)]
    return table(["stored", "PSS, MB", "threads", "descriptors"], (
        [name, f"{used.pss_mb:.1f}", str(used.threads), str(used.descriptors)] for name, used in rows))


def growth(before: Usage, samples: Sequence[Sample], after: Usage) -> list[str]:
    """What is not flat, as the head of this file says; nothing is well."""
    quarter = max(1, len(samples) // 4)
    third = middle([one.usage for one in samples[-2 * quarter:-quarter]] or [samples[0].usage])
    last = middle([one.usage for one in samples[-quarter:]])
    return [*beyond("from the third quarter to the last", third, last, SLACK),
            *beyond("from before to after", before, after, AFTERWARDS)]


def middle(used: Sequence[Usage]) -> Usage:
    """The median of each figure."""
    return Usage(**{one.name: statistics.median(getattr(usage, one.name) for usage in used) for one in fields(Usage)})


def beyond(when: str, early: Usage, late: Usage, allowed: Usage) -> list[str]:
    names = [one.name for one in fields(Usage)]
    figures = zip(names, astuple(early), astuple(late), astuple(allowed), strict=True)
    return [f"NOT flat: {name} {when}: {first:.1f} to {then:.1f}, allowed are {more:g} more"
            for name, first, then, more in figures if then > first + more]


if __name__ == "__main__":
    sys.exit(main())
