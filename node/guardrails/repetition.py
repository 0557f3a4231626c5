"""A model that loops: sentences, phrases or characters over and over."""

from __future__ import annotations

import re
from collections import Counter

from node.guardrails.case import Case, Judgement, withheld
from node.guardrails.sentences import sentences

REPEATED = 3
"""As often as this a sentence or a phrase of several words is a loop."""
ONE_WORD = 4
LONGEST_PHRASE = 12
GRAM = 3
SHORT = 24
"""Words below which the share of repeated ones says nothing."""
REPEATED_SHARE = 0.4
CHARACTERS = re.compile(r"(\S{1,12}?)\1{7,}")
"""Languages without spaces loop as well; so do dots."""

LOOP = "Text withheld: the findings model repeated itself."


def repetition(case: Case) -> Judgement:
    """The same sentence or phrase again and again, or too few different words for so many."""
    words = re.findall(r"\w+", case.text.lower())
    looping = _sentences(case.text) or _phrases(words) or _share(words) > REPEATED_SHARE
    return withheld(LOOP if looping or CHARACTERS.search(case.text) else "")


def _sentences(text: str) -> bool:
    counted = Counter(sentence.lower() for sentence in sentences(text))
    return any(count >= REPEATED for count in counted.values())


def _phrases(words: list[str]) -> bool:
    """A phrase of 1 to 12 words that follows itself at once."""
    return any(_runs(words, length) >= (ONE_WORD if length == 1 else REPEATED)
               for length in range(1, LONGEST_PHRASE + 1))


def _runs(words: list[str], length: int) -> int:
    """How often the most repeated phrase of this length stands in a row."""
    same = [words[at] == words[at + length] for at in range(len(words) - length)]
    longest = run = 0
    for one in same:
        run = run + 1 if one else 0
        longest = max(longest, run)
    return longest // length + 1


def _share(words: list[str]) -> float:
    """Share of groups of three words that stood there before, 0..1; 0 for a short text."""
    if len(words) < SHORT:
        return 0.0
    grams = [tuple(words[at : at + GRAM]) for at in range(len(words) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams)
