"""Language of comparison where nothing was there to compare with."""

from __future__ import annotations

from node.guardrails.case import Case, Judgement, withheld
from node.guardrails.sentences import sentences

NO_PRIOR = "Text withheld: it compares with an earlier study, and the model saw none."


def comparison_without_prior(case: Case) -> Judgement:
    """The text says that something changed or did not. Advice to compare, or on what may change, is none."""
    compares = not case.has_prior and any(_compares(sentence, case) for sentence in sentences(case.text))
    return withheld(NO_PRIOR if compares else "")


def _compares(sentence: str, case: Case) -> bool:
    words = case.words
    plain = words.no_comparison.sub(" ", sentence)
    if words.stated.search(plain):
        return True
    return not words.advice.search(sentence) and words.implied.search(plain) is not None
