"""Named rules over results: pass, flag, withhold. They compare and hold back; they never invent.

Presence and score come from triage. Side and certainty come from the findings model, and only for a finding that
both call present. A disagreement is shown; it neither hides a positive nor makes anything more certain.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set

from node.domain import (
    Certainty,
    Eligibility,
    Finding,
    Findings,
    FindingScore,
    GuardrailOutcome,
    Presence,
    Side,
    StudyFinding,
    TriageResult,
    Verdict,
)

ORIENTATION_NOT_KNOWN = "Side withheld: the image orientation is not known."
SIDE_CONTRADICTED = "Side withheld: the text says {text}, the structured answer says {structured}."
ONLY_TRIAGE = "Flagged by triage, not described by the findings model."
ONLY_FINDINGS = "Described by the findings model, not flagged by triage."
DECIDED = frozenset({Presence.PRESENT, Presence.ABSENT})
FROM_WEAKEST = (Certainty.POSSIBLE, Certainty.PROBABLE, Certainty.DEFINITE)

SIDE_WORDS = {
    Side.LEFT: re.compile(r"\bleft\b", re.IGNORECASE),
    Side.RIGHT: re.compile(r"\bright\b", re.IGNORECASE),
    Side.BOTH: re.compile(r"\b(bilateral|bilaterally|both)\b", re.IGNORECASE),
}
NEGATION = re.compile(r"\b(no|not|without|absent|negative for|free of|resolved)\b", re.IGNORECASE)
ADVICE = re.compile(r"\b(recommend\w*|consider\w*|suggest\w*|advis\w*|further|follow|correlat\w*)\b", re.IGNORECASE)
"""Sentences that ask for another examination may name one."""
STATEMENT = re.compile(r"\b(is|are|was|were|seen|show\w*|demonstrat\w*|reveal\w*|normal|unremarkable)\b", re.IGNORECASE)
"""A recommendation asks with fewer words ("Chest CT."); one that states something is no request."""
OTHER_MODALITIES = {
    "CT": r"ct|hrct|ctpa|computed tomograph\w*|axial slices?",
    "MR": r"mri|mr imag\w*|magnetic resonance",
    "MG": r"mammogra\w*|tomosynthesis",
    "US": r"ultraso\w*|sonogra\w*|doppler",
    "PT": r"pet|positron emission",
    "NM": r"scintigra\w*|bone scan",
    "SM": r"histolog\w*|histopatholog\w*|biopsy specimen",
    "OP": r"fundus photo\w*|retina\w*",
    "XC": r"dermoscop\w*|skin lesion",
}
"""Words by the modality they belong to; those of a prompt set's own modalities are allowed."""
OTHER_BODY_PARTS = {
    "KNEE": r"knees?|patella\w*", "HIP": r"hip joints?|hips", "ANKLE": r"ankles?", "FOOT": r"foot|feet",
    "WRIST": r"wrists?", "ELBOW": r"elbows?", "HAND": r"metacarp\w*|phalan\w*", "LEG": r"femur|tibia\w*|fibula\w*",
    "SKULL": r"skull", "BRAIN": r"brain|intracranial|cerebr\w*", "PELVIS": r"pelvis|pelvic",
    "BREAST": r"breast mass\w*|bi-?rads", "JAW": r"teeth|tooth|dental",
}
"""Words by the body part they belong to; those of a prompt set's own parts are allowed."""
REPEATED = 3


def compare(
    triage: TriageResult, findings: Findings | None, *, side_known: bool, lateralised: Mapping[str, bool]
) -> tuple[StudyFinding, ...]:
    """Both answers side by side, one line per finding of the prompt set, in its order.

    A findings model lists what it sees: what it does not list, it does not describe. ``lateralised`` says by
    finding key whether a side means anything.
    """
    return tuple(
        _study_finding(score, findings, side_known, lateralised.get(score.finding, False))
        for score in triage.scores
    )


def outcomes(
    compared: Sequence[StudyFinding],
    findings: Findings | None,
    *,
    eligibility: Eligibility,
    side_known: bool,
    declined: str = "",
) -> tuple[GuardrailOutcome, ...]:
    """What every rule says, in a fixed order; rules over the text only where there is an answer.

    ``declined`` is the reason why no image was eligible, '' when one was.
    """
    test = declined.startswith("test:")
    heads = (
        _outcome("test_patient", Verdict.WITHHOLD, declined if test else ""),
        _outcome("eligibility", Verdict.WITHHOLD, "" if test else declined),
    )
    if findings is None:
        return heads
    text, empty = _text(findings), not findings.impression.strip()
    return (
        *heads,
        _outcome("empty_text", Verdict.WITHHOLD, "The findings model gave no impression." if empty else ""),
        _outcome("modality_words", Verdict.WITHHOLD, _other_words(findings, eligibility)),
        _outcome("repetition", Verdict.WITHHOLD, _repetition(text)),
        _side_agreement(compared, text, side_known),
        _outcome("disagreement", Verdict.FLAG, _disagreement(compared, findings)),
    )


def text_withheld(given: Iterable[GuardrailOutcome]) -> bool:
    """True when impression and recommendation must not leave the node."""
    return any(outcome.verdict is Verdict.WITHHOLD for outcome in given)


def remarks(given: Iterable[GuardrailOutcome]) -> tuple[str, ...]:
    """The sentences a reader must see."""
    return tuple(outcome.reason for outcome in given if outcome.verdict is not Verdict.PASS)


