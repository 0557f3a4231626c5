"""How soon a study is looked at: by its date, and by what the order says."""

from __future__ import annotations

from datetime import datetime, timedelta

from node.domain import ImageHead, Lane, Priority
from node.routing.dates import moment

ORDER_PRIORITIES = {"STAT": Priority.STAT, "HIGH": Priority.HIGH}
"""Requested Procedure Priority (PS3.3 C.4.11); MEDIUM, ROUTINE and LOW are routine."""


def lane(head: ImageHead, now: datetime, historical_hours: float) -> Lane:
    """Fresh or historical, by what the head says; see :func:`lane_by_date`."""
    return lane_by_date(head.study_date, head.study_time, now, historical_hours)


def lane_by_date(study_date: str, study_time: str, now: datetime, historical_hours: float) -> Lane:
    """Fresh or historical, by Study Date and Time in local time; a study without a usable date is fresh.

    A date without a time counts as its last moment, so that doubt is fresh. ``now`` without a zone is local.
    """
    begun = moment(study_date, study_time)
    local = now.astimezone().replace(tzinfo=None) if now.tzinfo else now
    if begun is None or local - begun <= timedelta(hours=historical_hours):
        return Lane.FRESH
    return Lane.HISTORICAL


def order_priority(requested_procedure_priority: str) -> Priority:
    """The urgency the order states; anything but STAT and HIGH is routine."""
    return ORDER_PRIORITIES.get(requested_procedure_priority.strip().upper(), Priority.ROUTINE)
