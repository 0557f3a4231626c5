"""Every real file is scored, declined or not evaluable as the committed table says."""

from __future__ import annotations

import pytest

from tests.tools.outcomes import TABLE, expected, outcome, shipped
from tests.tools.radiographs import REAL

LINES = expected()
SETS = shipped()


def test_every_file_has_its_line() -> None:
    """A new file: python -m tests.tools.outcomes writes the table; read what changed."""
    assert set(LINES) == {file.name for file in REAL.iterdir()}, TABLE


@pytest.mark.parametrize("name", LINES)
def test_the_outcome_is_the_expected_one(name: str) -> None:
    assert outcome(REAL / name, SETS) == LINES[name]


def test_every_outcome_is_a_score_or_a_reason_for_every_shipped_prompt_set() -> None:
    for line in LINES.values():
        assert set(line.sets) == set(SETS), line
        assert all(told == "scored" or told.partition(": ")[2] for told in line.sets.values()), line
        assert line.images, line
