"""Dates, times and ages as a head states them."""

from __future__ import annotations

import re
from datetime import date, datetime, time

from node.domain import ImageHead


def age_of(head: ImageHead, today: date) -> int | None:
    """Whole years, from Patient's Age, else from the birth date at the study's date."""
    if stated := re.fullmatch(r"([0-9]{1,3})([YMWD])", head.patient_age.strip().upper()):
        return int(stated[1]) // {"Y": 1, "M": 12, "W": 53, "D": 366}[stated[2]]
    born, seen = day_of(head.patient_birth_date), day_of(head.study_date) or today
    if born is None or born > seen:
        return None
    return seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day))


def day_of(text: str) -> date | None:
    """A DA, also in its old form with dots (PS3.5 section 6.2, note); None where it is no date."""
    digits = text.strip().replace(".", "")
    if not re.fullmatch(r"[0-9]{8}", digits):
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


def moment(day_text: str, time_text: str) -> datetime | None:
    """A DA and a TM in local time; a day without a usable time counts as its last moment."""
    day = day_of(day_text)
    if day is None:
        return None
    return datetime.combine(day, time_of(time_text) or time.max)


def when(day_text: str, time_text: str) -> datetime | None:
    """The same for people: a day without a usable time is its midnight."""
    day = day_of(day_text)
    return None if day is None else datetime.combine(day, time_of(time_text) or time.min)


def time_of(text: str) -> time | None:
    """A TM to the second, also in its old form with colons; None where it is no time."""
    digits = text.strip().replace(":", "")[:6]
    if not re.fullmatch(r"[0-9]{2}|[0-9]{4}|[0-9]{6}", digits):
        return None
    hour, minute, second = (int(digits[at : at + 2] or 0) for at in (0, 2, 4))
    return time(hour, minute, min(second, 59)) if hour <= 23 and minute <= 59 else None
