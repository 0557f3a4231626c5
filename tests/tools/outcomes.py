"""What becomes of each real file: which way it goes, what images it gives, what a chest X-ray model may do with it.

    python -m tests.tools.outcomes [FOLDER]

prints the table for a folder of DICOM files; without one it writes ``tests/data/expected_outcomes.csv``. Look at
the difference before it is committed: every line is a decision about a patient's image.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from datetime import date
from pathlib import Path

from node import header, images, routing
from node.domain import Eligibility, ImageHead
from node.errors import BadInput
from node.images import Family
from tests.tools.radiographs import REAL

TABLE = REAL.parent / "expected_outcomes.csv"
CHEST = Eligibility(modalities=("CR", "DX"), body_parts=("CHEST",), views=("PA", "AP"), minimum_age_years=18)
TODAY = date(2026, 5, 20)
MOST = 8
MICRONS, PATCH = 0.5, 10
PLUGINS = re.compile(r": Unable to decode")
"""What follows is each decoder's own words, which change with its version."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One line. ``images`` is how many a model would see, or why none; ``chest`` what the chest prompt set says."""

    file: str
    family: str
    images: str
    chest: str


def outcome(path: Path) -> Outcome:
    """Read, route and decode one file, as the node would."""
    try:
        head = header.read(path)
    except BadInput as error:
        return Outcome(file=path.name, family="", images="", chest=f"not evaluable: {error}")
    declined = routing.decline(head, CHEST, TODAY)
    kind = images.family(head)
    try:
        found = str(made(path, head, kind))
    except BadInput as error:
        found = PLUGINS.split(str(error))[0]
    chest = f"declined: {declined}" if declined else "scored" if found.isdigit() else f"not evaluable: {found}"
    return Outcome(file=path.name, family=kind.value, images=found, chest=chest)


def made(path: Path, head: ImageHead, kind: Family) -> int:
    """How many images a file gives by itself."""
    if kind is Family.PROJECTION:
        return len([images.projection(path)])
    if kind is Family.PICTURE:
        return len([images.picture(path)])
    if kind is Family.CINE:
        return len(images.cine(path, MOST))
    if kind is Family.SLIDE:
        return len(images.slide([path], microns=MICRONS, patch=PATCH))
    return slices(path) if kind is Family.VOLUME else 0


def slices(path: Path) -> int:
    grouping = images.grouped([path])
    if grouping.main is None:
        raise BadInput(grouping.excluded[0].reason if grouping.excluded else "no slices")
    chosen = images.sample(grouping.main, MOST)
    return len(list(images.volume(grouping.main, chosen, images.tone_for(grouping.main.modality))))


def table(paths: Iterable[Path]) -> str:
    """The outcomes as CSV, one line per file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(Outcome)])
    writer.writerows(astuple(outcome(path)) for path in paths)
    return text.getvalue()


def expected() -> dict[str, Outcome]:
    """The committed table, by file name."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {row["file"]: Outcome(**row) for row in csv.DictReader(file)}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(table(sorted(each for each in Path(sys.argv[1]).rglob("*") if each.is_file())), end="")
    else:
        TABLE.write_text(table(sorted(REAL.iterdir())), encoding="utf-8")
