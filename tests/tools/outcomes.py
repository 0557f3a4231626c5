"""What becomes of each real file: which way it goes, what images it gives, what each shipped prompt set makes of it.

    python -m tests.tools.outcomes [FOLDER]

prints the table for a folder of DICOM files; without one it writes ``tests/data/expected_outcomes.csv``. Look at
the difference before it is committed: every line is a decision about a patient's image.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from node import header, images, routing
from node.domain import Eligibility, ImageHead
from node.errors import BadInput
from node.images import Family
from node.inference import prompt_sets
from tests.tools.radiographs import REAL

TABLE = REAL.parent / "expected_outcomes.csv"
TODAY = date(2026, 5, 20)
MOST = 8
MICRONS, PATCH = 0.5, 10
PLUGINS = re.compile(r": Unable to decode")
"""What follows is each decoder's own words, which change with its version."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One line. ``images`` is how many a model would see, or why none; ``sets`` what each prompt set says, by name."""

    file: str
    family: str
    images: str
    sets: Mapping[str, str]

    def row(self) -> dict[str, str]:
        """By column of the table."""
        return {"file": self.file, "family": self.family, "images": self.images, **self.sets}

    @classmethod
    def of(cls, row: Mapping[str, str]) -> Outcome:
        """The inverse."""
        sets = {name: told for name, told in row.items() if name not in ("file", "family", "images")}
        return cls(file=row["file"], family=row["family"], images=row["images"], sets=sets)


def shipped() -> dict[str, Eligibility]:
    """Who may be scored by each prompt set of the product."""
    return {name: prompt_sets.load_prompt_set(name).eligibility for name in prompt_sets.available()}


def outcome(path: Path, sets: Mapping[str, Eligibility]) -> Outcome:
    """Read, route and decode one file, as the node would."""
    try:
        head = header.read(path)
    except BadInput as error:
        return Outcome(file=path.name, family="", images="", sets=dict.fromkeys(sets, f"not evaluable: {error}"))
    kind = images.family(head)
    try:
        found = str(made(path, head, kind))
    except BadInput as error:
        found = PLUGINS.split(str(error))[0]
    seen = "scored" if found.isdigit() else f"not evaluable: {found}"
    declined = {name: routing.decline(head, eligibility, TODAY) for name, eligibility in sets.items()}
    told = {name: f"declined: {reason}" if reason else seen for name, reason in declined.items()}
    return Outcome(file=path.name, family=kind.value, images=found, sets=told)


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
    text, sets = io.StringIO(), shipped()
    writer = csv.DictWriter(text, ["file", "family", "images", *sets], lineterminator="\n")
    writer.writeheader()
    writer.writerows(outcome(path, sets).row() for path in paths)
    return text.getvalue()


def expected() -> dict[str, Outcome]:
    """The committed table, by file name."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {row["file"]: Outcome.of(row) for row in csv.DictReader(file)}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(table(sorted(each for each in Path(sys.argv[1]).rglob("*") if each.is_file())), end="")
    else:
        TABLE.write_text(table(sorted(REAL.iterdir())), encoding="utf-8")
