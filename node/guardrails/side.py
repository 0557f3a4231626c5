"""Left and right: in the text, in the structured answer, in the box, in the header."""

from __future__ import annotations

from node.domain import Presence, Side
from node.guardrails.case import Case, Judgement, flagged, withheld
from node.guardrails.comparison import SIDE_CONTRADICTED, means, said_sides, together

NOT_KNOWN = "Text withheld: it names a side, and the image orientation is not known."
OTHER_SIDE = "Text withheld: it names the {said} side, and the image is of the {imaged} one."
BOX = "{finding}: the box lies on the {box}, the answer says {said}."
ONE_SIDED = (Side.LEFT, Side.RIGHT)


def side_agreement(case: Case) -> Judgement:
    """A side in the text is as wrong as one in the structure when nobody knows which side is which."""
    if not case.side_known and _named_sides(case):
        return withheld(NOT_KNOWN)
    start = SIDE_CONTRADICTED.split(":")[0] + ": the text"
    contradicted = [f"{each.concept.meaning}: {each.reason}" for each in case.compared if each.reason.startswith(start)]
    return flagged(" ".join(contradicted))


def imaged_side(case: Case) -> Judgement:
    """Of a paired part only one side was imaged; a text that names the other one alone is about something else."""
    named = _named_sides(case)
    if case.imaged_side in ONE_SIDED and named and case.imaged_side not in named:
        return withheld(OTHER_SIDE.format(said=named.pop().value, imaged=case.imaged_side.value))
    return withheld("")


def box_side(case: Case) -> Judgement:
    """The box around a finding lies on one side, text or structure name the other."""
    told = []
    for each in case.compared:
        box = case.box_sides.get(each.finding, Side.NONE)
        said = _said(case, each.finding)
        if box in ONE_SIDED and said in ONE_SIDED and box is not said:
            told.append(BOX.format(finding=each.concept.meaning, box=box.value, said=said.value))
    return flagged(" ".join(told))


def _said(case: Case, finding: str) -> Side:
    """The side that text or structure give a finding; both where they differ, which another rule tells."""
    about = next(each for each in case.compared if each.finding == finding)
    structured = {each.side for each in case.findings.findings if each.presence is Presence.PRESENT
                  and means(each.finding, about, case.words)} if case.findings else set()
    return together(structured | said_sides(about, case.text, case.words))


def _named_sides(case: Case) -> set[Side]:
    """One-sided words anywhere in the text, names of structures taken out."""
    text = case.words.structures.sub(" ", case.text)
    return {side for side in ONE_SIDED if case.words.sides[side].search(text)}
