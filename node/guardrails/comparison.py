"""Triage and the findings model side by side, one line per finding.

Presence and score come from triage. Side and certainty come from the findings model, and only for a finding that
both call present. A disagreement is shown; it neither hides a positive nor makes anything more certain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from node.domain import (
    Certainty,
    Finding,
    Findings,
    FindingScore,
    Presence,
    Side,
    StudyFinding,
    TriageResult,
)
from node.guardrails.case import Case, Judgement, flagged
from node.guardrails.sentences import HANGUL, statements
from node.guardrails.wordlists import Words

ORIENTATION_NOT_KNOWN = "Side withheld: the image orientation is not known."
SIDE_CONTRADICTED = "Side withheld: the text says {text}, the structured answer says {structured}."
TEXT_WITHHELD = "Side withheld with the text that it came with."
ONLY_TRIAGE = "Flagged by triage, not described by the findings model."
ONLY_FINDINGS = "Described by the findings model, not flagged by triage."
DECIDED = frozenset({Presence.PRESENT, Presence.ABSENT})
FROM_WEAKEST = (Certainty.POSSIBLE, Certainty.PROBABLE, Certainty.DEFINITE)


def compare(
    triage: TriageResult, findings: Findings | None, words: Words, *, side_known: bool, lateralised: Mapping[str, bool]
) -> tuple[StudyFinding, ...]:
    """Both answers side by side, one line per finding of the prompt set, in its order.

    A findings model lists what it sees: what it does not list, it does not describe. ``lateralised`` says by
    finding key whether a side means anything.
    """
    return tuple(
        _study_finding(score, findings, words, side_known, lateralised.get(score.finding, False))
        for score in triage.scores
    )


def without_answer(compared: Iterable[StudyFinding]) -> tuple[StudyFinding, ...]:
    """The same when the answer is withheld: what triage says stays, side and certainty go with the answer."""
    return tuple(
        replace(each, side=Side.NONE, certainty=None,
                reason=TEXT_WITHHELD if each.side is not Side.NONE else each.reason)
        for each in compared)


def disagreement(case: Case) -> Judgement:
    """What one of the two says and the other does not. It is shown, and withholds nothing."""
    if case.findings is None:
        return flagged("")
    differing = [f"{each.concept.meaning}: {each.reason}" for each in case.compared if each.agreed is False]
    extra = [
        f"{each.finding.strip()[:64]}: described by the findings model, not asked of triage."
        for each in case.findings.findings if each.presence is Presence.PRESENT
        and not any(means(each.finding, other, case.words) for other in case.compared)
    ]
    return flagged(" ".join(differing + extra))


def means(name: str, about: FindingScore | StudyFinding, words: Words) -> bool:
    """Whether ``name`` or a clause speaks of this finding."""
    plain = _plain(name)
    if plain == _plain(about.concept.meaning) or re.search(rf"\b{re.escape(about.finding.lower())}s?\b", plain):
        return True
    korean = about.names.get("ko", "")
    if korean and HANGUL.search(name) and korean.replace(" ", "") in plain.replace(" ", ""):
        return True
    other = words.findings.get(about.finding)
    return other is not None and other.search(name) is not None


def said_sides(about: FindingScore | StudyFinding, text: str, words: Words) -> set[Side]:
    """Sides that the text gives this finding, clause by clause; a clause that denies it says nothing."""
    plainer = words.no_comparison.sub(" ", text)  # "denser than on the right"
    named = (clause for clause, denied in statements(plainer, words) if not denied and means(clause, about, words))
    plain = (words.structures.sub(" ", clause) for clause in named)  # names of structures are no places
    return {side for clause in plain for side, pattern in words.sides.items() if pattern.search(clause)}


def together(sides: Iterable[Side]) -> Side:
    """Left and right are both."""
    named = set(sides) - {Side.NONE}
    return named.pop() if len(named) == 1 else Side.BOTH if named else Side.NONE


def _study_finding(
    score: FindingScore, findings: Findings | None, words: Words, side_known: bool, sided: bool
) -> StudyFinding:
    described = list(_described(score, findings, words))
    both = score.presence is Presence.PRESENT and bool(described)
    side, reason = Side.NONE, ""
    if both and sided and findings is not None:
        side, reason = _side(score, described, findings, words) if side_known else (Side.NONE, ORIENTATION_NOT_KNOWN)
    agreed = _agreed(score, bool(described)) if findings is not None else None
    if agreed is False:
        reason = ONLY_FINDINGS if described else ONLY_TRIAGE
    return StudyFinding(
        finding=score.finding, concept=score.concept, site=score.site, presence=score.presence, score=score.score,
        operating_point=score.operating_point, side=side, agreed=agreed, reason=reason,
        certainty=min((each.certainty for each in described), key=FROM_WEAKEST.index) if both else None,
        sop_instance_uid=score.sop_instance_uid, frame=score.frame, tile=score.tile,
        board_only=score.board_only, names=score.names,
    )


def _agreed(score: FindingScore, described: bool) -> bool | None:
    """None while triage itself is undecided."""
    return (score.presence is Presence.PRESENT) == described if score.presence in DECIDED else None


def _described(score: FindingScore, findings: Findings | None, words: Words) -> Iterator[Finding]:
    """The present findings of the answer that mean this one."""
    for each in findings.findings if findings else ():
        if each.presence is Presence.PRESENT and means(each.finding, score, words):
            yield each


def _plain(text: str) -> str:
    return text.strip().lower().replace("oedema", "edema")


def _side(score: FindingScore, described: Sequence[Finding], findings: Findings, words: Words) -> tuple[Side, str]:
    structured = together({each.side for each in described})
    said = together(said_sides(score, f"{findings.impression}\n{findings.recommendation}", words))
    if Side.NONE not in (structured, said) and structured is not said:
        return Side.NONE, SIDE_CONTRADICTED.format(text=said.value, structured=structured.value)
    return structured, ""
