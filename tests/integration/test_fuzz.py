"""A fixed choice of broken associations on each engine; ``python -m tests.tools.fuzz`` plays others, for longer."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest

from tests.tools.fuzz import KINDS, Change, Ending, Fuzz, Plan, changes, fuzzing, plans
from tests.tools.receiver import ENGINES

ALWAYS_THE_SAME = hypothesis.settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=list(hypothesis.HealthCheck))
WHOLE = (1 << 20,)


@pytest.fixture(scope="module", params=ENGINES)
def fuzz(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzz]:
    with fuzzing(tmp_path_factory.mktemp("fuzz"), request.param) as fuzz:
        yield fuzz


def test_what_was_captured_is_stored_in_any_pieces(fuzz: Fuzz) -> None:
    for cuts in (WHOLE, (1,), (7, 500), (4096, 6)):
        before = fuzz.acknowledged
        fuzz.play(Plan(changes=(), cuts=cuts, ending=Ending.HALF))
        assert fuzz.acknowledged == before + 4


@hypothesis.settings(ALWAYS_THE_SAME, max_examples=40)
@hypothesis.given(plan=plans)
def test_what_is_broken_breaks_nothing_else(fuzz: Fuzz, plan: Plan) -> None:
    fuzz.play(plan)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_change_breaks_nothing_else(fuzz: Fuzz, kind: str) -> None:
    @hypothesis.settings(ALWAYS_THE_SAME, max_examples=3)
    @hypothesis.given(change=changes([kind]))
    def play(change: Change) -> None:
        fuzz.play(Plan(changes=(change,), cuts=WHOLE, ending=Ending.HALF))

    play()
