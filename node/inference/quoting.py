"""Text that others wrote, as data inside a question: one line, bounded, and without anything that could end the quote.

What is quoted cannot close its delimiters, begin a line of its own, or hold a token by which a model tells turns,
images and thoughts apart: all of these are written with characters that are escaped here.
"""

from __future__ import annotations

import json
import unicodedata

from node.domain import OrderData

OPENING, CLOSING = "<order>", "</order>"
LONGEST = 500
"""Characters of one text, more than ten times what the attribute may have."""
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of characters that nobody sees: controls, marks of direction, surrogates, unassigned ones."""
STRUCTURE = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>[]{}|`"}
"""Of control tokens, delimiters, JSON and Markdown, as JSON escapes them."""


def quoted(order: OrderData) -> str:
    """What is known of an order as one JSON object between ``<order>`` and ``</order>``."""
    told: list[tuple[str, str]] = []
    if order.age_years is not None:
        told.append(("age_years", str(order.age_years)))
    told += [(name, _text(text)) for name, text in (("sex", order.sex), ("indication", order.indication)) if text]
    return f"{OPENING}{{{','.join(f'{json.dumps(name)}:{value}' for name, value in told)}}}{CLOSING}"


def bounded(text: str, longest: int = LONGEST) -> str:
    """On one line, in compatible forms (NFKC), only characters that can be seen, and at most so many."""
    seen = unicodedata.normalize("NFKC", text[: 8 * longest])
    plain = "".join(" " if unicodedata.category(letter) in UNSEEN else letter for letter in seen)
    return " ".join(plain.split())[:longest]


def _text(text: str) -> str:
    return json.dumps(bounded(text), ensure_ascii=False).translate(STRUCTURE)
