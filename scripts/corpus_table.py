"""A table of what a node made of files, as CSV: written for review, and compared with what another run found."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Line:
    """One file: ``outcome`` is the answer, what became of the instance and of its study; ``why`` the reasons."""

    file: str
    outcome: str
    why: str


def write(path: Path, lines: Iterable[Line]) -> None:
    """The table, in the order of ``lines``."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Line)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(line) for line in lines)


def read(path: Path) -> list[Line]:
    """A table that :func:`write` made.

    Raises:
        ValueError: it is no such table; the message names what it has instead.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        names = [field.name for field in fields(Line)]
        if reader.fieldnames != names:
            raise ValueError(f"{path}: the first line is {reader.fieldnames}, expected {names}; write one with --write")
        return [Line(**row) for row in reader]


def differences(found: Sequence[Line], expected: Sequence[Line]) -> list[str]:
    """What differs, a sentence each; none where every file became what was expected."""
    have, want = _by_file(found), _by_file(expected)
    return [told for name in sorted(have.keys() | want.keys()) if (told := _difference(have, want, name))]


def _by_file(lines: Iterable[Line]) -> dict[str, Line]:
    return {line.file: line for line in lines}


def _difference(have: Mapping[str, Line], want: Mapping[str, Line], name: str) -> str:
    if name not in want:
        return f"{name}: not in the table; became {_told(have[name])}"
    if name not in have:
        return f"{name}: in the table, and no such file was sent"
    if have[name] == want[name]:
        return ""
    return f"{name}: expected {_told(want[name])}, became {_told(have[name])}"


def _told(line: Line) -> str:
    return f"'{line.outcome}'" + (f" ({line.why})" if line.why else "")
