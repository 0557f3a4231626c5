"""Sizes and ratios: impossible ones, and any from a model that cannot measure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from node.guardrails.case import Case, Judgement, flagged, withheld
from node.guardrails.sentences import clauses, sentences

SIZE = re.compile(
    r"(?P<sign>(?<![\w.,)])[-\u2212](?=\d))?(?P<numbers>\d+(?:[.,]\d+)?(?:\s*(?:x|\u00d7|by|to|-|~|\u2013)\s*\d+(?:[.,]\d+)?)*)"
    r"\s*-?(?P<unit>mm|millimet(?:er|re)s?|cm|centimet(?:er|re)s?|m|met(?:er|re)s?|inch(?:es)?"
    r"|밀리미터|센티미터|㎜|㎝)(?![a-zA-Z])",
    re.IGNORECASE)
"""A length with its unit; of "12 x 8 mm" all numbers."""
HOUNSFIELD = re.compile(r"(-?\d+(?:\.\d+)?)\s*(?:hu|hounsfield units?)\b", re.IGNORECASE)
PERCENT = re.compile(r"(-?\d+(?:\.\d+)?)\s*(?:%|percent\b)", re.IGNORECASE)
NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
RATIO_VALUE = re.compile(r"[^.,\d-]{0,30}(-?\d+(?:\.\d+)?)\s*(%?)")
MILLIMETRES = {"mm": 1.0, "milli": 1.0, "밀리": 1.0, "㎜": 1.0, "cm": 10.0, "centi": 10.0, "센티": 10.0,
               "㎝": 10.0, "inch": 25.4, "m": 1000.0}
"""By the beginning of a unit, the longest first."""
LARGEST_MM = 450.0
"""No more of a person fits on an image."""
SMALLEST_MM = 0.1
RATIO = (0.2, 1.0)
HU = (-1024.0, 4096.0)

IMPOSSIBLE = "Text withheld: it states a measurement that is impossible."
NOT_MEASURED = "The text states a size, and the findings model cannot measure: measure it on the image."


def impossible_measurement(case: Case) -> Judgement:
    """A size, a ratio, a density or a share that no image can show."""
    wrong = any(_impossible(sentence, case) for sentence in sentences(case.text))
    return withheld(IMPOSSIBLE if wrong else "")


def unmeasured_size(case: Case) -> Judgement:
    """A possible size from a model that was never shown how large a pixel is. Sizes in advice are limits."""
    told = any(SIZE.search(sentence) or HOUNSFIELD.search(sentence)
               for sentence in sentences(case.text) if not case.words.advice.search(sentence))
    return flagged(NOT_MEASURED if told and not case.measures else "")


def _impossible(sentence: str, case: Case) -> bool:
    densities = (float(found.group(1)) for found in HOUNSFIELD.finditer(sentence))
    shares = (float(found.group(1)) for found in PERCENT.finditer(sentence))
    return (
        any(not RATIO[0] <= ratio <= RATIO[1] for ratio in _ratios(sentence, case))
        or any(not HU[0] <= density <= HU[1] for density in densities)
        or any(not 0 <= share <= 100 for share in shares)
        or any(_impossible_size(clause, case) for clause in clauses(re.sub(r"(\d),(\d)", r"\1.\2", sentence))))


def _impossible_size(clause: str, case: Case) -> bool:
    most = min((limit for words, limit in case.words.extents if words.search(clause)), default=LARGEST_MM)
    return any(not SMALLEST_MM <= size <= most for size in _sizes(clause))


def _sizes(text: str) -> Iterator[float]:
    """In millimetres; negative where a minus stands before."""
    for found in SIZE.finditer(text):
        unit = found["unit"].lower()
        factor = next(factor for name, factor in MILLIMETRES.items() if unit.startswith(name))
        for number in NUMBER.findall(found["numbers"]):
            yield (-1 if found["sign"] else 1) * float(number.replace(",", ".")) * factor


def _ratios(sentence: str, case: Case) -> Iterator[float]:
    for named in case.words.ratio.finditer(sentence):
        if value := RATIO_VALUE.match(sentence, named.end()):
            yield float(value.group(1)) / (100 if value.group(2) else 1)
