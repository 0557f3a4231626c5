"""The lane of an instance as it arrives, so that what is fresh is looked at first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from node import routing
from node.config import StudySection
from node.domain import Lane
from node.header import ScannedHead
from node.intake.part10 import StoreRequest

LaneOf = Callable[[ScannedHead, StoreRequest], Lane]
"""Which lane an instance belongs to, by what is known when it arrived."""


def always_fresh(_head: ScannedHead, _request: StoreRequest) -> Lane:
    """Where nobody distinguishes."""
    return Lane.FRESH


def lanes(ae_title: str, settings: StudySection, now: Callable[[], datetime] = datetime.now) -> LaneOf:
    """``prior`` is what the node asked for itself: its AE title is the Move Originator. Else Study Date decides."""

    def lane_of(head: ScannedHead, request: StoreRequest) -> Lane:
        if request.move_originator_ae_title == ae_title:
            return Lane.PRIOR
        return routing.lane_by_date(head.study_date, head.study_time, now(), settings.historical_hours)

    return lane_of
