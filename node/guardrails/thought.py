"""Thinking that is no answer, and answers that break off."""

from __future__ import annotations

import re

from node.guardrails.case import Case, Judgement, withheld

LEAKED = "Text withheld: it holds the model's thinking."
CUT = "Text withheld: it breaks off."
LAST_WORD = re.compile(r"[^\W\d_]+$")
OPEN = re.compile(r"[,;:(\[–-]\s*$")


def leaked_thought(case: Case) -> Judgement:
    """Control tokens of a chat, or a model that thinks aloud."""
    return withheld(LEAKED if case.words.thought.search(case.text) else "")


def truncated_text(case: Case) -> Judgement:
    """A field ends in the middle of a sentence or of a bracket; a missing full stop alone is none."""
    return withheld(CUT if any(_breaks_off(field.rstrip(), case) for field in case.fields) else "")


def _breaks_off(text: str, case: Case) -> bool:
    last = LAST_WORD.search(text)
    hanging = last is not None and case.words.unfinished.fullmatch(last.group()) is not None
    return hanging or OPEN.search(text) is not None or text.count("(") > text.count(")")
