"""The language of the text, told by its script. Latin terms of medicine stand in every language."""

from __future__ import annotations

import unicodedata
from collections import Counter

from node.guardrails.case import Case, Judgement, withheld

SHARE_OF_OTHERS = 0.05
"""So much of another script is a Greek letter or a name of something."""
SHARE_OF_HANGUL = 0.2
"""A Korean report may be mostly Latin terms."""
SYMBOLS = frozenset({"GREEK", "MICRO"})
SCRIPTS = {"en": "LATIN", "ko": "HANGUL"}

NOT_AS_ASKED = "Text withheld: it is not in the language asked for ({language})."


def language_as_asked(case: Case) -> Judgement:
    """Whether each field is written in the script of the language asked for; a few signs of others are no language."""
    wrong = any(_differs(field, case.language) for field in case.fields)
    return withheld(NOT_AS_ASKED.format(language=case.language) if wrong else "")


def _differs(text: str, language: str) -> bool:
    counted = _scripts(text)
    letters, wanted = counted.total(), SCRIPTS.get(language.partition("-")[0].lower())
    if not letters or wanted is None:
        return False
    if wanted == "LATIN":
        return counted["LATIN"] < (1 - SHARE_OF_OTHERS) * letters
    foreign = letters - counted["LATIN"] - counted[wanted]
    return counted[wanted] < SHARE_OF_HANGUL * letters or foreign > SHARE_OF_OTHERS * letters


def _scripts(text: str) -> Counter[str]:
    """Letters by script, the first word of a character's name; Greek ones are symbols in every language."""
    told = (unicodedata.name(letter, "UNKNOWN").split()[0] for letter in text if letter.isalpha())
    return Counter(script for script in told if script not in SYMBOLS)
