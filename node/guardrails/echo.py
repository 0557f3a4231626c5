"""The question instead of an answer: the prompt, or instructions of that kind."""

from __future__ import annotations

import re

from node.guardrails.case import Case, Judgement, withheld

ROW = 6
"""So many words of a prompt in a row are no coincidence."""

ECHO = "Text withheld: it repeats instructions."


def echoed_prompt(case: Case) -> Judgement:
    """Words of instructions, or six words in a row of what the model was told."""
    rows = _rows(case.text)
    repeats = any(rows & _rows(prompt) for prompt in case.prompts)
    return withheld(ECHO if repeats or case.words.instructions.search(case.text) else "")


def _rows(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[at : at + ROW]) for at in range(len(words) - ROW + 1)}
