"""What processes use, as the kernel's ``/proc`` tells (see its manual page, proc(5))."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
SAMPLE_SECONDS = 0.05
NANOSECONDS = 1e9


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        with suppress(OSError):  # it ended meanwhile
            for children in PROC.glob(f"{found[-1]}/task/*/children"):
                waiting.extend(map(int, children.read_text().split()))
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, its descendants, and those that ended."""
    ticks = 0
    for member in family(pid):
        with suppress(OSError):
            fields = (PROC / str(member) / "stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS_PER_SECOND


def running_seconds(pid: int) -> float:
    """Time on a core of every thread that lives, finer than :func:`cpu_seconds`."""
    nanoseconds = 0
    for member in family(pid):
        for task in PROC.glob(f"{member}/task/*/schedstat"):
            with suppress(OSError):
                nanoseconds += int(task.read_text().split()[0])
    return nanoseconds / NANOSECONDS


def pss_bytes(pid: int) -> int:
    """Proportional set size of a process and its descendants: what is shared counts in part."""
    kilobytes = 0
    for member in family(pid):
        with suppress(OSError):
            for line in (PROC / str(member) / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    kilobytes += int(line.split()[1])
    return kilobytes * 1024


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Of a process and its descendants at one moment."""

    pss_mb: float
    threads: int
    descriptors: int


def usage(pid: int) -> Usage:
    members = family(pid)
    return Usage(
        pss_mb=pss_bytes(pid) / 1e6,
        threads=sum(_entries(PROC / str(member) / "task") for member in members),
        descriptors=sum(_entries(PROC / str(member) / "fd") for member in members))


def _entries(folder: Path) -> int:
    try:
        return len(os.listdir(folder))  # noqa: PTH208 - iterdir() would open nothing less
    except OSError:
        return 0


class Peak:
    """Highest PSS seen so far, in bytes."""

    def __init__(self) -> None:
        self.pss_bytes = 0


@contextmanager
def watched(pid: int) -> Iterator[Peak]:
    """Sample the PSS of a process every 50 ms while the block lasts."""
    peak, over = Peak(), threading.Event()

    def look() -> None:
        while not over.wait(SAMPLE_SECONDS):
            peak.pss_bytes = max(peak.pss_bytes, pss_bytes(pid))

    thread = threading.Thread(target=look, name="peak", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
