"""Lanes as the receiver sees them, before anybody reads the file."""

from __future__ import annotations

from datetime import datetime

import pytest

from node.config import StudySection
from node.domain import Lane
from node.header import ScannedHead
from node.intake import lanes
from tests.tools.receiver import made


@pytest.mark.parametrize(("date", "time", "originator", "expected"), [
    ("20260310", "120000", "", Lane.FRESH),
    ("20260308", "115959", "", Lane.HISTORICAL),
    ("20260308", "", "", Lane.FRESH),
    ("", "", "", Lane.FRESH),
    ("not a date", "", "", Lane.FRESH),
    ("20260310", "120000", "AINODE", Lane.PRIOR),
    ("20260310", "120000", "ARCHIVE", Lane.FRESH),
    ("20010101", "", "ARCHIVE", Lane.HISTORICAL),
])
def test_date_and_move_originator_decide(date: str, time: str, originator: str, expected: Lane) -> None:
    lane_of = lanes("AINODE", StudySection(historical_hours=48), now=lambda: datetime(2026, 3, 10, 12, 0, 0))
    head = ScannedHead(study_date=date, study_time=time)
    assert lane_of(head, made().request(move_originator_ae_title=originator)) is expected
