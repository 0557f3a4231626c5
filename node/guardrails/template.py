"""Text that nobody wrote about this image: placeholders, and what an assistant says instead of an answer."""

from __future__ import annotations

import re

from node.guardrails.case import Case, Judgement, withheld
from node.guardrails.sentences import sentences

BLANKS = re.compile(r"_{3,}|\{\{|\}\}|\$\{|\b[Xx]{2,}(/[Xx]{2,})+|\bX{3,}\b")
TEMPLATE = "Text withheld: it is a template or an assistant's phrase, no description of the image."
EMPTY = "The findings model gave no impression."


def empty_text(case: Case) -> Judgement:
    """There is nothing to read."""
    return withheld(EMPTY if case.findings and not sentences(case.findings.impression) else "")


def template_text(case: Case) -> Judgement:
    """A placeholder was not filled in, or the model speaks of itself."""
    found = BLANKS.search(case.text) or case.words.template.search(case.text)
    return withheld(TEMPLATE if found else "")
