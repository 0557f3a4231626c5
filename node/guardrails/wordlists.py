"""Word lists of the guardrails: versioned data files, English and Korean, read together whatever was asked for.

A phrase is plain text. `*` ends a word any way it likes, `...` stands for up to 40 characters of the same sentence, a
hyphen may be missing. English phrases are whole words; Korean ones may have endings and lack a space.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from node.domain import Side
from node.errors import ConfigurationError

LANGUAGES = ("en", "ko")
GAP = r"[^.!?\n]{0,40}?"
NOTHING = re.compile(r"(?!)")

Texts = tuple[str, ...]
Group = tuple[frozenset[str], re.Pattern[str]]
"""Codes that words belong to, and the words."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class _Group(_Part):
    of: Texts
    words: Texts


class _Extent(_Part):
    of: Texts
    most_mm: float = Field(gt=0)


class _Sides(_Part):
    left: Texts
    right: Texts
    both: Texts


class _Comparison(_Part):
    stated: Texts
    implied: Texts
    excepted: Texts = Field(alias="except")


class WordsFile(_Part):
    """A whole file; both languages have the same lists."""

    language: str
    version: str
    modalities: tuple[_Group, ...]
    body_parts: tuple[_Group, ...]
    sides: _Sides
    structures: Texts
    findings: dict[str, Texts]
    negation: Texts
    possible: Texts
    affirmation: Texts
    normal: Texts
    advice: Texts
    statement: Texts
    comparison: _Comparison
    template: Texts
    thought: Texts
    unfinished: Texts
    instructions: Texts
    identity: Texts
    ordinary: Texts
    extents: tuple[_Extent, ...]
    ratio: Texts
    urgency: Texts


@dataclass(frozen=True, kw_only=True)
class Words:
    """What the rules look for. ``sha256`` is over the files' bytes, in the order of ``LANGUAGES``."""

    version: str
    sha256: str
    modalities: tuple[Group, ...]
    body_parts: tuple[Group, ...]
    sides: Mapping[Side, re.Pattern[str]]
    structures: re.Pattern[str]
    findings: Mapping[str, re.Pattern[str]]
    negation: re.Pattern[str]
    possible: re.Pattern[str]
    affirmation: re.Pattern[str]
    normal: re.Pattern[str]
    advice: re.Pattern[str]
    statement: re.Pattern[str]
    stated: re.Pattern[str]
    implied: re.Pattern[str]
    no_comparison: re.Pattern[str]
    template: re.Pattern[str]
    thought: re.Pattern[str]
    unfinished: re.Pattern[str]
    instructions: re.Pattern[str]
    identity: re.Pattern[str]
    ordinary: frozenset[str]
    #: What is measured, and the most that it measures in millimetres.
    extents: tuple[tuple[re.Pattern[str], float], ...]
    ratio: re.Pattern[str]
    urgency: re.Pattern[str]


def load_words() -> Words:
    """The shipped lists.

    Raises:
        ConfigurationError: naming file and key.
    """
    folder = files("node.guardrails") / "words"
    contents = {language: (folder / f"{language}.yaml").read_bytes() for language in LANGUAGES}
    digest = hashlib.sha256(b"\0".join(contents.values())).hexdigest()
    return _merged([_parsed(f"{language}.yaml", content) for language, content in contents.items()], digest)


def pattern(phrases: Iterable[str]) -> re.Pattern[str]:
    """One pattern of all phrases; without any it matches nothing."""
    told = "|".join(_expression(phrase) for phrase in phrases)
    return re.compile(told, re.IGNORECASE | re.ASCII) if told else NOTHING


def _expression(phrase: str) -> str:
    """ASCII rules of word boundaries: a Korean ending may follow a Latin word."""
    space = r"\s*" if any(character > "\u1100" for character in phrase) else r"\s+"
    words = [_word(word) for word in phrase.split()]
    told = space.join(words).replace(rf"{space}{GAP}{space}", GAP).replace(rf"{space}{GAP}", GAP)
    first, last = phrase.strip()[0], phrase.strip()[-1]
    return f"{_edge(first)}(?:{told}){_edge(last)}"


def _word(word: str) -> str:
    if word == "...":
        return GAP
    return re.escape(word).replace(r"\*", r"\w*").replace(r"\-", r"[-\s]?")


def _edge(character: str) -> str:
    return r"\b" if character.isascii() and character.isalnum() else ""


def _parsed(name: str, content: bytes) -> WordsFile:
    try:
        return WordsFile.model_validate(yaml.safe_load(content))
    except (yaml.YAMLError, ValidationError) as error:
        raise ConfigurationError(f"node/guardrails/words/{name}: {error}") from error


def _merged(told: Sequence[WordsFile], sha256: str) -> Words:
    def both(name: str) -> re.Pattern[str]:
        return pattern(phrase for one in told for phrase in cast(Texts, getattr(one, name)))

    def sides(name: str) -> re.Pattern[str]:
        return pattern(phrase for one in told for phrase in cast(Texts, getattr(one.sides, name)))

    def compared(name: str) -> re.Pattern[str]:
        return pattern(phrase for one in told for phrase in cast(Texts, getattr(one.comparison, name)))

    plain: dict[str, Any] = {name: both(name) for name in (
        "structures", "negation", "possible", "affirmation", "normal", "advice", "statement", "template", "thought",
        "unfinished", "instructions", "identity", "ratio", "urgency")}
    keys = sorted({key for one in told for key in one.findings})
    return Words(
        version="+".join(one.version for one in told), sha256=sha256,
        modalities=tuple(_groups(group for one in told for group in one.modalities)),
        body_parts=tuple(_groups(group for one in told for group in one.body_parts)),
        sides={Side.LEFT: sides("left"), Side.RIGHT: sides("right"), Side.BOTH: sides("both")},
        findings={key: pattern(phrase for one in told for phrase in one.findings.get(key, ())) for key in keys},
        stated=compared("stated"), implied=compared("implied"), no_comparison=compared("excepted"),
        ordinary=frozenset(word.casefold() for one in told for word in one.ordinary),
        extents=tuple((pattern(extent.of), extent.most_mm) for one in told for extent in one.extents), **plain)


def _groups(groups: Iterable[_Group]) -> Iterator[Group]:
    for group in groups:
        yield frozenset(group.of), pattern(group.words)
