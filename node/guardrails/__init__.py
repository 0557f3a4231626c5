"""Named rules over results: pass, flag, withhold. They compare and hold back; they never invent."""

from node.guardrails.case import Case, Identifiers
from node.guardrails.comparison import ORIENTATION_NOT_KNOWN, compare, without_answer
from node.guardrails.rules import OF_ANSWER, OF_STUDY, Rule, outcomes, remarks, text_withheld
from node.guardrails.wordlists import Words, load_words

__all__ = [
    "OF_ANSWER",
    "OF_STUDY",
    "ORIENTATION_NOT_KNOWN",
    "Case",
    "Identifiers",
    "Rule",
    "Words",
    "compare",
    "load_words",
    "outcomes",
    "remarks",
    "text_withheld",
    "without_answer",
]