def _text(findings: Findings) -> str:
    """All that leaves the node in the model's own words."""
    return f"{findings.impression}\n{findings.recommendation}"


def _study_finding(score: FindingScore, findings: Findings | None, side_known: bool, sided: bool) -> StudyFinding:
    described = _described(score, findings)
    both = score.presence is Presence.PRESENT and bool(described)
    side, reason = Side.NONE, ""
    if both and sided and findings is not None:
        side, reason = _side(score, described, _text(findings)) if side_known else (
            Side.NONE, ORIENTATION_NOT_KNOWN)
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


def _described(score: FindingScore, findings: Findings | None) -> list[Finding]:
    """The present findings of the answer that mean this one."""
    present = [each for each in findings.findings if each.presence is Presence.PRESENT] if findings else []
    return [each for each in present if _means(each.finding, score.finding, score.concept.meaning)]


def _means(name: str, key: str, meaning: str) -> bool:
    plain = _plain(name)
    return plain == _plain(meaning) or re.search(rf"\b{re.escape(key.lower())}s?\b", plain) is not None


def _plain(text: str) -> str:
    return text.strip().lower().replace("oedema", "edema")


def _side(score: FindingScore, described: Sequence[Finding], text: str) -> tuple[Side, str]:
    structured = _together({each.side for each in described})
    said = _together(_said(score, text))
    if Side.NONE not in (structured, said) and structured is not said:
        return Side.NONE, SIDE_CONTRADICTED.format(text=said.value, structured=structured.value)
    return structured, ""


def _together(sides: Iterable[Side]) -> Side:
    """Left and right are both."""
    named = set(sides) - {Side.NONE}
    return named.pop() if len(named) == 1 else Side.BOTH if named else Side.NONE


def _said(score: FindingScore, text: str) -> set[Side]:
    """Sides that the text gives this finding, clause by clause; negated clauses say nothing."""
    named = (clause for sentence in _sentences(text) for clause in _clauses(sentence)
             if _means(clause, score.finding, score.concept.meaning) and not NEGATION.search(clause))
    return {side for clause in named for side, words in SIDE_WORDS.items() if words.search(clause)}


def _clauses(sentence: str) -> list[str]:
    """Parts of an enumeration. "Left and right effusion" stays whole, so that its sides stay together."""
    parts = [part for part in re.split(r",|;|\band\b|\bwith\b|\bbut\b", sentence, flags=re.IGNORECASE) if part.strip()]
    bare = any(re.fullmatch(r"\s*(the )?(left|right)\s*", part, flags=re.IGNORECASE) for part in parts)
    return [sentence] if bare else parts


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"[.!?\n]+", text) if part.strip()]


def _other_words(findings: Findings, eligibility: Eligibility) -> str:
    """Sentence naming the first word of another modality or body part; '' where there is none."""
    allowed = {name.upper() for name in (*eligibility.modalities, *eligibility.body_parts)}
    parts = _foreign(OTHER_BODY_PARTS, allowed)
    either = _foreign({**OTHER_MODALITIES, **OTHER_BODY_PARTS}, allowed)
    judged = [(sentence, either) for sentence in _sentences(findings.impression)]
    judged += [(sentence, either if STATEMENT.search(sentence) else parts)
               for sentence in _sentences(findings.recommendation)]
    for sentence, words in judged:
        if not ADVICE.search(sentence) and (found := words.search(sentence)):
            return f"Text withheld: it speaks of {found.group()!r}, which this image is not."
    return ""


def _foreign(table: Mapping[str, str], allowed: Set[str]) -> re.Pattern[str]:
    return re.compile("|".join(rf"\b(?:{words})\b" for name, words in table.items() if name not in allowed),
                      re.IGNORECASE)


def _repetition(text: str) -> str:
    counted = Counter(sentence.lower() for sentence in _sentences(text))
    repeated = any(count >= REPEATED for count in counted.values())
    return "Text withheld: the findings model repeated itself." if repeated else ""


def _side_agreement(compared: Sequence[StudyFinding], text: str, side_known: bool) -> GuardrailOutcome:
    """A side in the text is as wrong as one in the structure when nobody knows which side is which."""
    one_sided = any(SIDE_WORDS[side].search(text) for side in (Side.LEFT, Side.RIGHT))
    if not side_known and one_sided:
        reason = "Text withheld: it names a side, and the image orientation is not known."
        return _outcome("side_agreement", Verdict.WITHHOLD, reason)
    start = SIDE_CONTRADICTED.split(":")[0] + ": the text"
    contradicted = [f"{each.concept.meaning}: {each.reason}" for each in compared if each.reason.startswith(start)]
    return _outcome("side_agreement", Verdict.FLAG, " ".join(contradicted))


def _disagreement(compared: Sequence[StudyFinding], findings: Findings) -> str:
    differing = [f"{each.concept.meaning}: {each.reason}" for each in compared if each.agreed is False]
    extra = [
        f"{each.finding.strip()[:64]}: described by the findings model, not asked of triage."
        for each in findings.findings if each.presence is Presence.PRESENT
        and not any(_means(each.finding, other.finding, other.concept.meaning) for other in compared)
    ]
    return " ".join(differing + extra)


def _outcome(rule: str, verdict: Verdict, reason: str) -> GuardrailOutcome:
    """``verdict`` when there is a reason, else a pass."""
    return GuardrailOutcome(rule=rule, verdict=verdict if reason else Verdict.PASS, reason=reason)
