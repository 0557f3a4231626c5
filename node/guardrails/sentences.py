"""Sentences and clauses of a text, and which of them deny what they name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from node.guardrails.wordlists import Words

HANGUL = re.compile(r"[\uac00-\ud7a3]")
TURN = re.compile(
    r";|\bbut\b|\bhowever\b|\balthough\b|\bwith\b|\bbesides\b|\bexcept\b|\bother than\b|\bapart from\b|지만|으나|외에",
    re.IGNORECASE)
"""Where a sentence turns to something else, so that a denial does not reach over it."""


def sentences(text: str) -> list[str]:
    """Parts between full stops; a decimal point is none."""
    return [part.strip() for part in re.split(r"[!?\n]+|\.(?!\d)", text) if part.strip()]


def clauses(sentence: str) -> list[str]:
    """Parts of an enumeration. "Left and right effusion" stays whole, so that its sides stay together."""
    parts = [part for part in re.split(r",|;|\band\b|\bwith\b|\bbut\b", sentence, flags=re.IGNORECASE) if part.strip()]
    bare = any(re.fullmatch(r"\s*(the )?(left|right)\s*", part, flags=re.IGNORECASE) for part in parts)
    return [sentence] if bare else parts


def statements(text: str, words: Words) -> Iterator[tuple[str, bool]]:
    """Every clause of a text, and True where it denies. "No effusion, pneumothorax or mass" denies all three.

    "Cannot be excluded" and "no change" deny nothing and are left out.
    """
    for sentence in sentences(text):
        for stretch in TURN.split(words.possible.sub(" ", words.stated.sub(" ", sentence))):
            yield from (_korean if HANGUL.search(stretch) else _english)(stretch, words)


def _english(stretch: str, words: Words) -> Iterator[tuple[str, bool]]:
    denying = False
    for clause in clauses(stretch):
        denies = bool(words.negation.search(clause))
        denying = denies or (denying and not words.affirmation.search(clause))
        yield clause, denying


def _korean(stretch: str, words: Words) -> Iterator[tuple[str, bool]]:
    """The predicate comes last: clauses without one share that of the next which has one."""
    waiting: list[str] = []
    for clause in clauses(stretch):
        waiting.append(clause)
        denies = bool(words.negation.search(clause))
        if denies or words.affirmation.search(clause):
            yield from ((one, denies) for one in waiting)
            waiting = []
    yield from ((one, False) for one in waiting)
