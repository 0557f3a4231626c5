"""``kill -9`` of a receiver under eight senders: nothing that was answered Success is lost, nothing half is seen.

``python -m tests.tools.kill --kills 30 --engine fast`` is the same, longer.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.kill import CLEAN, ENGINES, ordeal

KILLS = 3


@pytest.mark.parametrize("engine", ENGINES)
def test_what_was_answered_success_outlives_every_kill(engine: str, tmp_path: Path) -> None:
    with ordeal(tmp_path, engine, seed=len(engine)) as tried:
        for _ in range(KILLS):
            assert tried.strike().cut_off, "every sender was done before the receiver was killed"
            assert tried.problems() == []
        assert tried.answered
        assert CLEAN in tried.told()
        assert tried.node.ainode("audit", "verify").returncode == 0
