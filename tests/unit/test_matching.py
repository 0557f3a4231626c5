"""Attribute matching against slower rules that say the same."""

from __future__ import annotations

import re
from datetime import date, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import QueryMismatch
from node.results.matching import in_combined_range, is_universal, matches, wild

SHORT = st.text(alphabet="ab^.", max_size=8)
PATTERNS = st.text(alphabet="ab^.*?", max_size=8)
DATES = st.dates(date(1900, 1, 1), date(2100, 12, 31))
TIMES = st.times()


@given(PATTERNS, SHORT)
def test_wild_cards_match_as_a_regular_expression_would(pattern: str, text: str) -> None:
    meant = "".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in pattern)
    assert wild(pattern, text) == (re.fullmatch(meant, text, re.DOTALL) is not None)


def test_a_pattern_of_many_stars_ends_soon() -> None:
    assert not wild("a*" * 200 + "b", "a" * 4000)


@given(DATES, DATES, DATES)
def test_a_range_of_dates_has_both_its_ends(first: date, last: date, day: date) -> None:
    value = f"{day:%Y%m%d}"
    assert matches("DA", f"{first:%Y%m%d}-{last:%Y%m%d}", value) == (first <= day <= last)
    assert matches("DA", f"{first:%Y%m%d}-", value) == (first <= day)
    assert matches("DA", f"-{last:%Y%m%d}", value) == (day <= last)
    assert matches("DA", f"{first:%Y%m%d}", value) == (first == day)


@given(TIMES, TIMES, TIMES)
def test_a_range_of_times_has_both_its_ends(first: time, last: time, moment: time) -> None:
    value = f"{moment:%H%M%S.%f}"
    assert matches("TM", f"{first:%H%M%S.%f}-{last:%H%M%S.%f}", value) == (first <= moment <= last)
    assert matches("TM", f"{first:%H%M}", value) == ((first.hour, first.minute) == (moment.hour, moment.minute))
    assert matches("TM", f"-{last:%H}", value) == (moment.hour <= last.hour)


@given(DATES, TIMES, DATES, TIMES, DATES, TIMES)
def test_dates_and_times_combined_are_points_in_time(
    first_day: date, first: time, last_day: date, last: time, day: date, clock: time
) -> None:
    inside = (first_day, first) <= (day, clock) <= (last_day, last)
    keys = f"{first_day:%Y%m%d}-{last_day:%Y%m%d}", f"{first:%H%M%S.%f}-{last:%H%M%S.%f}"
    assert in_combined_range(*keys, f"{day:%Y%m%d}", f"{clock:%H%M%S.%f}") == inside


@pytest.mark.parametrize("key", ["", "*", "**", "  "])
def test_a_universal_key_matches_also_nothing(key: str) -> None:
    assert is_universal(key)
    assert matches("LO", key, "")
    assert matches("DA", key, "")


@pytest.mark.parametrize(("vr", "key", "value", "expected"), [
    ("LO", "P1", "P1 ", True),
    ("LO", "p1", "P1", False),
    ("LO", "P?", "P1", True),
    ("LO", "P1", "", False),
    ("CS", "SR\\KO", "KO", True),
    ("CS", "SR", "CR\\SR", True),
    ("UI", "1.2.3\\1.2.4", "1.2.4", True),
    ("UI", "1.2.*", "1.2.4", False),
    ("IS", "09901", "9901", True),
    ("IS", "9*", "9901", False),
    ("DA", "20260101", "", False),
    ("DA", "2026.01.01", "20260101", True),
    ("TM", "10:15:00-10:16:00", "101530", True),
    ("PN", "hong^gildong", "Hong^Gildong=洪^吉洞=홍^길동", True),
    ("PN", "HONG*", "Hong^Gildong=洪^吉洞=홍^길동", True),
    ("PN", "Hong", "Hong^Gildong", False),
    ("PN", "Hong^*", "Hong", True),
    ("PN", "홍*", "Hong^Gildong=洪^吉洞=홍^길동", True),
    ("PN", "\u1112\u1169\u11bc^길동", "Hong^Gildong=洪^吉洞=홍^길동", True),
    ("PN", "=洪*", "Hong^Gildong=洪^吉洞=홍^길동", True),
    ("PN", "Hong*=金*", "Hong^Gildong=洪^吉洞=홍^길동", False),
    ("PN", "Hong^Gildong^^^==", "Hong^Gildong", True),
])
def test_a_key_matches_a_value(vr: str, key: str, value: str, expected: bool) -> None:
    assert matches(vr, key, value) is expected


@pytest.mark.parametrize(("vr", "key"), [("DA", "2026"), ("DA", "20260101-2026"), ("TM", "25h"), ("TM", "1-2")])
def test_a_date_or_time_that_is_none_is_refused_without_its_value(vr: str, key: str) -> None:
    with pytest.raises(QueryMismatch) as caught:
        matches(vr, key, "20260101")
    assert key not in str(caught.value)
