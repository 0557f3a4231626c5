"""Runs and what they say: medians, ratios round by round, and the targets they are held to."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from benchmarks.receiving.receivers import ORTHANC, PYNETDICOM, STORESCP
from benchmarks.receiving.workloads import Kind


class Setting(Enum):
    """Whether DCMTK, on both sides, waits for acknowledgements."""

    #: Nagle's algorithm on, as DCMTK is delivered.
    AS_SHIPPED = "storescu as shipped (Nagle on)"
    #: TCP_NODELAY=1 for storescu and for the receivers that know it.
    NODELAY = "TCP_NODELAY=1 on both sides"


@dataclass(frozen=True, order=True, kw_only=True)
class Cell:
    """One column of a table."""

    setting: Setting
    kind: Kind
    associations: int

    @property
    def title(self) -> str:
        return f"{self.kind.title} x{self.associations}"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One receiver in one round; without a rate when it failed."""

    cell: Cell
    round: int
    receiver: str
    instances: int
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    failure: str = ""

    @property
    def rate(self) -> float:
        """Instances a second."""
        return self.instances / self.seconds


class Runs:
    """Every run of a measurement."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._all = list(runs)
        self._good = {(run.cell, run.receiver, run.round): run for run in self._all if not run.failure}

    def failed(self) -> list[Run]:
        return [run for run in self._all if run.failure]

    def rate(self, cell: Cell, receiver: str) -> float | None:
        """Median over the rounds, in instances a second; None without a good run."""
        return median(run.rate for run in self._rounds(cell, receiver))

    def cpu_ms(self, cell: Cell, receiver: str) -> float | None:
        """Median CPU time of the receiver per instance, in milliseconds."""
        return median(run.cpu_seconds / run.instances * 1000 for run in self._rounds(cell, receiver))

    def ratio(self, cell: Cell, receiver: str, reference: str) -> float | None:
        """Median of the rates' ratios within each round, in which both had the same noise."""
        both = ((run, self._good.get((cell, reference, run.round))) for run in self._rounds(cell, receiver))
        return median(run.rate / other.rate for run, other in both if other is not None)

    def _rounds(self, cell: Cell, receiver: str) -> Sequence[Run]:
        return [run for (where, who, _), run in self._good.items() if (where, who) == (cell, receiver)]


def median(values: Iterable[float]) -> float | None:
    """None of nothing."""
    given = list(values)
    return statistics.median(given) if given else None


@dataclass(frozen=True, kw_only=True)
class Target:
    """The ratio to ``reference`` that is asked for where ``wanted`` is true."""

    reference: str
    at_least: float
    wanted: Callable[[Cell], bool]


def _at(setting: Setting, kind: Kind | None = None, *associations: int) -> Callable[[Cell], bool]:
    """No kind, or no number of associations, means all."""
    return lambda cell: (cell.setting is setting and kind in (None, cell.kind)
                         and (not associations or cell.associations in associations))


TARGETS = (
    Target(reference=STORESCP, at_least=20, wanted=_at(Setting.AS_SHIPPED, Kind.SMALL)),
    Target(reference=STORESCP, at_least=10, wanted=_at(Setting.AS_SHIPPED, Kind.CT)),
    Target(reference=STORESCP, at_least=4, wanted=_at(Setting.AS_SHIPPED, Kind.DX)),
    Target(reference=ORTHANC, at_least=20, wanted=_at(Setting.AS_SHIPPED, Kind.SMALL, 1)),
    Target(reference=ORTHANC, at_least=10, wanted=_at(Setting.AS_SHIPPED, Kind.CT, 1)),
    Target(reference=ORTHANC, at_least=4, wanted=_at(Setting.AS_SHIPPED, Kind.DX, 1)),
    Target(reference=ORTHANC, at_least=10, wanted=_at(Setting.AS_SHIPPED, Kind.SMALL, 4)),
    Target(reference=ORTHANC, at_least=4, wanted=_at(Setting.AS_SHIPPED, Kind.CT, 4)),
    Target(reference=ORTHANC, at_least=2, wanted=_at(Setting.AS_SHIPPED, Kind.DX, 4)),
    Target(reference=STORESCP, at_least=0.3, wanted=_at(Setting.NODELAY, Kind.SMALL, 1)),
    Target(reference=STORESCP, at_least=1.0, wanted=_at(Setting.NODELAY, Kind.SMALL, 4, 8)),
    Target(reference=STORESCP, at_least=0.6, wanted=_at(Setting.NODELAY, Kind.CT, 1)),
    Target(reference=STORESCP, at_least=0.9, wanted=_at(Setting.NODELAY, Kind.CT, 4)),
    Target(reference=STORESCP, at_least=1.5, wanted=_at(Setting.NODELAY, Kind.DX)),
    Target(reference=ORTHANC, at_least=1.2, wanted=_at(Setting.NODELAY, Kind.CT)),
    Target(reference=ORTHANC, at_least=2, wanted=_at(Setting.NODELAY, Kind.DX)),
    Target(reference=PYNETDICOM, at_least=2, wanted=_at(Setting.NODELAY)),
)


def target(cell: Cell, reference: str) -> float | None:
    """The ratio asked for in one place, None where nothing is."""
    return next((one.at_least for one in TARGETS if one.reference == reference and one.wanted(cell)), None)
