"""Markdown of a template, whose values have any length, in even lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import wrap

WIDTH = 120
"""Columns of a line that is not part of a table or a drawing."""
FENCE = "```"
ITEM = re.compile(r"(- |\d+\. )")
APART = re.compile(r"\||#")


def wrapped(text: str) -> str:
    """Paragraphs and list items filled, one empty line where there were more; everything else as it is."""
    return re.sub(r"\n{3,}", "\n\n", "\n".join(_lines(text))).rstrip("\n")


def _lines(text: str) -> Iterator[str]:
    paragraph: list[str] = []
    drawing = False
    for line in [*text.splitlines(), ""]:
        fence = line.startswith(FENCE)
        drawing = drawing != fence
        apart = not line or drawing or fence or APART.match(line) is not None
        if apart or ITEM.match(line):
            yield from _filled(paragraph)
            paragraph = [] if apart else [line]
        else:
            paragraph.append(line.strip())
        if apart:
            yield line


def _filled(paragraph: list[str]) -> list[str]:
    if not paragraph:
        return []
    item = ITEM.match(paragraph[0])
    hanging = " " * len(item.group()) if item else ""
    return wrap(" ".join(paragraph), WIDTH, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False)
