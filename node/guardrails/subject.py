"""What the text speaks of: another kind of image, or another part of the body, than the study is of."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from node.guardrails.case import Case, Judgement, withheld
from node.guardrails.sentences import sentences
from node.guardrails.wordlists import Group

OTHER = "Text withheld: it speaks of {names}, which this image is not."


def modality_words(case: Case) -> Judgement:
    """Another modality or body part is named. Who asks for another examination may name one."""
    if case.findings is None:
        return withheld("")
    kinds = _foreign(case.words.modalities, case.eligibility.modalities)
    parts = _foreign(case.words.body_parts, case.eligibility.body_parts)
    judged = [(sentence, kinds + parts) for sentence in sentences(case.findings.impression)]
    judged += [(sentence, kinds + parts if case.words.statement.search(sentence) else parts)
               for sentence in sentences(case.findings.recommendation)]
    for sentence, groups in judged:
        if not case.words.advice.search(sentence) and (names := _named(sentence, groups)):
            return withheld(OTHER.format(names=names))
    return withheld("")


def _foreign(groups: Iterable[Group], own: Collection[str]) -> list[Group]:
    """Groups of words that are not about one's own; none where the prompt set takes anything."""
    told = {name.upper() for name in own}
    return [group for group in groups if told and not told & group[0]]


def _named(sentence: str, groups: Iterable[Group]) -> str:
    """The codes of the first group that a sentence names a word of: the word itself is the model's."""
    return next((" or ".join(sorted(codes)[:3]) for codes, words in groups if words.search(sentence)), "")
