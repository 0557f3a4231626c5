"""Who the patient is: names, numbers and dates that the model read from pixels or made up."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import permutations

from node.guardrails.case import Case, Judgement, withheld

MONTHS = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)[a-z]*"
DATES = re.compile(
    rf"\b\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}\b|\b\d{{1,2}}[-/.]\d{{1,2}}[-/.]\d{{4}}\b|\b\d{{1,2}}/\d{{1,2}}/\d{{2}}\b"
    rf"|\b(?:19|20)\d{{2}}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\b"
    rf"|\b{MONTHS}\.? \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}\b"
    rf"|\b\d{{1,2}} {MONTHS}\.? \d{{4}}\b|\d{{4}}\s*년\s*\d{{1,2}}\s*월", re.IGNORECASE)
NUMBERS = re.compile(r"\b\d{6}-[1-8]\d{6}\b|\b\d{3}-\d{2}-\d{4}\b|\b\d+(?:\.\d+){5,}\b|\S@\S+\.\S|\b\d{8,}\b")
"""Personal numbers, UIDs, addresses, and any number too long to be measured."""
TITLES = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof)\.? [A-Z][a-z]+")
SHORTEST_NUMBER = 4
SHORTEST_NAME = 3
"""Shorter parts, and words of reports, are names only beside another part, both written as names are."""

TOLD = "Text withheld: it may name the patient or a date."


def identifiers(case: Case) -> Judgement:
    """A name, number or date of the header, or anything of that form. The reason does not say which."""
    text = case.text
    formed = DATES.search(text) or NUMBERS.search(text) or TITLES.search(text) or case.words.identity.search(text)
    return withheld(TOLD if formed or _of_header(text, case) else "")


def _of_header(text: str, case: Case) -> bool:
    numbers = [number for number in case.identifiers.numbers if len(number) >= SHORTEST_NUMBER]
    parts = list(dict.fromkeys(part for name in case.identifiers.names for part in name.split() if _is_name(part)))
    alone = [part for part in parts if _telling(part, case)]
    pairs = [f"{one}{joint}{other}" for one, other in permutations(parts, 2)
             for joint in (" ", ", ", *([] if f"{one}{other}".isascii() else [""]))]
    written = {form for pair in pairs for form in (pair.title(), pair.upper())}
    return _holds(text, [*numbers, *alone], re.IGNORECASE) or _holds(text, written, 0)


def _is_name(part: str) -> bool:
    return any(letter.isalpha() for letter in part)


def _telling(name: str, case: Case) -> bool:
    """Whether it stands for somebody alone. A Korean given name has two letters; two Latin ones may be anything."""
    shortest = SHORTEST_NAME if name.isascii() else 2
    return len(name) >= shortest and name.casefold() not in case.words.ordinary


def _holds(text: str, told: Iterable[str], flags: int) -> bool:
    """As whole words; a Korean particle may follow."""
    bounded = (re.escape(one) if not one.isascii() else rf"(?<![0-9A-Za-z]){re.escape(one)}(?![0-9A-Za-z])"
               for one in told)
    return any(re.search(one, text, flags) for one in bounded)
