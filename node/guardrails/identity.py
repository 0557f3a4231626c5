"""Who the patient is: names, numbers and dates that the model read from pixels or made up."""

from __future__ import annotations

import re

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

TOLD = "Text withheld: it may name the patient or a date."


def identifiers(case: Case) -> Judgement:
    """A name, number or date of the header, or anything of that form. The reason does not say which."""
    text = case.text
    formed = DATES.search(text) or NUMBERS.search(text) or TITLES.search(text) or case.words.identity.search(text)
    return withheld(TOLD if formed or _of_header(text, case) else "")


def _of_header(text: str, case: Case) -> bool:
    numbers = [number for number in case.identifiers.numbers if len(number) >= SHORTEST_NUMBER]
    return _holds(text, [*numbers, *_names(case)])


def _names(case: Case) -> list[str]:
    """Names that stand for somebody: alone where they mean nothing else, and any two of them together."""
    told = [name for name in case.identifiers.names if any(letter.isalpha() for letter in name)]
    parts = list(dict.fromkeys(part for name in told for part in name.split()))
    alone = [part for part in parts if _telling(part, case)]
    pairs = [f"{one}{joint}{other}" for one in parts for other in parts if one != other for joint in (" ", ", ", "")
             if joint or not f"{one}{other}".isascii()]
    return alone + pairs


def _telling(name: str, case: Case) -> bool:
    """A Korean given name has two letters; a Latin part of that length may be any abbreviation."""
    shortest = SHORTEST_NAME if name.isascii() else 2
    return len(name) >= shortest and name.casefold() not in case.words.ordinary


def _holds(text: str, told: list[str]) -> bool:
    """As words, whatever their case; a Korean particle may follow."""
    bounded = (re.escape(one) if not one.isascii() else rf"(?<![0-9A-Za-z]){re.escape(one)}(?![0-9A-Za-z])"
               for one in told)
    return any(re.search(one, text, re.IGNORECASE) for one in bounded)
