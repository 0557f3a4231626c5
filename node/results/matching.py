"""Attribute matching (PS3.4 C.2.2.2): pure rules over decoded texts.

Single value, list of UID, universal, wild card and range matching. Person names match whatever their case;
everything else by case.
"""

from __future__ import annotations

import re
import unicodedata

from node.errors import QueryMismatch

WILD = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
"""VRs in which ``*`` is any text and ``?`` any one character (PS3.4 C.2.2.2.4)."""

DATE = re.compile(r"\d{8}")
TIME = re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")
EARLIEST, LATEST = "000000.000000", "235960.999999"
FIRST_DAY, LAST_DAY = "00000000", "99999999"

Range = tuple[str, str]
"""First and last value, both included, in a form that compares as text."""


def is_universal(key: str) -> bool:
    """A key without a value, or of nothing but ``*``, asks for every entity (PS3.4 C.2.2.2.3)."""
    return not key.strip("* ")


def matches(vr: str, key: str, value: str) -> bool:
    """If an attribute with ``value`` meets ``key``. Several values are separated by backslashes.

    Raises:
        QueryMismatch: the key is not one of its VR.
    """
    if is_universal(key):
        return True
    if vr in ("DA", "TM"):
        return _in_range(vr, key, value)
    test = _TESTS.get(vr, _is_wild_match if vr in WILD else _is_same)
    return any(test(part.strip(), one.strip()) for part in key.split("\\") for one in value.split("\\"))


def wild(pattern: str, text: str) -> bool:
    """Wild card matching in time proportional to the product of both lengths, whatever the pattern."""
    at, begin, star, resume = 0, 0, -1, 0
    while begin < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume, at = at, begin, at + 1
        elif at < len(pattern) and pattern[at] in ("?", text[begin]):
            at, begin = at + 1, begin + 1
        elif star >= 0:
            resume += 1
            at, begin = star + 1, resume
        else:
            return False
    return not pattern[at:].strip("*")


def dates(key: str) -> Range:
    """Of a key of VR DA: a date, or a range open at either end (PS3.4 C.2.2.2.5)."""
    first, last = _ends(key.replace(".", ""))  # the form of ACR-NEMA
    for end in filter(None, (first, last)):
        if not DATE.fullmatch(end):
            raise QueryMismatch("not a date YYYYMMDD or a range of dates")
    return first or FIRST_DAY, last or LAST_DAY


def times(key: str) -> Range:
    """Of a key of VR TM. A time without minutes or seconds is the whole hour or minute."""
    first, last = _ends(key.replace(":", ""))
    for end in filter(None, (first, last)):
        if not TIME.fullmatch(end):
            raise QueryMismatch("not a time HHMMSS or a range of times")
    return _padded(first, EARLIEST), _padded(last, LATEST)


def check_range(keyword: str, vr: str, key: str) -> None:
    """Raise QueryMismatch where a key of VR DA or TM is none. No message has a key's value: it may name somebody."""
    try:
        if vr == "DA":
            dates(key)
        elif vr == "TM":
            times(key)
    except QueryMismatch as error:
        raise QueryMismatch(f"{keyword}: {error}") from error


def in_combined_range(date_key: str, time_key: str, date: str, time: str) -> bool:
    """Date and time as one point (PS3.4 C.2.2.2.5.2, negotiated): between the first day's and the last day's time."""
    (first_day, last_day), (first, last) = dates(date_key), times(time_key)
    day, clock = moment("DA", date), moment("TM", time)
    return bool(day and clock) and (first_day, first) <= (day, clock) <= (last_day, last)


def moment(vr: str, value: str) -> str:
    """The begin of a stored date or time as it compares; '' where it is none."""
    text = value.strip().replace("." if vr == "DA" else ":", "")
    if not (DATE if vr == "DA" else TIME).fullmatch(text):
        return ""
    return text if vr == "DA" else _padded(text, EARLIEST)


def _in_range(vr: str, key: str, value: str) -> bool:
    first, last = dates(key) if vr == "DA" else times(key)
    point = moment(vr, value)
    return bool(point) and first <= point <= last


def _ends(key: str) -> tuple[str, str]:
    first, dash, last = key.partition("-")
    return first.strip(), last.strip() if dash else first.strip()


def _padded(text: str, filling: str) -> str:
    """``text`` as HHMMSS.FFFFFF, what is missing taken from ``filling``."""
    return text + filling[len(text) :]


def _is_same(key: str, value: str) -> bool:
    return key == value


def _is_same_number(key: str, value: str) -> bool:
    try:
        return float(key) == float(value)
    except ValueError:
        return key == value


def _is_wild_match(key: str, value: str) -> bool:
    return wild(_composed(key), _composed(value))


def _is_name(key: str, value: str) -> bool:
    """One group of the key meets any group of the name; several meet the groups in their places."""
    groups, wanted = _groups(value), _groups(key)
    if len(wanted) == 1:
        return any(_is_group(wanted[0], group) for group in groups if group)
    groups += [""] * (len(wanted) - len(groups))
    return all(not one or _is_group(one, group) for one, group in zip(wanted, groups, strict=False))


def _is_group(key: str, group: str) -> bool:
    """``Hong^*`` is also a Hong without a given name."""
    return wild(key, group) or wild(key, f"{group}^")


def _groups(name: str) -> list[str]:
    """Alphabetic, ideographic and phonetic group without trailing delimiters, for comparison."""
    return [_composed(group).strip(" ^").casefold() for group in name.strip().rstrip("=").split("=")]


def _composed(text: str) -> str:
    """Hangul and accents in one form: senders decompose them or not."""
    return unicodedata.normalize("NFC", text)


_TESTS = {"PN": _is_name, "IS": _is_same_number, "DS": _is_same_number}
