"""Figures as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.receiving import limit
from benchmarks.receiving.figures import Cell, Runs, target
from benchmarks.receiving.receivers import Receiver


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The first column is left-aligned, all others right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return "failed"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def verdict(value: float | None, met: bool, bound: str) -> str:
    """A figure with what was asked of it."""
    return f"{number(value)} ({bound}: {'met' if met else '**NOT met**'})"


def rates(runs: Runs, cells: Sequence[Cell], receivers: Sequence[Receiver]) -> str:
    """Instances a second."""
    names = [*(receiver.name for receiver in receivers), limit.NAME]
    return table(["inst/s", *(cell.title for cell in cells)],
                 ([name, *(number(runs.rate(cell, name)) for cell in cells)] for name in names))


def cpu(runs: Runs, cells: Sequence[Cell], receivers: Sequence[Receiver]) -> str:
    """Milliseconds of CPU per instance, in the receiver."""
    return table(["receiver CPU, ms/inst", *(cell.title for cell in cells)],
                 ([one.name, *(number(runs.cpu_ms(cell, one.name)) for cell in cells)] for one in receivers))


def ratios(runs: Runs, cells: Sequence[Cell], receivers: Sequence[Receiver]) -> str:
    """Ours to every other, and the share of the limit."""
    others = [one.name for one in receivers if not one.ours]
    pairs = [(one.name, other) for other in [*others, limit.NAME] for one in receivers if one.ours]
    return table(["ratio", *(cell.title for cell in cells)], (
        [f"{own} / {other}", *(_judged(runs, cell, own, other) for cell in cells)] for own, other in pairs))


def _judged(runs: Runs, cell: Cell, own: str, other: str) -> str:
    value, wanted = runs.ratio(cell, own, other), target(cell, other)
    if wanted is None:
        return number(value)
    return verdict(value, value is not None and value >= wanted, f">= {wanted:g}")


def failures(runs: Runs) -> str:
    """Every run that was not used, and why; empty when there is none."""
    return "\n".join(f"- not used: {run.receiver}, {run.cell.title}, round {run.round + 1}: {run.failure}"
                     for run in runs.failed())
